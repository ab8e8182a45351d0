/**
 * What the whole platform costs to take samples, to start again, and at a million series; all processes count.
 *
 *   node bench/store-bars.ts [start] [cost] [million]         all of them when none is named
 *
 *   start     an hour of samples (10,000 series, every 15 s), then ready after `kill -9` and after a clean stop
 *   cost      CPU of a sample at 1e4, 1e5 and 1e6 series, new series apart
 *   million   memory at 1e6 series with 3 samples each, and the first selective queries after a start
 *
 * CPU seconds of the tree from /proc; memory as the sum of RSS (shared pages counted again and again) and of PSS.
 */
import { readFileSync } from 'node:fs'
import { ADMIN_TOKEN, type Platform, sleep, startPlatform } from '../test/support/platform.ts'
import { families, seriesLoad } from './series-load.ts'

const HZ = 100
const BATCH = 2000
const SENDERS = 4
const STEP_MS = 15_000
const say = (line: string) => process.stdout.write(`${line}\n`)
const wanted = process.argv.slice(2)
const stages: Readonly<Record<string, () => Promise<void>>> = { start, cost, million }
const unknown = wanted.find((name) => !Object.hasOwn(stages, name))
if (unknown !== undefined) {
  process.stderr.write(`"${unknown}" is none of ${Object.keys(stages).join(', ')}.\n`)
  process.exit(2)
}
for (const name in stages) if (wanted.length === 0 || wanted.includes(name)) await stages[name]!()

async function start(): Promise<void> {
  const ticks = 240
  let platform = await startPlatform()
  try {
    await send(platform, 10_000, ticks)
    await platform.kill()
    platform = await startedAgain(platform, 'kill -9')
    await mustHold(platform, ticks * 10_000)
    await platform.kill()
    platform = await startedAgain(platform, 'kill -9')
    await settled()
    await platform.stop()
    for (let i = 0; i < 3; i++) {
      platform = await startedAgain(platform, 'a clean stop')
      if (i === 0) await mustHold(platform, ticks * 10_000)
      await platform.stop()
    }
  } finally {
    await platform.remove()
  }
}

async function cost(): Promise<void> {
  for (const [series, ticks] of [
    [1e4, 200],
    [1e5, 20],
    [1e6, 4],
  ] as const) {
    const platform = await startPlatform()
    try {
      const { first, later } = await send(platform, series, ticks)
      const micros = (seconds: number, samples: number) => `${((seconds / samples) * 1e6).toFixed(2)} µs`
      const each = micros(later, series * (ticks - 1))
      say(`cost     ${series} series x ${ticks}: ${each} CPU a sample, ${micros(first, series)} a new series`)
    } finally {
      await platform.remove()
    }
  }
}

async function million(): Promise<void> {
  let platform = await startPlatform()
  try {
    let peak: Memory = { rss: 0, pss: 0 }
    const look = setInterval(() => {
      const now = memoryOf(platform)
      if (now.rss > peak.rss) peak = now
    }, 1000)
    await send(platform, 1e6, 3)
    await settled()
    clearInterval(look)
    const gigabytes = (bytes: number) => (bytes / 1e9).toFixed(2)
    say(`million  1e6 series x 3: at most ${gigabytes(peak.rss)} GB RSS, ${gigabytes(peak.pss)} GB PSS then`)
    await mustHold(platform, 3e6)
    await platform.stop()
    platform = await startedAgain(platform, 'a clean stop')
    await settled()
    const name = families[5]!
    for (let i = 0; i < 6; i++) {
      // Over a day: on a busy machine the last sample may be older than an instant query looks back.
      const query = `last_over_time(${name}{device="dev${500_000 + 7 * i}",env=~"prod|staging"}[1d])`
      const began = performance.now()
      const cpu = cpuOf(platform)
      const found = await ask(platform, query)
      const ms = performance.now() - began
      const which = i === 0 ? 'the first selective query' : 'the next'
      if (found.length !== 1) throw new Error(`${query} found ${found.length} series`)
      say(`million  ${which}: ${ms.toFixed(1)} ms over HTTP, ${((cpuOf(platform) - cpu) * 1000).toFixed(0)} ms CPU`)
    }
  } finally {
    await platform.remove()
  }
}

// ---------------------------------------------------------------------------------------------------- parts

/** CPU seconds of the platform for the first sample of each series, and for the others. */
async function send(platform: Platform, series: number, ticks: number): Promise<{ first: number; later: number }> {
  const load = seriesLoad(series)
  const begin = Math.floor(Date.now() / STEP_MS) * STEP_MS - ticks * STEP_MS
  const begun = cpuOf(platform)
  let first = 0
  for (let tick = 0; tick < ticks; tick++) {
    let from = 0
    const sender = async () => {
      while (from < series) {
        const body = load.body(from, Math.min(series, from + BATCH), begin + tick * STEP_MS)
        from += BATCH
        await post(platform, body)
      }
    }
    await Promise.all(Array.from({ length: SENDERS }, sender))
    if (tick === 0) first = cpuOf(platform) - begun
  }
  await sleep(3000) // what consumers do after the answer counts too
  return { first, later: cpuOf(platform) - begun - first }
}

/** Sends a body until it is taken, as senders do: refused for overload, it waits. */
async function post(platform: Platform, body: Uint8Array): Promise<void> {
  for (;;) {
    const answer = await fetch(`${platform.url}/api/v1/write`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${ADMIN_TOKEN}`,
        'content-type': 'application/x-protobuf',
        'content-encoding': 'snappy',
      },
      body: new Uint8Array(body),
    })
    const text = await answer.text()
    if (answer.status === 204) return
    if (answer.status !== 503 && answer.status !== 429) throw new Error(`${answer.status} ${text}`)
    await sleep(1000 * Number(answer.headers.get('retry-after') ?? 1))
  }
}

async function startedAgain({ dir }: Platform, after: string): Promise<Platform> {
  const platform = await startPlatform({ dir })
  const cpu = cpuOf(platform)
  say(`start    ready ${(platform.readyMs / 1000).toFixed(2)} s after ${after}, ${cpu.toFixed(2)} CPU-s`)
  return platform
}

/** What a start and a burst leave to do: seasons, forecasts, compaction. */
function settled(): Promise<void> {
  return sleep(15_000)
}

async function ask(platform: Platform, query: string): Promise<{ value: [number, string] }[]> {
  const answer = await platform.request('GET', `/api/v1/query?query=${encodeURIComponent(query)}`)
  if (answer.status !== 200) throw new Error(`${query}: ${answer.text}`)
  return answer.json.data.result
}

/** What was answered 204 is there. */
async function mustHold(platform: Platform, samples: number): Promise<void> {
  let held = 0
  // By family: all at once is more than one query may read.
  for (const name of families)
    held += Number((await ask(platform, `sum(count_over_time(${name}{device!=""}[3h]))`))[0]?.value[1] ?? 0)
  if (held !== samples) throw new Error(`${samples} samples were taken, ${held} are there`)
}

function cpuOf(platform: Platform): number {
  let ticks = 0
  for (const { pid } of platform.processes()) {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    ticks += Number(fields[11]) + Number(fields[12]) + Number(fields[13]) + Number(fields[14])
  }
  return ticks / HZ
}

interface Memory {
  readonly rss: number
  readonly pss: number
}

function memoryOf(platform: Platform): Memory {
  let [rss, pss] = [0, 0]
  for (const { pid } of platform.processes()) {
    const map = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
    const bytes = (field: string) => 1024 * Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(map)?.[1] ?? 0)
    rss += bytes('Rss')
    pss += bytes('Pss')
  }
  return { rss, pss }
}
