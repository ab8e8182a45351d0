/**
 * The built platform as a user runs it: real processes on a free port with a data directory of their own. Tests and
 * benches start it, talk to it over HTTP, kill it and start it again on what it left behind.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

export const ADMIN_TOKEN = 'om_test_0123456789abcdef0123456789abcdef'

export interface PlatformOptions {
  /** Environment on top of the defaults. */
  readonly env?: Readonly<Record<string, string>>
  /** A data directory to go on with; a new one otherwise. */
  readonly dir?: string
  /** Where `dist/main.js` stands; the project's own build unless told otherwise. */
  readonly main?: string
  readonly readyWithinMs?: number
}

export interface Platform {
  readonly url: string
  readonly port: number
  /** Holds `data/` and `logs/`. */
  readonly dir: string
  readonly pid: number
  /** Milliseconds from start to `/ready`. */
  readonly readyMs: number
  /** Everything it printed so far. */
  output(): string
  /** With the admin token; `body` goes as JSON. */
  request(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>
  /** Pids of the platform's processes by kind, front among them. */
  processes(): { pid: number; kind: string }[]
  /** SIGKILL to every process of the tree, as a power cut would. */
  kill(): Promise<void>
  /** SIGTERM to front; resolves with its exit code. */
  stop(): Promise<number | null>
  /** Stops it if need be and removes its directory. */
  remove(): Promise<void>
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  // biome-ignore lint/suspicious/noExplicitAny: the tests say what they expect of an answer
  readonly json: any
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as { port: number }
  await new Promise((done) => server.close(done))
  return port
}

export async function startPlatform(options: PlatformOptions = {}): Promise<Platform> {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'om-test-'))
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const started = performance.now()
  const main = options.main ?? resolve(import.meta.dirname, '../../dist/main.js')
  const child = spawn(process.execPath, [main, 'serve'], {
    cwd: dir,
    env: {
      PATH: process.env.PATH ?? '',
      PORT: String(port),
      HOST: '127.0.0.1',
      DATA_DIR: join(dir, 'data'),
      LOG_DIR: join(dir, 'logs'),
      OM_ADMIN_TOKEN: ADMIN_TOKEN,
      ...options.env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let printed = ''
  const keep = (chunk: Buffer) => {
    printed = (printed + chunk.toString()).slice(-200_000)
  }
  child.stdout.on('data', keep)
  child.stderr.on('data', keep)
  const exited = new Promise<number | null>((done) => child.on('exit', (code) => done(code)))

  const until = performance.now() + (options.readyWithinMs ?? 60_000)
  for (;;) {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`the platform ended at its start (${child.exitCode ?? child.signalCode}):\n${printed}`)
    }
    const ready = await fetch(`${url}/ready`, { signal: AbortSignal.timeout(1000) }).catch(() => null)
    await ready?.text()
    if (ready?.status === 200) break
    if (performance.now() > until) {
      await killTree(child)
      throw new Error(`the platform was not ready in time:\n${printed}`)
    }
    await sleep(20)
  }
  const readyMs = performance.now() - started

  return {
    url,
    port,
    dir,
    pid: child.pid!,
    readyMs,
    output: () => printed,
    async request(method, path, body, headers = {}) {
      const response = await fetch(url + path, {
        method,
        headers: {
          authorization: `Bearer ${ADMIN_TOKEN}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      const text = await response.text()
      return { status: response.status, headers: response.headers, text, json: parsed(text) }
    },
    processes: () => tree(child.pid!),
    async kill() {
      await killTree(child)
      await exited
    },
    async stop() {
      child.kill('SIGTERM')
      return exited
    },
    async remove() {
      if (child.exitCode === null && child.signalCode === null) await killTree(child)
      await exited
      rmSync(dir, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

export const sleep = (ms: number) => new Promise<void>((done) => setTimeout(done, ms))

/** Asks again until `check` holds; fails with the last answer. */
export async function eventually<T>(
  ask: () => Promise<T>,
  check: (value: T) => boolean,
  withinMs = 30_000,
): Promise<T> {
  const until = performance.now() + withinMs
  for (;;) {
    const value = await ask().catch((error: unknown) => error as T)
    if (!(value instanceof Error) && check(value)) return value
    if (performance.now() > until) {
      throw new Error(
        `still not so after ${withinMs} ms: ${value instanceof Error ? value.stack : JSON.stringify(value)}`,
      )
    }
    await sleep(50)
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The process and its descendants, from /proc. */
export function tree(root: number): { pid: number; kind: string }[] {
  const parents = new Map<number, number[]>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const stat = read(`/proc/${name}/stat`)
    const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
    parents.set(parent, [...(parents.get(parent) ?? []), Number(name)])
  }
  const found: { pid: number; kind: string }[] = []
  const visit = (pid: number) => {
    const words = read(`/proc/${pid}/cmdline`).split('\0')
    if (words.length > 1) found.push({ pid, kind: words[words.indexOf('--process') + 1 || words.length] ?? 'front' })
    for (const next of parents.get(pid) ?? []) visit(next)
  }
  visit(root)
  return found
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

async function killTree(child: ChildProcess): Promise<void> {
  const pids = tree(child.pid!).map((p) => p.pid)
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // gone already
    }
  }
  while (pids.some((pid) => pid !== child.pid && read(`/proc/${pid}/stat`).match(/\) [^ZX]/))) await sleep(5)
}
