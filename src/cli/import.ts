/**
 * `import` and `export`: samples from and into files, OpenMetrics or CSV, through the API of the running platform.
 *
 * Both keep their place in a small file beside the data (`….progress`) and go on from there when they are started again:
 * an import sends whole lines, and what it sent twice is an equal duplicate; an export cuts its file back to the last
 * series that was whole.
 */
import { createReadStream, createWriteStream, existsSync, type WriteStream } from 'node:fs'
import { readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import type { Command } from 'commander'
import { InvalidArgumentError, Option } from 'commander'
import { fromIso, SECOND, toIso } from '../base/time.ts'
import { type Client, type ClientOptions, commandScheduler, detailOf, withClient, withClientOptions } from './client.ts'
import { progress, short } from './progress.ts'

type FileFormat = 'openmetrics' | 'csv'

const formatOption = () =>
  new Option('--format <format>', 'from the name of the file when absent').choices(['openmetrics', 'csv'])

export function importCommands(program: Command): void {
  withClientOptions(program.command('import'))
    .argument('<file>', 'OpenMetrics or CSV, also as .gz')
    .description('store the samples of a file; goes on where it was stopped')
    .addOption(formatOption())
    .option('--metric <name>', 'CSV: the name of the metric where a line has none')
    .option('--from-start', 'forget how far an earlier run came')
    .addHelpText(
      'after',
      `
CSV is timestamp,value[,labels]; a first line may name the columns, further columns are labels:
  2026-01-01T00:00:00Z,12.5,"{host=""a""}"

Examples:
  $ opinion-market import history.csv --metric cpu_usage
  $ opinion-market import prometheus-dump.om.gz --format openmetrics`,
    )
    .action((file: string, options: ClientOptions & ImportOptions) =>
      withClient(options, 'operator', `import ${new Date(commandScheduler.clock.now()).toISOString()}`, (client) =>
        importFile(client, file, options),
      ),
    )

  withClientOptions(program.command('export'))
    .argument('<file>', 'where to; .csv or OpenMetrics')
    .description('write samples to a file; goes on where it was stopped')
    .addOption(formatOption())
    .option('--match <selector...>', 'which series, as PromQL selects them; all when absent')
    .option('--since <time>', 'ISO time with its zone; all that is kept when absent', readTime)
    .option('--until <time>', 'the same; now when absent', readTime)
    .option('--from-start', 'forget how far an earlier run came, and write over a file that is there')
    .addHelpText(
      'after',
      `
Examples:
  $ opinion-market export all.om
  $ opinion-market export cpu.csv --match 'system_cpu_usage{service="opinion-market"}' --since 2026-01-01T00:00:00Z`,
    )
    .action((file: string, options: ClientOptions & ExportOptions) =>
      withClient(options, 'viewer', `export ${toIso(commandScheduler.clock.now())}`, (client) =>
        exportFile(client, file, options),
      ),
    )
}

function formatOf(file: string, format: FileFormat | undefined): FileFormat {
  return format ?? (/\.csv(\.gz)?$/i.test(file) ? 'csv' : 'openmetrics')
}

function readTime(text: string): number {
  const at = fromIso(text)
  if (at === null) throw new InvalidArgumentError('Expected a time such as 2026-01-01T00:00:00Z.')
  return at
}

// --------------------------------------------------------------------------------------------------- import

interface ImportOptions {
  readonly format?: FileFormat
  readonly metric?: string
  readonly fromStart?: boolean
}

/** How far an import came: bytes of the unpacked file that are stored. */
interface ImportPlace {
  readonly size: number
  readonly changed: number
  readonly offset: number
  readonly line: number
  readonly header: string | null
  readonly accepted: number
  readonly duplicates: number
  readonly late: number
  readonly refused: Readonly<Record<string, number>>
}

/** Bytes that are sent at once: cut between lines. */
const PART_BYTES = 1 << 20

async function importFile(client: Client, file: string, options: ImportOptions): Promise<void> {
  const format = formatOf(file, options.format)
  const { size, mtimeMs } = await stat(file)
  const placeFile = `${file}.progress`
  const fresh: ImportPlace = {
    ...{ size, changed: mtimeMs, offset: 0, line: 0, header: null },
    ...{ accepted: 0, duplicates: 0, late: 0, refused: {} },
  }
  let place = (options.fromStart ? null : await placeOf<ImportPlace>(placeFile)) ?? fresh
  if (place.size !== size || place.changed !== mtimeMs) place = fresh
  const bar = progress()
  const began = commandScheduler.clock.monotonic()
  const resumedAt = place.accepted

  const source = createReadStream(file)
  const text: Readable = file.endsWith('.gz') ? source.pipe(createGunzip()) : source
  source.on('error', (error) => text.destroy(error))
  let skip = place.offset
  let rest: Buffer = Buffer.alloc(0)
  const send = async (part: Buffer) => {
    if (part.length === 0) return
    place = await sendPart(client, part, format, options.metric, place)
    await writePlace(placeFile, place)
    const seconds = (commandScheduler.clock.monotonic() - began) / SECOND
    const rate = Math.round((place.accepted - resumedAt) / seconds)
    bar.show(source.bytesRead, size, `${short(place.accepted)} samples, ${short(rate)} a second`)
  }
  for await (const chunk of text as AsyncIterable<Buffer>) {
    let fresh = chunk
    if (skip > 0) {
      fresh = chunk.subarray(Math.min(skip, chunk.length))
      skip -= chunk.length - fresh.length
    }
    rest = rest.length === 0 ? fresh : Buffer.concat([rest, fresh])
    while (rest.length >= PART_BYTES) {
      const cut = rest.lastIndexOf(10, PART_BYTES) + 1
      if (cut === 0) throw new Error(`${file}, line ${place.line + 1}: the line has more than a megabyte`)
      await send(rest.subarray(0, cut))
      rest = rest.subarray(cut)
    }
  }
  await send(rest)
  await rm(placeFile, { force: true })
  const refused = Object.entries(place.refused).map(([reason, n]) => `${n} refused (${reason})`)
  const words = [`${place.accepted} samples stored`, `${place.duplicates} of them were there already`, ...refused]
  bar.end(`${words.join(', ')}.`)
}

async function sendPart(
  client: Client,
  part: Buffer,
  format: FileFormat,
  metric: string | undefined,
  place: ImportPlace,
): Promise<ImportPlace> {
  let { header } = place
  const query = new URLSearchParams({ format, part: '1' })
  if (format === 'csv') {
    const first = part
      .subarray(0, Math.max(0, part.indexOf(10)))
      .toString()
      .trim()
    if (place.offset === 0 && /(^|,)"?time(stamp)?"?(,|$)/i.test(first)) header = first
    else if (header !== null) query.set('header', header)
    if (metric !== undefined) query.set('metric', metric)
  }
  const answer = await client.call('POST', `/api/v1/import?${query}`, part)
  if (answer.status !== 200) {
    const detail = detailOf(answer.text)
    throw new Error(detail.replace(/^line (\d+)/, (_, n) => `line ${place.line + Number(n)}`))
  }
  const { accepted, duplicates, late, refused } = answer.json.data as Omit<ImportPlace, 'refused'> & {
    refused: Record<string, number>
  }
  const sum = { ...place.refused }
  for (const reason in refused) sum[reason] = (sum[reason] ?? 0) + refused[reason]!
  let lines = 0
  for (let at = part.indexOf(10); at >= 0; at = part.indexOf(10, at + 1)) lines++
  return {
    ...place,
    header,
    offset: place.offset + part.length,
    line: place.line + lines,
    accepted: place.accepted + accepted,
    duplicates: place.duplicates + duplicates,
    late: place.late + late,
    refused: sum,
  }
}

async function placeOf<T>(file: string): Promise<T | null> {
  if (!existsSync(file)) return null
  try {
    return JSON.parse(await readFile(file, 'utf8')) as T
  } catch {
    return null // half-written: as if there were none
  }
}

async function writePlace(file: string, place: unknown): Promise<void> {
  await writeFile(`${file}.new`, JSON.stringify(place))
  await rename(`${file}.new`, file)
}

// --------------------------------------------------------------------------------------------------- export

interface ExportOptions {
  readonly format?: FileFormat
  readonly match?: readonly string[]
  readonly since?: number
  readonly until?: number
  readonly fromStart?: boolean
}

interface ExportPlace {
  /** What was asked for: another question starts anew. */
  readonly asked: string
  readonly since: number
  readonly until: number
  /** The last series that is whole in the file, which has `bytes` then. */
  readonly name: string
  readonly series: string
  readonly bytes: number
  readonly samples: number
}

type LabelObject = Readonly<Record<string, string>>

const PLACE_EVERY_MS = 2 * SECOND

async function exportFile(client: Client, file: string, options: ExportOptions): Promise<void> {
  const format = formatOf(file, options.format)
  const now = commandScheduler.clock.now()
  const asked = JSON.stringify([format, options.match ?? null, options.since ?? null, options.until ?? null])
  const placeFile = `${file}.progress`
  let place = options.fromStart ? null : await placeOf<ExportPlace>(placeFile)
  if (place?.asked !== asked || !existsSync(file)) place = null
  // Shorter than it was: not the file that was begun, or a power cut took its end.
  if (place && (await stat(file)).size < place.bytes) place = null
  const there = await stat(file).catch(() => null)
  // A terminal or a pipe holds nothing that could be lost, and no place to go on from.
  const isFile = there === null || there.isFile()
  if (place === null && isFile && there !== null && there.size > 0 && !options.fromStart) {
    const what = existsSync(placeFile) ? 'the beginning of another export' : 'there already'
    throw new Error(`${file} is ${what}; --from-start writes over it`)
  }
  const since = place?.since ?? options.since ?? 0
  const until = place?.until ?? options.until ?? now
  if (place) await truncate(file, place.bytes)
  const out = createWriteStream(file, { flags: place ? 'a' : 'w' })
  const bar = progress()
  let bytes = place?.bytes ?? 0
  let samples = place?.samples ?? 0
  const write = async (text: string) => {
    bytes += Buffer.byteLength(text)
    if (!out.write(text)) await drained(out)
  }
  if (!place && format === 'csv') await write('timestamp,value,labels\n')
  const keepPlace = async (name: string, series: string) => {
    if (!isFile) return
    const here: ExportPlace = { asked, since, until, name, series, bytes, samples }
    await new Promise<void>((resolve) => out.write('', () => resolve()))
    await writePlace(placeFile, here)
  }
  // From the first moment: a file without its place is one that is whole, and is not written over.
  if (!place) await keepPlace('', '')

  const range = `start=${since / SECOND}&end=${until / SECOND}`
  const matches = (options.match ?? []).map((m) => `&match[]=${encodeURIComponent(m)}`).join('')
  const names: string[] = (await client.good('GET', `/api/v1/label/__name__/values?${range}${matches}`)).json.data
  let saved = commandScheduler.clock.monotonic()
  for (const [i, name] of names.entries()) {
    if (place && name < place.name) continue
    const listed = await seriesOf(client, name, options.match, range)
    let first = true
    for (const [j, labels] of listed.entries()) {
      const key = selectorOf(labels)
      if (place && name === place.name && key <= place.series) {
        first = false
        continue
      }
      const read = await samplesOf(client, key, since, until)
      if (read.length === 0) continue
      if (first && format === 'openmetrics') await write(`# TYPE ${metricText(name)} unknown\n`)
      first = false
      await write(format === 'csv' ? csvLines(key, read) : openMetricsLines(key, read))
      samples += read.length
      bar.show(i + j / listed.length, names.length, `${short(samples)} samples, ${name}`)
      if (commandScheduler.clock.monotonic() - saved > PLACE_EVERY_MS) {
        saved = commandScheduler.clock.monotonic()
        await keepPlace(name, key)
      }
    }
  }
  if (format === 'openmetrics') await write('# EOF\n')
  await new Promise<void>((resolve, reject) => {
    out.on('error', reject)
    out.end(resolve)
  })
  await rm(placeFile, { force: true })
  bar.end(`${samples} samples of ${names.length} metrics written to ${file}.`)
}

const drained = (out: WriteStream) => new Promise<void>((resolve) => out.once('drain', resolve))

/** Sorted by selector, each once. */
async function seriesOf(client: Client, name: string, match: readonly string[] | undefined, range: string) {
  const own = selectorOf({ __name__: name })
  const all: LabelObject[] = (await client.good('GET', `/api/v1/series?${range}&match[]=${encodeURIComponent(own)}`))
    .json.data
  let found = all
  if (match) {
    const matches = match.map((m) => `&match[]=${encodeURIComponent(m)}`).join('')
    const wanted: LabelObject[] = (await client.good('GET', `/api/v1/series?${range}${matches}`)).json.data
    const keys = new Set(wanted.map(selectorOf))
    found = all.filter((labels) => keys.has(selectorOf(labels)))
  }
  return found.toSorted((a, b) => (selectorOf(a) < selectorOf(b) ? -1 : 1))
}

/** Raw samples of one series with since ≤ time ≤ until, in pieces that the platform agrees to answer. */
async function samplesOf(client: Client, selector: string, since: number, until: number): Promise<[number, string][]> {
  const out: [number, string][] = []
  let span = until - since + 1
  for (let from = since; from <= until; ) {
    const to = Math.min(until, from + span - 1)
    // The range of a selector may include its start or not: one millisecond more, and the rest is left out here.
    const query = encodeURIComponent(`${selector}[${to - from + 1}ms]`)
    const answer = await client.call('GET', `/api/v1/query?query=${query}&time=${to / SECOND}`)
    if (answer.status === 422 && span > 60_000) {
      span = Math.ceil(span / 4)
      continue
    }
    if (answer.status !== 200) throw new Error(detailOf(answer.text))
    for (const series of answer.json.data.result as { values: [number, string][] }[]) {
      for (const [seconds, value] of series.values) {
        const at = Math.round(seconds * SECOND)
        if (at >= from && at <= to) out.push([at, value])
      }
    }
    from = to + 1
  }
  return out
}

const LEGACY = /^[a-zA-Z_][a-zA-Z0-9_]*$/
const escaped = (text: string) => text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')

/** `name{a="b"}`, names outside the old alphabet in quotes. Sorted: the same labels give the same text. */
function selectorOf(labels: LabelObject): string {
  const name = labels.__name__ ?? ''
  const legacy = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(name)
  const pairs = Object.keys(labels)
    .filter((key) => key !== '__name__')
    .sort()
    .map((key) => `${LEGACY.test(key) ? key : `"${escaped(key)}"`}="${escaped(labels[key]!)}"`)
  if (!legacy) pairs.unshift(`"${escaped(name)}"`)
  return `${legacy ? name : ''}{${pairs.join(',')}}`
}

const metricText = (name: string) => (/^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(name) ? name : `"${escaped(name)}"`)

const openMetricsLines = (series: string, samples: readonly [number, string][]) =>
  samples.map(([at, value]) => `${series} ${value} ${at / SECOND}\n`).join('')

function csvLines(series: string, samples: readonly [number, string][]): string {
  const labels = `"${series.replaceAll('"', '""')}"`
  return samples.map(([at, value]) => `${toIso(at)},${value},${labels}\n`).join('')
}
