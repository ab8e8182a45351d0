/** Front and its children as real processes, really killed. Control's place is taken by a tiny child. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { endFronts, isRunning, startFront, until } from '../support/process/fronts.ts'

afterEach(endFronts)

const pidOf = async (front: Awaited<ReturnType<typeof startFront>>) => (await front.ask('/')).json.pid as number

async function ready(options?: Parameters<typeof startFront>[0]) {
  const front = await startFront(options)
  await until(async () => {
    const answer = await front.ask('/').catch(() => null)
    return answer?.json?.processes?.every((process: { state: string }) => process.state === 'ready') ?? false
  })
  return front
}

describe('a child that is killed', () => {
  test('is back within two seconds; the others and the requests go on', async () => {
    const front = await ready()
    const before = (await front.ask('/')).json
    const other = before.processes.find((p: { id: string }) => p.id === 'instance-1').pid
    process.kill(before.pid, 'SIGKILL')
    // Asked while it is away: waits for the new one, which has to come in time.
    const after = await front.ask('/')
    expect(after.status).toBe(200)
    expect(after.json.pid).not.toBe(before.pid)
    expect(isRunning(other)).toBe(true)
    await until(async () => (await front.ask('/')).json.processes[0].state === 'ready')
    const { processes } = (await front.ask('/')).json
    expect(processes[0]).toMatchObject({ id: 'control', restarts: 1, lastExit: 'signal SIGKILL' })
    expect(processes[1]).toMatchObject({ id: 'instance-1', restarts: 0, pid: other })
  })

  test('hears, when it is back, what happened meanwhile', async () => {
    const front = await ready()
    process.kill(await pidOf(front), 'SIGKILL')
    const types = (await front.ask('/')).json.events.map(
      (e: { type: string; process: string }) => `${e.process} ${e.type}`,
    )
    expect(types).toEqual(expect.arrayContaining(['control exited', 'control restarting', 'control started']))
  })

  test('in the middle of a request: a GET is sent again, a POST is answered 503', async () => {
    const front = await ready()
    const get = front.ask('/slow?ms=600')
    const post = front.ask('/slow?ms=600', { method: 'POST', body: 'x' })
    await new Promise((resolve) => setTimeout(resolve, 200))
    process.kill(await pidOf(front), 'SIGKILL')
    expect((await get).status).toBe(200)
    expect(await post).toMatchObject({ status: 503, json: { success: false, error: { code: 'unavailable' } } })
  })

  test('by its own fault leaves the fault in error.log, and is started again', async () => {
    const front = await ready()
    await front.ask('/crash', { method: 'POST' })
    await until(() => front.logLines('error.log').length > 0)
    const [crash] = front.logLines('error.log')
    expect(crash).toMatchObject({ process: 'control', level: 'error' })
    expect(crash!.message).toContain('undefinedFunction is not defined')
    expect(crash!.message).toContain('tiny-child.ts')
    expect((await front.ask('/')).status).toBe(200)
  })
})

describe('front that is killed', () => {
  test('takes its children with it, and they stop in order', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'front-'))
    const notes = join(dir, 'stopped')
    const front = await ready({ dir, env: { TINY_STOPPED: notes } })
    const children = front.children()
    expect(children).toHaveLength(2)
    front.process.kill('SIGKILL')
    await until(() => children.every((pid) => !isRunning(pid)))
    expect(readFileSync(notes, 'utf8').split('\n').sort()).toEqual([
      '',
      'control stopped in order',
      'instance-1 stopped in order',
    ])
  })

  test('can be started again at once on the same directory and port', async () => {
    const front = await ready()
    front.process.kill('SIGKILL')
    await front.ended
    const again = await ready({ dir: front.dir, port: front.port })
    expect((await again.ask('/')).status).toBe(200)
  })
})

describe.each(['SIGTERM', 'SIGINT'] as const)('%s', (signal) => {
  test('loses no request under way, and ends with exit code 0', async () => {
    const front = await ready()
    const asked = Array.from({ length: 20 }, (_, i) =>
      front.ask(`/slow?ms=${1000 + i * 50}`, i % 2 === 0 ? {} : { method: 'POST', body: 'x'.repeat(1000) }),
    )
    // Until all are under way; some of them are answered soon after.
    await new Promise((resolve) => setTimeout(resolve, 900))
    const children = front.children()
    front.process.kill(signal)
    for (const answer of await Promise.all(asked)) expect(answer.status).toBe(200)
    expect(await front.ended).toBe('exit 0')
    expect(children.some(isRunning)).toBe(false)
    expect(existsSync(join(front.settings.dataDir, 'owner'))).toBe(false)
    expect(existsSync(join(front.settings.dataDir, 'run'))).toBe(false)
    expect(front.logLines().at(-1)).toMatchObject({ message: 'stopped' })
  })

  test('reaching the whole process group, as from a terminal, is front’s to answer', async () => {
    const front = await ready()
    const asked = front.ask('/slow?ms=500')
    await new Promise((resolve) => setTimeout(resolve, 200))
    for (const pid of [...front.children(), front.process.pid!]) process.kill(pid, signal)
    expect((await asked).status).toBe(200)
    expect(await front.ended).toBe('exit 0')
  })
})

test('a child that is stuck ends within ten seconds all the same', { timeout: 20_000 }, async () => {
  const front = await ready()
  const children = front.children()
  front.ask('/stuck').catch(() => {})
  await new Promise((resolve) => setTimeout(resolve, 200))
  const began = performance.now()
  front.process.kill('SIGTERM')
  expect(await front.ended).toBe('exit 1')
  expect(performance.now() - began).toBeLessThan(11_000)
  expect(children.some(isRunning)).toBe(false)
})

describe('a start that cannot be', () => {
  test('a port in use is said in one sentence', async () => {
    const front = await ready()
    const second = await startFront({ port: front.port })
    expect(await second.ended).toBe('exit 1')
    expect(second.output()).toContain(`Port ${front.port} on 127.0.0.1 is in use`)
    expect(second.output()).not.toMatch(/\n\s+at /)
    expect(existsSync(join(second.settings.dataDir, 'owner'))).toBe(false)
  })

  test('a data directory in use is said in one sentence, with the process that has it', async () => {
    const front = await ready()
    const second = await startFront({ dir: front.dir })
    expect(await second.ended).toBe('exit 1')
    expect(second.output()).toBe(
      `Another platform (process ${front.process.pid}) uses the data directory ${front.settings.dataDir}.\n`,
    )
    expect((await front.ask('/')).status).toBe(200)
  })

  test('a data directory that its owner is just leaving is waited for', async () => {
    const front = await ready()
    const slow = front.ask('/slow?ms=1200')
    await new Promise((resolve) => setTimeout(resolve, 200))
    front.process.kill('SIGTERM')
    await until(() => readFileSync(join(front.settings.dataDir, 'owner'), 'utf8').includes('"leaving":true'))
    const second = await ready({ dir: front.dir })
    expect((await slow).status).toBe(200)
    expect(await front.ended).toBe('exit 0')
    expect((await second.ask('/')).status).toBe(200)
  })

  test('an owner whose pid now is another process is no owner', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'front-'))
    mkdirSync(join(dir, 'data'))
    const stale = { pid: process.pid, started: 'long ago', leaving: false }
    writeFileSync(join(dir, 'data', 'owner'), JSON.stringify(stale))
    const front = await ready({ dir })
    expect((await front.ask('/')).status).toBe(200)
  })

  test.each([
    ['a file', (dir: string) => writeFileSync(join(dir, 'data'), '')],
    ['below a file', (dir: string) => writeFileSync(join(dir, 'file'), '')],
  ])('a data directory that is %s is said in one sentence', async (what, make) => {
    const dir = mkdtempSync(join(tmpdir(), 'front-'))
    make(dir)
    const dataDir = what === 'a file' ? join(dir, 'data') : join(dir, 'file', 'data')
    const front = await startFront({ dir, change: { dataDir } })
    expect(await front.ended).toBe('exit 1')
    expect(front.output()).toBe(
      `The data directory ${dataDir} cannot be used: something on that path is not a folder.\n`,
    )
  })

  test('a child that cannot come up is tried again more and more slowly; the others go on', async () => {
    const front = await startFront({ env: { TINY_FAILS: 'control' } })
    await until(() => front.logLines().some((line) => String(line.detail).includes('in 0.5 s')))
    expect(await front.ask('/health')).toMatchObject({ status: 503, text: '{"status":"unhealthy"}' })
    const exits = front.logLines().filter((line) => line.message === 'process control exited')
    expect(exits.every((line) => line.detail === 'exit 3')).toBe(true)
    front.process.kill('SIGTERM')
    await front.ended
  })
})

test('a start ends by saying where to look', async () => {
  const front = await ready()
  await until(() => front.output().includes('The platform is ready'))
  expect(front.output()).toContain(`The platform is ready: http://127.0.0.1:${front.port} `)
  expect(front.logLines().some((line) => String(line.message).includes('is ready: http'))).toBe(false)
})

test('the sockets of a data directory with a very long path are elsewhere, and for this user alone', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'front-'))
  const dataDir = join(dir, 'x'.repeat(120))
  const front = await ready({ dir, change: { dataDir } })
  expect((await front.ask('/')).status).toBe(200)
  expect(existsSync(join(dataDir, 'run'))).toBe(false)
  expect(statSync(dataDir).mode & 0o077).toBe(0)
})

test('a configuration that control changes reaches every process, and front itself', async () => {
  const front = await ready()
  await front.ask('/configure', { method: 'POST', body: JSON.stringify({ log: { level: 'error' } }) })
  process.kill((await front.ask('/')).json.processes[1].pid, 'SIGKILL')
  await until(async () => (await front.ask('/')).json.processes[1].state === 'ready')
  await front.ask('/log?message=marker')
  await until(() => front.logLines().some((line) => line.message === 'marker'))
  // Front logs nothing below `error` any more: neither the end of the process nor its new start.
  expect(front.logLines().some((line) => line.message === 'process instance-1 exited')).toBe(false)
})

test('control gets rate, errors and duration every five seconds, from the first request on', async () => {
  const front = await ready()
  const asked = 7
  for (let i = 0; i < asked; i++) await front.ask('/slow?ms=30')
  // biome-ignore lint/suspicious/noExplicitAny: a message that has passed as JSON
  let edge: any = null
  await until(async () => {
    edge = (await front.ask('/health')).json.edge
    return edge !== null
  })
  expect(edge.window.requests).toBeGreaterThanOrEqual(asked)
  expect(edge.window.errors).toBe(0)
  expect(edge.window.p99Ms).toBeGreaterThanOrEqual(29)
  expect(edge.window.seconds).toBeGreaterThan(4)
  const names = edge.telemetry.map((family: { name: string }) => family.name)
  expect(names).toEqual(expect.arrayContaining(['edge_requests_total', 'process_resident_memory_bytes']))
})

test('what clients saw while control was away is told to it when it is back', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'front-'))
  const file = join(dir, 'down')
  writeFileSync(file, '')
  const front = await startFront({ dir, env: { TINY_FAILS: `control:${file}` } })
  await until(() =>
    front.ask('/health').then(
      () => true,
      () => false,
    ),
  )
  const answers = await Promise.all(Array.from({ length: 5 }, () => front.ask('/')))
  expect(answers.map((answer) => answer.status)).toEqual([503, 503, 503, 503, 503])
  // Past the end of what would have been the first window.
  await new Promise((resolve) => setTimeout(resolve, 4_000))
  rmSync(file)
  // biome-ignore lint/suspicious/noExplicitAny: a message that has passed as JSON
  let edge: any = null
  await until(async () => {
    edge = (await front.ask('/health')).json.edge ?? null
    return edge !== null
  }, 20_000)
  expect(edge.window).toMatchObject({ requests: 5, errors: 5 })
  expect(edge.window.seconds).toBeGreaterThan(6)
})

test('log lines of all processes meet in one file, errors in a second one', async () => {
  const front = await ready()
  await front.ask('/log?message=something%20broke')
  await until(() => front.logLines('error.log').length === 1)
  expect(front.logLines('error.log')[0]).toMatchObject({
    level: 'error',
    process: 'control',
    message: 'something broke',
    error: { message: 'as asked' },
  })
  const seen = new Set(front.logLines().map((line) => line.process))
  expect([...seen].sort()).toEqual(['control', 'front', 'instance-1'])
  expect(front.output()).toContain('something broke')
})
