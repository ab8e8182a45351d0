/**
 * How commands reach the running platform: over its API, with a token from `--token`, from OM_TOKEN, or, where the
 * data directory can be read, one made for the command and revoked at its end: who can read it is the administrator.
 * That one holds for minutes and is made longer while the command runs: a command that is killed leaves nothing that
 * anybody could use for long.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { runningAddress } from '../app/front-lock.ts'
import { platformUrl } from '../app/urls.ts'
import { messageOf } from '../base/errors.ts'
import { systemScheduler } from '../base/scheduler.ts'
import { MINUTE } from '../base/time.ts'
import { loadConfig, tokenGiven } from '../config/index.ts'
import { openIdentity, type Role } from '../identity/index.ts'
import { openSecretBox } from '../storage/secrets.ts'

export interface ClientOptions {
  readonly url?: string
  readonly token?: string
}

/** Adds the options that every command of this kind has. */
export const withClientOptions = (command: Command): Command =>
  command
    .option('--url <address>', 'where the platform is; from the configuration when absent')
    .option('--token <token>', 'a token of the platform; OM_TOKEN, or one made for this command, when absent')

export interface Answer {
  readonly status: number
  readonly text: string
  // biome-ignore lint/suspicious/noExplicitAny: whatever the route answers; the command knows its shape
  readonly json: any
}

export interface Client {
  /** Any answer but 429 and 503, which are tried again for a minute, as is a platform that cannot be reached. */
  call(method: string, path: string, body?: Uint8Array | string): Promise<Answer>
  /** The same; another status than 2xx is an Error with the platform's own sentence. */
  good(method: string, path: string, body?: string): Promise<Answer>
}

const PATIENCE_MS = 60_000
const TOKEN_MS = 5 * MINUTE

export const commandScheduler = systemScheduler((error) => {
  throw error
})

/** `role` and `purpose` are for a token that has to be made. */
export async function withClient<T>(
  options: ClientOptions,
  role: Role,
  purpose: string,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const config = loadConfig()
  const { platform } = config.current.values
  const here = () => runningAddress(platform.dataDir) ?? platformUrl({ ...platform, publicUrl: null })
  const url = (options.url ?? here()).replace(/\/$/, '')
  const given = options.token ?? tokenGiven()
  if (given !== null) return work(client(url, given))
  if (options.url !== undefined || !existsSync(join(platform.dataDir, 'identity.db'))) {
    throw new Error('a token is needed: --token or OM_TOKEN (opinion-market token create --help)')
  }
  const { sessionIdle, sessionLifetime } = config.current.values.identity
  const box = openSecretBox(join(platform.dataDir, 'secret.key'), platform.secretKey)
  const identity = openIdentity(join(platform.dataDir, 'identity.db'), box, () => ({
    idleMs: sessionIdle * 1000,
    lifetimeMs: sessionLifetime * 1000,
  }))
  const now = () => commandScheduler.clock.now()
  const made = identity.createToken({ name: purpose, role, expiresAt: now() + TOKEN_MS }, 'command line', now())
  const longer = commandScheduler.every(MINUTE, () => {
    try {
      identity.extendToken(made.token.id, now() + TOKEN_MS)
    } catch {
      // The disk may be full for a while: there are more minutes than this one.
    }
  })
  try {
    return await work(client(url, made.secret))
  } finally {
    longer.cancel()
    identity.revokeToken(made.token.id, 'command line', now())
    identity.close()
  }
}

function client(url: string, token: string): Client {
  const { clock, sleep } = commandScheduler
  async function call(method: string, path: string, body?: Uint8Array | string, type?: string): Promise<Answer> {
    const deadline = clock.monotonic() + PATIENCE_MS
    for (;;) {
      let wait = 1
      let why: string
      try {
        const response = await fetch(url + path, {
          method,
          headers: { authorization: `Bearer ${token}`, ...(type === undefined ? {} : { 'content-type': type }) },
          ...(body === undefined ? {} : { body: body as string }),
        })
        const text = await response.text()
        if (response.status !== 429 && response.status !== 503) {
          return { status: response.status, text, json: parsed(text) }
        }
        wait = Number(response.headers.get('retry-after') ?? 1)
        why = detailOf(text)
      } catch (error) {
        why = `${url} cannot be reached (${messageOf(error instanceof Error ? (error.cause ?? error) : error)})`
      }
      if (clock.monotonic() + wait * 1000 > deadline) throw new Error(why)
      await sleep(Math.max(0.2, wait) * 1000)
    }
  }
  return {
    call,
    async good(method, path, body) {
      const answer = await call(method, path, body, body === undefined ? undefined : 'application/json')
      if (answer.status >= 300) throw new Error(detailOf(answer.text))
      return answer
    },
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

/** The sentence of an error: of the platform's shape, or of Prometheus'. */
export function detailOf(text: string): string {
  const json = parsed(text) as { detail?: string; error?: unknown } | null
  if (typeof json?.detail === 'string') return json.detail
  if (typeof json?.error === 'string') return json.error
  return text.trim().slice(0, 300) || 'the platform gave no reason'
}
