/**
 * `demo`: a platform that is alive. Starts one when none runs in the data directory, gives it markets and a population of
 * simulated traders, and lets them trade through the public API until Ctrl-C.
 *
 * Accounts are made in the data directory (registering thirty people from one address is what the API throttles); their
 * passwords are kept beside them, mode 0600, so that the same people come back the next time.
 */
import { spawn } from 'node:child_process'
import { chmodSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { InvalidArgumentError } from 'commander'
import { openAccounts } from '../app/accounts.ts'
import { runningAddress } from '../app/front-lock.ts'
import { AppError, messageOf } from '../base/errors.ts'
import { secretToken, seededRandom } from '../base/random.ts'
import { SECOND } from '../base/time.ts'
import type { Values } from '../config/index.ts'
import { environmentWith, loadConfig } from '../config/index.ts'
import { commandScheduler } from './client.ts'
import { createApi } from './demo/api.ts'
import { kindOf } from './demo/population.ts'
import { LONG } from './demo/questions.ts'
import { type Figures, populate } from './demo/run.ts'
import { progress } from './progress.ts'
import { say } from './say.ts'

interface Options {
  readonly traders: number
  readonly markets: number
  readonly rate: number
  readonly seed: number
  readonly seconds?: number
  readonly connections: number
}

export function demoCommand(program: Command): void {
  program
    .command('demo')
    .description('start a platform with lively markets and simulated traders, or bring them to the one that runs')
    .option('--traders <n>', 'how many people trade', whole(2, 2_000), 30)
    .option('--markets <n>', `how many markets stay open, besides the short ones`, whole(1, LONG.length), LONG.length)
    .option('--rate <acts>', 'trades and orders a second, all together', positive, 4)
    .option('--seed <n>', 'the same seed makes the same people', whole(0, 2 ** 31), 1)
    .option('--seconds <n>', 'end after this long; runs until Ctrl-C when absent', positive)
    .option('--connections <n>', 'most requests at once', whole(1, 1_024), 32)
    .addHelpText(
      'after',
      `
A platform that demo starts pays resolved markets at once (MARKET_DISPUTE_WINDOW=0 unless you set it).

Examples:
  $ opinion-market demo
  $ DATA_DIR=/tmp/demo PORT=9000 opinion-market demo --rate 20 --traders 100`,
    )
    .action(async (options: Options) => {
      process.exitCode = await demo(options)
    })
}

async function demo(options: Options): Promise<number> {
  process.umask(0o077)
  const { values } = loadConfig().current
  if (!values.market.enabled) throw new Error('The market is switched off (market.enabled, MARKET_ENABLED).')
  const stop = new AbortController()
  const running = runningAddress(values.platform.dataDir)
  const platform = running === null ? startPlatform(() => stop.abort()) : null
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort())
  try {
    const url = running ?? (await addressOf(values, stop.signal))
    if (url === null) return platform ? await platform.ended : 1
    const accounts = await people(values, options.traders)
    return await live(url, accounts, options, stop)
  } finally {
    platform?.stop()
    await platform?.ended
  }
}

async function live(
  url: string,
  accounts: readonly Person[],
  options: Options,
  stop: AbortController,
): Promise<number> {
  const { clock } = commandScheduler
  const bar = progress()
  const api = createApi(url, commandScheduler, options.connections)
  if (options.seconds !== undefined) commandScheduler.after(options.seconds * SECOND, () => stop.abort())
  const population = populate({
    api,
    accounts,
    rate: options.rate,
    concurrency: options.connections,
    markets: options.markets,
    renews: true,
    random: seededRandom(options.seed),
    scheduler: commandScheduler,
    signal: stop.signal,
    onProgress: (done, of, what) => bar.show(done, of, `${done} of ${of} ${what}`),
  })
  say(`Demo: ${accounts.length} people trade at ${url}, ${options.rate} acts a second. Ctrl-C stops.`)
  say(`Be one of them: log in as ${accounts[0]!.username} with the password ${accounts[0]!.password}`)
  const started = clock.monotonic()
  const lines = commandScheduler.every(SECOND, () => {
    bar.show(0, null, words(population.figures, (clock.monotonic() - started) / SECOND))
  })
  try {
    await population.done
  } finally {
    lines.cancel()
    api.close()
  }
  bar.end(words(population.figures, (clock.monotonic() - started) / SECOND))
  return population.figures.failed > 0 && population.figures.trades === 0 ? 1 : 0
}

