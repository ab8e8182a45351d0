/** Starts `tiny-front.ts` as real processes in a directory of its own, and speaks to it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { FrontSettings } from '../../../src/app/front.ts'
import { type EdgeConfig, edgeKeys } from '../../../src/edge/config.ts'
import { freePort } from '../platform.ts'

const frontFile = fileURLToPath(new URL('./tiny-front.ts', import.meta.url))

export interface TinyAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
  // biome-ignore lint/suspicious/noExplicitAny: the tests say what they expect of an answer
  readonly json: any
}

export interface TinyFront {
  readonly process: ChildProcess
  readonly port: number
  readonly dir: string
  readonly settings: FrontSettings
  output(): string
  /** Resolves with `exit 0`, `signal SIGKILL`. */
  readonly ended: Promise<string>
  ask(path: string, options?: { method?: string; body?: string; headers?: Record<string, string> }): Promise<TinyAnswer>
  /** Pids of the children, of the kernel's knowledge. */
  children(): number[]
  logLines(file?: string): Record<string, unknown>[]
}

const started: TinyFront[] = []

export async function startFront(
  options: { dir?: string; port?: number; env?: Record<string, string>; change?: Partial<FrontSettings> } = {},
): Promise<TinyFront> {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'front-'))
  const port = options.port ?? (await freePort())
  const defaults = Object.fromEntries(Object.entries(edgeKeys).map(([name, key]) => [name, key.fallback]))
  const settings: FrontSettings = {
    host: '127.0.0.1',
    port,
    publicUrl: null,
    dataDir: join(dir, 'data'),
    logDir: join(dir, 'logs'),
    log: { level: 'info', console: 'readable', fileBytesMax: 1e7, fileAgeMaxMs: 1e9, filesKept: 3 },
    edge: { ...defaults, bodyBytesMax: 1e6 } as EdgeConfig,
    ...options.change,
  }
  const process = spawn(globalThis.process.execPath, [frontFile, JSON.stringify(settings)], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...globalThis.process.env, ...options.env },
  })
  let output = ''
  for (const stream of [process.stdout!, process.stderr!]) stream.on('data', (chunk) => (output += chunk))
  const front: TinyFront = {
    process,
    port,
    dir,
    settings,
    output: () => output,
    ended: new Promise((resolve) =>
      process.on('close', (code, signal) => resolve(signal ? `signal ${signal}` : `exit ${code}`)),
    ),
    ask: (path, { method = 'GET', body, headers = {} } = {}) =>
      new Promise((resolve, reject) => {
        const request = httpRequest({ port, path, method, headers, agent: false }, (answer) => {
          let text = ''
          answer.on('data', (chunk) => (text += chunk))
          answer.on('error', reject)
          answer.on('end', () => {
            const { statusCode, headers } = answer
            resolve({ status: statusCode!, headers, text, json: text.startsWith('{') ? JSON.parse(text) : null })
          })
        })
        request.on('error', reject)
        request.end(body)
      }),
    children: () => childrenOf(process.pid!),
    logLines: (file = 'app.log') => {
      const path = join(settings.logDir, file)
      if (!existsSync(path)) return []
      return readFileSync(path, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line))
    },
  }
  started.push(front)
  return front
}

/** Ends every front that the test file started, and removes its directory. */
export async function endFronts(): Promise<void> {
  for (const front of started.splice(0)) {
    if (front.process.exitCode === null && front.process.signalCode === null) front.process.kill('SIGKILL')
    await front.ended
    rmSync(front.dir, { recursive: true, force: true })
  }
}

export async function until(what: () => boolean | Promise<boolean>, ms = 30_000): Promise<void> {
  const end = performance.now() + ms
  while (!(await what())) {
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

export function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
    return text === '' ? [] : text.split(' ').map(Number)
  } catch {
    return []
  }
}

export function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}
