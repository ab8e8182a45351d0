/**
 * Markets that resolve themselves: bound to an expression over stored samples, a comparison and a time.
 *
 *   closed, its time has come ─▶ verify_market (pending_verification) ─▶ ask(expr, at) ─▶ judge ─▶ resolve_market as `system`
 *                                                                          └─ cannot be asked now ─▶ asked again later
 *
 * `ask` is handed in: the market knows nothing of metrics. Nothing is remembered here: what is due is read from the books
 * each time, so a crash anywhere means that it is done again, and a market that is resolved already refuses.
 */
import { AppError, messageOf } from '../base/errors.ts'
import { newId } from '../base/id.ts'
import type { Log } from '../base/log.ts'
import type { Cancel, Scheduler } from '../base/scheduler.ts'
import type { Millis } from '../base/time.ts'
import { HOUR, SECOND, toIso } from '../base/time.ts'
import type { Command, MarketCommands } from './commands.ts'
import type { MetricBinding, Resolution } from './model.ts'
import type { MarketReads } from './reads.ts'

/** What the samples say: the value of each series that came out. */
export interface Asked {
  readonly series: readonly { readonly labels: string; readonly value: number }[]
}

/** Evaluates the expression over the stored samples as they were at `at`. Throws `AppError` 422 where it never can. */
export type Ask = (expr: string, at: Millis) => Promise<Asked>

export interface Verdict {
  readonly resolution: Resolution
  readonly source: string
}

const WORDS = { gt: '>', gte: '≥', lt: '<', lte: '≤' } as const

/** The first outcome came true when the comparison holds; without one value there is nothing to compare: void. */
export function judge(binding: MetricBinding, asked: Asked | { readonly unreadable: string }): Verdict {
  const { expr, comparison, threshold, at } = binding
  const about = `${expr} at ${toIso(at)}`
  const noVerdict = (why: string): Verdict => ({ resolution: { kind: 'void' }, source: cut(`${about}: ${why}`) })
  if ('unreadable' in asked) return noVerdict(`cannot be evaluated (${asked.unreadable})`)
  const found = asked.series.filter(({ value }) => !Number.isNaN(value))
  if (found.length === 0) return noVerdict('there are no samples')
  if (found.length > 1) return noVerdict(`${found.length} series answer, one is needed`)
  const { labels, value } = found[0]!
  const holds = { gt: value > threshold, gte: value >= threshold, lt: value < threshold, lte: value <= threshold }
  const isTrue = holds[comparison]
  const sentence = `${value} ${isTrue ? 'is' : 'is not'} ${WORDS[comparison]} ${threshold}`
  return {
    resolution: { kind: 'outcome', outcome: isTrue ? 0 : 1 },
    source: cut(`${about}: ${labels === '' ? '' : `${labels} = `}${sentence} (stored samples of this platform)`),
  }
}

const SOURCE_MAX = 1_000
const cut = (text: string) => (text.length <= SOURCE_MAX ? text : `${text.slice(0, SOURCE_MAX - 1)}…`)

export interface BoundOptions {
  readonly reads: Pick<MarketReads, 'bound'>
  readonly commands: Pick<MarketCommands, 'submit'>
  readonly ask: Ask
  readonly scheduler: Scheduler
  readonly log: Log
}

const LOOK_MS = 5 * SECOND
/** Samples of the last moments are still on their way. */
const SETTLE_MS = 15 * SECOND
const AT_ONCE = 100
/** An expression that takes too long for so long is one that cannot be evaluated. */
const TOO_SLOW_MS = HOUR

/** Looks for what is due until it is cancelled. */
export function startBoundMarkets({ reads, commands, ask, scheduler, log }: BoundOptions): Cancel {
  const { clock } = scheduler

  async function submit(command: Command): Promise<boolean> {
    const key = newId(clock.now())
    const answer = await commands.submit({ key, fingerprint: key, actor: { userId: null, kind: 'system' }, command })
    if (!answer.ok && answer.refusal.code !== 'already_resolved') {
      log.warn('a bound market did not take its step', { step: command.type, why: answer.refusal.detail })
    }
    return answer.ok
  }

  async function settle(market: Awaited<ReturnType<typeof reads.bound>>[number]) {
    const { id: marketId, binding } = market
    if (binding === null || binding.at + SETTLE_MS > clock.now()) return
    if (market.state === 'closed' && !(await submit({ type: 'verify_market', marketId }))) return
    let verdict: Verdict
    try {
      verdict = judge(binding, await ask(binding.expr, binding.at))
    } catch (error) {
      const tooSlow =
        error instanceof AppError && error.code === 'query_failed' && binding.at + TOO_SLOW_MS <= clock.now()
      if (!(error instanceof AppError) || (error.status !== 422 && !tooSlow)) throw error
      verdict = judge(binding, { unreadable: error.message })
    }
    const { resolution, source } = verdict
    if (await submit({ type: 'resolve_market', marketId, resolution, source })) {
      log.info('a bound market has resolved itself', { market: marketId, resolution, source })
    }
  }

  let away = false
  return scheduler.every(LOOK_MS, async () => {
    let failure: unknown = null
    try {
      for (const market of await reads.bound(clock.now(), AT_ONCE)) {
        // One that cannot be asked holds up no other.
        await settle(market).catch((error: unknown) => {
          failure = error
        })
      }
    } catch (error) {
      failure = error
    }
    // The writer or the samples are away for a moment: it is tried again, and told once.
    if (failure !== null && !away) log.warn('bound markets have to wait', { why: messageOf(failure) })
    away = failure !== null
  })
}