const words = ({ trades, orders, refused, failed, opened, resolved }: Figures, seconds: number) =>
  `${trades} trades (${(trades / Math.max(seconds, 1)).toFixed(1)}/s), ${orders} orders, ${opened} markets opened, ` +
  `${resolved} resolved, ${refused} refused, ${failed} failed`

/** The platform as a child of its own; what it says goes to this terminal. */
function startPlatform(onEnd: () => void): { readonly ended: Promise<number>; stop(): void } {
  const main = fileURLToPath(new URL('../main.js', import.meta.url))
  const child = spawn(process.execPath, [main, 'serve'], {
    env: environmentWith({ MARKET_DISPUTE_WINDOW: '0' }),
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const ended = new Promise<number>((resolve) => {
    child.on('error', () => resolve(1))
    child.on('exit', (code) => resolve(code ?? 1))
  })
  void ended.then(onEnd)
  return { ended, stop: () => void child.kill('SIGTERM') }
}

/** Waits until the platform in the data directory is ready; null when it was stopped before. */
async function addressOf({ platform }: Values, signal: AbortSignal): Promise<string | null> {
  while (!signal.aborted) {
    const address = runningAddress(platform.dataDir)
    const ready = address === null ? null : await fetch(`${address}/ready`).catch(() => null)
    await ready?.text()
    if (address && ready?.status === 200) return address
    await commandScheduler.sleep(100)
  }
  return null
}

export interface Person {
  readonly username: string
  readonly password: string
}

/** The first `count` people of this data directory; those that are missing are made. */
export async function people(values: Values, count: number): Promise<readonly Person[]> {
  const { dataDir } = values.platform
  const file = join(dataDir, 'demo-people.json')
  const known: Person[] = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : []
  if (known.length >= count) return known.slice(0, count)
  const unlimited = { registrations: 1_000_000, loginFailures: 1_000_000 }
  const open = await openAccounts(values.market.databaseUrl, join(dataDir, 'identity.db'), () => unlimited)
  const bar = progress()
  try {
    while (known.length < count) {
      const i = known.length
      const username = `${kindOf(i)}-${i + 1}`
      const person = { username: `demo-${username}`.slice(0, 20), password: secretToken(12) }
      const registration = { ...person, email: `${person.username}@demo.invalid`, fullName: null, bio: null }
      await register(registration)
      known.push(person)
      bar.show(known.length, count, `${known.length} of ${count} people`)
      if (known.length % 50 === 0 || known.length === count) keep(file, known)
    }
  } finally {
    await open.close()
  }
  return known

  async function register(registration: Person & { email: string; fullName: null; bio: null }): Promise<void> {
    try {
      await open.accounts.register(registration, 'demo', commandScheduler.clock.now())
    } catch (error) {
      if (!(error instanceof AppError) || error.status !== 409) throw error
      throw new Error(
        `The account ${registration.username} exists, but ${file} does not know its password: ${messageOf(error)}`,
      )
    }
  }
}

function keep(file: string, all: readonly Person[]): void {
  writeFileSync(`${file}.new`, JSON.stringify(all), { mode: 0o600 })
  chmodSync(`${file}.new`, 0o600)
  renameSync(`${file}.new`, file)
}

function whole(least: number, most: number) {
  return (text: string): number => {
    const n = Number(text)
    if (/^\d+$/.test(text) && n >= least && n <= most) return n
    throw new InvalidArgumentError(`A whole number from ${least} to ${most}.`)
  }
}

function positive(text: string): number {
  const n = Number(text)
  if (Number.isFinite(n) && n > 0 && n <= 100_000) return n
  throw new InvalidArgumentError('A number above 0, at most 100000.')
}
