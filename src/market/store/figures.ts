/**
 * What the market tells of itself: commands and how long they took, trades, volume, sign-ups, who trades. Counted when
 * it is committed, by whoever committed it; a restart loses nothing of the windows, they begin with what is stored.
 */
import type { Clock } from '../../base/clock.ts'
import type { Counter, Telemetry } from '../../base/telemetry.ts'
import { DAY, HOUR, MINUTE, type Millis } from '../../base/time.ts'
import type { UserId } from '../model.ts'
import type { Changes } from './changes.ts'

export interface Figures {
  /** When each user last traded, as far as it is within a day. */
  begin(lastTrades: ReadonlyMap<UserId, Millis>): void
  /** Commands of one kind that were answered, and after how many seconds. */
  answered(type: string, outcome: 'done' | 'refused' | 'failed', seconds: number): void
  /** A transaction, and how long its commit took. */
  committed(changes: Changes, seconds: number): void
}

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]
const SIZES = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000]
const WINDOWS = [
  ['5m', 5 * MINUTE],
  ['1h', HOUR],
  ['24h', DAY],
] as const

/** The windows of active traders are told only once `begin` was called: before it nobody knows. */
export function marketFigures(telemetry: Telemetry, clock: Clock): Figures {
  const commandSeconds = telemetry.histogram(
    'market_command_seconds',
    'From taking a command to its answer, durable.',
    SECONDS,
  )
  const commitSeconds = telemetry.histogram(
    'market_commit_seconds',
    'Writing one batch and making it durable.',
    SECONDS,
  )
  const batchSizes = telemetry.histogram('market_batch_commands', 'Commands that one transaction carries.', SIZES)
  const trades = telemetry.counter('market_trades_total', 'Trades of takers.')
  const volume = telemetry.counter('market_volume_total', 'Value of takers’ trades, in credits, without fees.')
  const signUps = telemetry.counter('market_sign_ups_total', 'Accounts that were opened.')
  const counters = new Map<string, Counter>()
  const lastTrades = new Map<UserId, Millis>()
  let begun = false

  const active = (windowMs: number) => () => {
    if (!begun) return null
    const from = clock.now() - windowMs
    let count = 0
    for (const [user, at] of lastTrades) {
      if (at > from) count++
      else if (windowMs === DAY) lastTrades.delete(user)
    }
    return count
  }
  for (const [window, ms] of WINDOWS) {
    telemetry.gauge('market_active_traders', 'Users that traded within the window.', { window }, active(ms))
  }

  return {
    begin(known) {
      for (const [user, at] of known) lastTrades.set(user, Math.max(at, lastTrades.get(user) ?? 0))
      begun = true
    },
    answered(type, outcome, seconds) {
      const key = `${type}/${outcome}`
      let counter = counters.get(key)
      if (counter === undefined) {
        counter = telemetry.counter('market_commands_total', 'Commands that were answered.', { type, outcome })
        counters.set(key, counter)
      }
      counter.add()
      commandSeconds.observe(seconds)
    },
    committed(changes, seconds) {
      commitSeconds.observe(seconds)
      batchSizes.observe(changes.commands.length)
      signUps.add(changes.signUps)
      for (const trade of changes.trades) {
        lastTrades.set(trade.userId, trade.createdAt)
        if (trade.role !== 'taker') continue
        trades.add()
        volume.add(Number(trade.value) / 1e6)
      }
    },
  }
}
