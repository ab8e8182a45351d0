/**
 * Where routes hand in commands: who asks, under which key, and what a refusal is to a client.
 *
 * A client's Idempotency-Key or client_order_id becomes the key, joined with its user; without one a new key is made. An
 * account that the market does not know (a crash lay between the registration and the market) is opened, and the command
 * asked again.
 */
import { hash } from 'node:crypto'
import type { Clock } from '../base/clock.ts'
import { newId } from '../base/id.ts'
import type { Histogram, Telemetry } from '../base/telemetry.ts'
import type { Actor, Command, Done, MarketCommands } from './commands.ts'
import type { UserId } from './model.ts'
import { refused } from './refused.ts'

/** The caller, as `http/route.ts` knows it. */
export interface Caller {
  readonly id: string
  readonly name: string
  readonly role: string
}

export interface Claimed {
  readonly key: string
  readonly fingerprint: string
}

export interface DeskDeps {
  readonly commands: MarketCommands
  readonly clock: Clock
  readonly telemetry: Telemetry
  /** After each answer: what this process holds of the market must not be older than it. */
  onDone(done: Done): void
}

export interface Desk {
  /** Resolves with what was done; throws the refusal as an `AppError`. `claim` is the client's key, if it sent one. */
  submit<T extends Done['type']>(
    caller: Caller,
    command: Command,
    expected: T,
    claim?: Claimed | null,
  ): Promise<Extract<Done, { type: T }>>
  /** Makes the account of a user in the market; harmless when it is there. */
  open(userId: string, username: string): Promise<void>
}

const SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5]

export function createDesk({ commands, clock, telemetry, onDone }: DeskDeps): Desk {
  const times = new Map<Command['type'], Histogram>()
  function timeOf(command: Command['type']): Histogram {
    let time = times.get(command)
    if (time === undefined) {
      const help = 'From an instance asking to the committed answer.'
      time = telemetry.histogram('market_command_wait_seconds', help, SECONDS, { command })
      times.set(command, time)
    }
    return time
  }
  const refusals = (code: string) =>
    telemetry.counter('market_refusals_total', 'Commands that were refused, by reason.', { code })

  async function ask(key: string, fingerprint: string, actor: Actor, command: Command) {
    const began = clock.monotonic()
    const answer = await commands.submit({ key, fingerprint, actor, command })
    timeOf(command.type).observe((clock.monotonic() - began) / 1000)
    if (answer.ok) onDone(answer.done)
    else refusals(answer.refusal.code).add()
    return answer
  }

  async function open(userId: string, username: string) {
    const command: Command = { type: 'open_account', userId: userId as UserId, username }
    const actor: Actor = { userId: userId as UserId, kind: 'trader' }
    const answer = await ask(`open ${userId}`, fingerprintOf(command), actor, command)
    if (!answer.ok) throw refused(answer.refusal)
  }

  return {
    open,
    async submit(caller, command, expected, claim = null) {
      const kind = caller.role === 'trader' ? 'trader' : 'admin'
      const actor: Actor = { userId: caller.id as UserId, kind }
      const key = keyOf(caller, command, claim) ?? newId(clock.now())
      const fingerprint = claim?.fingerprint ?? fingerprintOf(command)
      let answer = await ask(key, fingerprint, actor, command)
      if (!answer.ok && answer.refusal.code === 'account_not_found' && kind === 'trader') {
        await open(caller.id, caller.name)
        answer = await ask(key, fingerprint, actor, command)
      }
      if (!answer.ok) throw refused(answer.refusal)
      const { done } = answer
      if (done.type !== expected) throw new Error(`the answer to ${command.type} is ${done.type}, not ${expected}`)
      return done as never
    },
  }
}

function keyOf(caller: Caller, command: Command, claim: Claimed | null): string | null {
  if (claim) return `key ${hashOf(`${caller.id}\n${claim.key}`)}`
  const name = command.type === 'place_order' ? command.clientOrderId : null
  return name === null ? null : `order ${hashOf(`${caller.id}\n${name}`)}`
}

const hashOf = (text: string) => hash('sha256', text, 'base64url')

function fingerprintOf(command: Command): string {
  return hashOf(JSON.stringify(command, (_, value) => (typeof value === 'bigint' ? `${value}n` : value)))
}
