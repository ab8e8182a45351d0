/**
 * The outbox's dispatcher: brings every notice to its channel, at least once, and writes down what became of it.
 *
 *   row due ─▶ claimed (commit) ─▶ channel.send ─▶ answer ─▶ settled (commit)
 *
 * A claim is committed before the message leaves, its outcome after the answer. A process that dies between the two
 * leaves the claim behind; the next start sends again, under the same delivery id. Neither commit waits for the disk:
 * both outlive the process, and should the machine die with them, the row still waits and is sent again. Of one order key and channel only
 * the oldest waiting row is sent, so an end never overtakes its beginning; different alerts go side by side, as many as
 * the channel takes. A failure waits with equal jitter (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015),
 * the fewer tries there are the wider apart, so that three retries outlast two minutes; what waits for a channel that was
 * down goes as soon as it is back;
 * a provider that asks for patience (Retry-After) gets it, for the whole channel; one that fails again and again meets
 * the breaker. A notice that has failed too often or waited too long is dead, which another channel is told of.
 */
import { messageOf as errorText } from '../base/errors.ts'
import { newId } from '../base/id.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { Cancel, Scheduler } from '../base/scheduler.ts'
import type { Telemetry } from '../base/telemetry.ts'
import type { Millis } from '../base/time.ts'
import { DAY, HOUR, MINUTE, SECOND } from '../base/time.ts'
import type { Database } from '../storage/database.ts'
import { tx } from '../storage/database.ts'
import { afterFailure, afterWait, type Breaker, closed, permits } from './breaker.ts'
import type { ChannelSource, Links, ReadyChannel, SendOutcome } from './channels/channel.ts'
import { enqueue } from './enqueue.ts'
import type { Notice } from './notice.ts'
import {
  type DeliveryFilter,
  type DeliveryRow,
  type Due,
  OutboxLost,
  outboxStore,
  type Settled,
} from './outbox-store.ts'

export interface DeliveryPolicy {
  /** How often a notice may fail before it is dead, where its channel does not say so itself. */
  readonly attempts: number
  /** How long it may wait before it is dead. */
  readonly ageMaxMs: number
  readonly retentionDays: number
}

export interface OutboxOptions {
  readonly db: Database
  readonly channels: ChannelSource
  readonly scheduler: Scheduler
  readonly random: Random
  readonly log: Log
  readonly telemetry: Telemetry
  readonly policy: () => DeliveryPolicy
  readonly linksOf: (notice: Notice) => Links
}

/** What a test over a channel came to. */
export interface TestDelivery {
  readonly channel_id: string
  readonly status: 'delivered' | 'failed'
  /** The provider's own words. */
  readonly answer: string
  readonly ms: number
}

export interface OutboxState {
  readonly waiting: number
  /** Since when the oldest of them waits. */
  readonly oldestAt: Millis | null
  /** Channels that are asked seldom because they failed, or that asked for patience: when the next try is. */
  readonly resting: readonly { readonly channelId: string; readonly nextTryAt: Millis; readonly failing: boolean }[]
}

export interface Outbox {
  /** Takes the outbox over and begins. */
  start(): void
  /** Something was put into the outbox. Call after (or in) the transaction. */
  wake(): void
  /** Sends notices with `isTest` at once, whatever the state of their channels, each once; answers in their order. */
  test(notices: readonly Notice[]): Promise<TestDelivery[]>
  /** A dead notice is tried again; false: it is not dead. */
  retry(deliveryId: string): boolean
  deliveries(filter: DeliveryFilter): DeliveryRow[]
  delivery(id: string): DeliveryRow | null
  state(): OutboxState
  /** Gives up what is under way; the next start sends it again. */
  stop(): Promise<void>
}

const BACK_OFF_FIRST_MS = SECOND
const BACK_OFF_MOST_MS = 5 * MINUTE
/** A provider may not ask for more patience than this. */
const PATIENCE_MOST_MS = HOUR
/** One notice about dead ones of a channel within this time; the next one counts all since. */
const DEAD_TOLD_EVERY_MS = 15 * MINUTE
/** Outcomes are written together, with the next claims where there are some. */
const SETTLE_MS = 1
const CLOCK_SLACK_MS = 500

/** Order key of notices about dead notices of a channel. */
const aboutDead = (channelId: string) => `undelivered:${channelId}`
const subjectOfDead = (orderKey: string) => /^undelivered:(.*)$/.exec(orderKey)?.[1] ?? null

/** How long to wait before the next attempt, after `failures` of them (one or more) of `tries`. */
export function backOff(failures: number, tries: number, random: Random): number {
  const spread = tries > 2 ? (BACK_OFF_MOST_MS / BACK_OFF_FIRST_MS) ** (1 / (tries - 2)) : 1
  const most = Math.min(BACK_OFF_MOST_MS, BACK_OFF_FIRST_MS * Math.max(2, spread) ** (failures - 1))
  return Math.ceil((most / 2) * (1 + random.next()))
}

interface Lane {
  breaker: Breaker
  /** It was down and has taken a message: what waits for it may go. */
  recovered: boolean
  readonly underWay: Map<number, AbortController>
}

interface Outcome {
  readonly due: Due
  readonly at: Millis
  readonly ms: number
  readonly outcome: SendOutcome
  /** Given up by us: it says nothing of the channel. */
  readonly givenUp: 'stopped' | 'channel changed' | null
  readonly tries: number | null
  readonly probe: boolean
}

export function createOutbox(options: OutboxOptions): Outbox {
  const { db, channels, scheduler, random, log, telemetry, policy, linksOf } = options
  const { clock } = scheduler
  const store = outboxStore(db)
  const durable = String(db.pragma('synchronous', { simple: true }))
  const lanes = new Map<string, Lane>()
  const pending: Outcome[] = []
  const testers = new Map<string, (result: TestDelivery) => void>()
  const sending = new Set<Promise<void>>()
  /** Channels with dead notices that nobody was told of yet. */
  const untold = new Set<string>()
  const timers: Cancel[] = []
  let token: number | null = null
  let awake = false
  let alarm: Cancel | null = null
  let settling: Cancel | null = null
  let trouble: Cancel | null = null
  let drift = clock.now() - clock.monotonic()

  const delivered = telemetry.counter('alerting_notices_delivered_total', 'Notices that a provider confirmed')
  const failed = telemetry.counter('alerting_attempts_failed_total', 'Attempts to deliver a notice that failed')
  const dead = telemetry.counter('alerting_notices_dead_total', 'Notices that were given up')
  const seconds = telemetry.histogram(
    'alerting_delivery_seconds',
    'Time from a notice to its confirmation',
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600],
  )
  telemetry.gauge('alerting_outbox_waiting', 'Notices that wait for delivery', {}, () =>
    token === null ? null : store.waiting().n,
  )

  const laneOf = (channelId: string): Lane => {
    const known = lanes.get(channelId)
    if (known) return known
    const lane: Lane = { breaker: closed, recovered: false, underWay: new Map() }
    lanes.set(channelId, lane)
    return lane
  }

  channels.onChange((channelId) => {
    const lane = lanes.get(channelId)
    if (lane) {
      lane.breaker = closed
      for (const attempt of lane.underWay.values()) attempt.abort('channel changed')
    }
    if (token === null) return
    guarded(() => {
      if (channels.get(channelId)?.enabled) store.dueNow(channelId, clock.now())
      else store.cancel(channelId, clock.now())
      wake()
    })
  })

  function wake(): void {
    if (awake || token === null) return
    awake = true
    // After the transaction that calls it: those are synchronous.
    queueMicrotask(() => {
      awake = false
      guarded(pump)
    })
  }

  /** Runs work on the store. A store that cannot write now is tried again; a lost outbox is left alone. */
  function guarded(work: () => void): void {
    if (token === null) return
    try {
      work()
    } catch (error) {
      if (error instanceof OutboxLost) {
        token = null
        for (const lane of lanes.values()) for (const attempt of lane.underWay.values()) attempt.abort('stopped')
        log.error('the outbox was taken over by another process; this one sends nothing any more')
        return
      }
      log.error('the outbox cannot be written; tried again in a second', { error })
      trouble ??= scheduler.after(SECOND, () => {
        trouble = null
        guarded(settleAll)
        wake()
      })
    }
  }

  /**
   * One transaction that does not wait for the disk (see the head of this file). The next one that does takes this one
   * along; what follows it in the log never arrives without it.
   */
  function quickTx<T>(work: () => T): T {
    if (db.inTransaction) return work()
    db.pragma('synchronous = NORMAL') // never prepared beforehand: it works while it is compiled
    try {
      return tx(db, work)
    } finally {
      db.pragma(`synchronous = ${durable}`)
    }
  }

  /** Claims all that may be sent now, sends it, and sets the alarm for what comes next. */
  function pump(): void {
    const now = clock.now()
    const mono = clock.monotonic()
    const back = drift - (now - mono)
    drift = now - mono
    if (back > CLOCK_SLACK_MS) store.shift(now, back)

    const chosen: { due: Due; channel: ReadyChannel; probe: boolean }[] = []
    let alarmIn = Number.POSITIVE_INFINITY
    quickTx(() => {
      store.assertOwner(token!)
      for (const id of channels.ids()) {
        const channel = channels.get(id)
        if (!channel) continue
        if (!channel.enabled) {
          store.cancel(id, now)
          continue
        }
        const lane = laneOf(id)
        const room = permits(lane.breaker, channel.parallel, mono) - lane.underWay.size
        if (room > 0) {
          const probe = lane.breaker.kind === 'open'
          for (const due of store.ready(id, now, room)) chosen.push({ due, channel, probe })
        }
        const nextAt = store.nextAt(id, now)
        if (nextAt !== null) alarmIn = Math.min(alarmIn, nextAt - now)
        if (lane.breaker.kind === 'open' && mono < lane.breaker.until) {
          alarmIn = Math.min(alarmIn, lane.breaker.until - mono)
        }
      }
      for (const due of store.readyTests()) {
        const channel = channels.get(due.notice.channelId)
        if (channel) chosen.push({ due, channel, probe: false })
        else store.settle(refusal(due, now, 'the channel does not exist'))
      }
      const dues = chosen.map(({ due }) => due)
      if (dues.length > 0) store.claim(token!, dues, now)
    })
    for (const { due, channel, probe } of chosen) {
      const work = send(due, channel, probe)
      sending.add(work)
      void work.finally(() => sending.delete(work))
    }
    alarm?.cancel()
    alarm = Number.isFinite(alarmIn) ? scheduler.after(Math.min(Math.max(1, Math.ceil(alarmIn)), DAY), wake) : null
  }

  async function send(due: Due, ready: ReadyChannel, probe: boolean): Promise<void> {
    const lane = laneOf(ready.id)
    const attempt = new AbortController()
    lane.underWay.set(due.seq, attempt)
    const at = clock.now()
    const started = clock.monotonic()
    let outcome: SendOutcome
    try {
      const context = { now: at, links: linksOf(due.notice), signal: attempt.signal }
      outcome = await ready.channel.send(due.notice, context)
    } catch (error) {
      log.error('a channel failed in itself', { channel: ready.id, delivery: due.notice.id, error: scrubbed(error) })
      outcome = { kind: 'try_later', answer: 'an error of the platform itself; its log has it', retryAfterMs: null }
    }
    lane.underWay.delete(due.seq)
    const mono = clock.monotonic()
    const answer = ready.scrub(outcome.answer)
    // An answer that came is an answer, also when we had given up on it.
    const givenUp = attempt.signal.aborted && outcome.kind !== 'accepted' ? reasonOf(attempt.signal) : null
    if (outcome.kind === 'accepted' && lane.breaker.kind === 'open' && lane.breaker.openMs > 0) lane.recovered = true
    if (givenUp === null && !due.notice.isTest) {
      if (outcome.kind === 'try_later' && outcome.retryAfterMs !== null) {
        lane.breaker = afterWait(lane.breaker, Math.min(outcome.retryAfterMs, PATIENCE_MOST_MS), mono)
      } else if (outcome.kind === 'try_later') lane.breaker = afterFailure(lane.breaker, mono, random)
      else lane.breaker = closed
    } else if (outcome.kind === 'accepted') lane.breaker = closed

    const ms = Math.round(mono - started)
    pending.push({ due, at, ms, outcome: { ...outcome, answer }, givenUp, tries: ready.tries, probe })
    settling ??= scheduler.after(SETTLE_MS, () => {
      settling = null
      guarded(settleAll)
      wake()
    })
  }

  /** Writes all outcomes so far in one transaction. */
  function settleAll(): void {
    if (pending.length === 0) return
    const batch = [...pending]
    const tell: Notice[] = []
    const settled = batch.map(settledOf)
    // What is put into the outbox here has to last like everything in it.
    const write = settled.some(({ status }) => status === 'dead') ? (work: () => void) => tx(db, work) : quickTx
    write(() => {
      store.assertOwner(token!)
      let confirmed = 0
      const died = new Set<string>()
      const heard = new Map<string, Millis>()
      for (const [i, one] of settled.entries()) {
        const { due, attempt, status } = one
        store.settle(one)
        const { channelId, isTest, orderKey } = due.notice
        if (status === 'delivered') {
          heard.set(channelId, attempt.at + attempt.ms)
          if (!isTest) confirmed++
        } else if (batch[i]!.givenUp === null) channels.noteError(channelId, attempt.answer)
        if (status === 'dead' && !isTest) died.add(subjectOfDead(orderKey) ?? channelId)
      }
      for (const [channelId, at] of heard) {
        channels.noteSuccess(channelId, at)
        if (laneOf(channelId).recovered) store.dueNow(channelId, clock.now())
      }
      if (confirmed > 0) store.countSent(confirmed)
      for (const channelId of died) tell.push(...noticesOfDead(channelId, settled))
      enqueue(db, tell)
    })
    pending.splice(0, batch.length)
    for (const { due } of batch) laneOf(due.notice.channelId).recovered = false
    for (const { due, attempt, status } of settled) {
      if (status === 'delivered') {
        delivered.add()
        if (!due.notice.isTest) seconds.observe((attempt.at + attempt.ms - due.notice.createdAt) / 1000)
      } else failed.add()
      if (status === 'dead') {
        dead.add()
        const { id, channelId: channel } = due.notice
        if (!due.notice.isTest) log.warn('a notice was given up', { delivery: id, channel, answer: attempt.answer })
      }
      testers.get(due.notice.id)?.({
        channel_id: due.notice.channelId,
        status: status === 'delivered' ? 'delivered' : 'failed',
        answer: attempt.answer,
        ms: attempt.ms,
      })
    }
  }

  function settledOf({ due, at, ms, outcome, givenUp, tries, probe }: Outcome): Settled {
    const now = at + ms
    const ok = outcome.kind === 'accepted'
    const attempt = { at, ms, ok, answer: givenUp === null ? outcome.answer : `given up: ${givenUp}` }
    const base = { due, attempt, failures: due.failures }
    if (ok) return { ...base, status: 'delivered', nextAt: null }
    if (due.notice.isTest) return { ...base, status: 'dead', nextAt: null }
    if (givenUp !== null) return { ...base, status: 'waiting', nextAt: now }
    if (outcome.kind === 'refused') return { ...base, status: 'dead', nextAt: null }
    const { attempts, ageMaxMs } = policy()
    const tooOld = now - due.notice.createdAt >= ageMaxMs
    // Patience that was asked for is no failure; nor is a probe, which finds out about the channel.
    const failures = due.failures + (outcome.retryAfterMs !== null || probe ? 0 : 1)
    const most = tries ?? attempts
    if (tooOld || failures >= most) return { ...base, failures, status: 'dead', nextAt: null }
    const wait = Math.max(
      backOff(failures + (probe ? 1 : 0) || 1, most, random),
      Math.min(outcome.retryAfterMs ?? 0, PATIENCE_MOST_MS),
    )
    return { ...base, failures, status: 'waiting', nextAt: Math.ceil(now + wait) }
  }

  /**
   * Who is told that notices of a channel are dead: one other channel, and if it cannot either, the next one. At most
   * one notice a quarter of an hour; the next counts what came meanwhile.
   */
  function noticesOfDead(channelId: string, settled: readonly Settled[]): Notice[] {
    const now = clock.now()
    const orderKey = aboutDead(channelId)
    const last = store.lastWith(orderKey)
    const recent = last !== null && now - last < DEAD_TOLD_EVERY_MS
    const tried = new Set([channelId, ...(recent ? store.toldWith(orderKey, now - DEAD_TOLD_EVERY_MS) : [])])
    const teller = settled.find((s) => s.status === 'dead' && s.due.notice.orderKey === orderKey)
    if (recent && !teller) {
      untold.add(channelId)
      return []
    }
    const other = channels
      .ids()
      .flatMap((id) => (tried.has(id) ? [] : (channels.get(id) ?? [])))
      .filter((c) => c.enabled && c.configured)
      .sort((a, b) => rankOf(a) - rankOf(b))[0]
    if (!other) {
      log.error('notices are dead, and there is no other channel to tell of it', { channel: channelId })
      return []
    }
    untold.delete(channelId)
    // The rows of this batch are counted already: they were settled before this is asked.
    const count = Math.max(1, store.deadSince(channelId, last ?? 0))
    const answer = settled.find((s) => s.status === 'dead' && s.due.notice.channelId === channelId)?.attempt.answer
    return [deadNotice(channelId, other.id, teller ? teller.due.notice.count : count, answer ?? null, now)]
  }

  /** Channels that work and take what is critical come first. */
  function rankOf({ id, severityFilter }: ReadyChannel): number {
    const takes = severityFilter.length === 0 || severityFilter.includes('critical')
    const resting = laneOf(id).breaker.kind === 'open'
    return (resting ? 2 : 0) + (takes ? 0 : 1)
  }

  function deadNotice(about: string, to: string, count: number, answer: string | null, now: Millis): Notice {
    const id = newId(now)
    const notices = count === 1 ? 'notice was' : 'notices were'
    const last = answer === null ? '' : ` Last answer: ${answer}`
    return {
      id,
      channelId: to,
      event: 'firing',
      count,
      orderKey: aboutDead(about),
      isTest: false,
      createdAt: now,
      alerts: [
        {
          alertId: `undelivered-${about}`,
          page: '/ops/deliveries',
          ruleId: 'undelivered',
          title: `Channel ${about} does not deliver: ${count} ${notices} given up`,
          message: `${count} ${notices} given up over the channel ${about}; Deliveries shows them, and can send them again.${last}`,
          severity: 'critical',
          status: 'active',
          metricName: '',
          labels: { channel: about },
          currentValue: count,
          thresholdValue: 0,
          unit: count === 1 ? 'notice' : 'notices',
          triggeredAt: now,
          resolvedAt: null,
          runbookUrl: null,
          tags: ['delivery'],
          ruleName: 'Undelivered notices',
          condition: 'gt',
        },
      ],
    }
  }

  function refusal(due: Due, now: Millis, answer: string): Settled {
    testers.get(due.notice.id)?.({ channel_id: due.notice.channelId, status: 'failed', answer, ms: 0 })
    const attempt = { at: now, ms: 0, ok: false, answer }
    return { due, attempt, status: 'dead', failures: due.failures, nextAt: null }
  }

  /** Once a minute: what waits for channels that are gone, dead ones that nobody heard of. */
  function tidy(): void {
    const now = clock.now()
    tx(db, () => {
      store.assertOwner(token!)
      for (const channelId of store.stranded()) store.cancel(channelId, now)
      const tell = [...untold].flatMap((channelId) => {
        const last = store.lastWith(aboutDead(channelId))
        return last !== null && now - last < DEAD_TOLD_EVERY_MS ? [] : noticesOfDead(channelId, [])
      })
      enqueue(db, tell)
    })
    wake()
  }

  return {
    start() {
      token = tx(db, () => store.takeOver(clock.now()))
      drift = clock.now() - clock.monotonic()
      timers.push(scheduler.every(MINUTE, () => guarded(tidy)))
      timers.push(
        scheduler.every(10 * MINUTE, () =>
          guarded(() => void tx(db, () => store.forget(clock.now() - policy().retentionDays * DAY, 5_000))),
        ),
      )
      guarded(tidy)
      wake()
    },
    wake,

    async test(notices) {
      if (token === null) throw new Error('the outbox does not run')
      const results = notices.map((notice) => new Promise<TestDelivery>((resolve) => testers.set(notice.id, resolve)))
      try {
        tx(db, () => enqueue(db, notices))
        wake()
        return await Promise.all(results)
      } finally {
        for (const notice of notices) testers.delete(notice.id)
      }
    },

    retry(deliveryId) {
      const revived = tx(db, () => store.revive(deliveryId, clock.now()))
      wake()
      return revived
    },
    deliveries: (filter) => store.list(filter),
    delivery: (id) => store.get(id),

    state() {
      const { n, oldest } = store.waiting()
      const mono = clock.monotonic()
      const resting = [...lanes].flatMap(([channelId, { breaker }]) =>
        breaker.kind === 'open' && channels.get(channelId)
          ? [{ channelId, nextTryAt: clock.now() + Math.max(0, breaker.until - mono), failing: breaker.openMs > 0 }]
          : [],
      )
      return { waiting: n, oldestAt: oldest, resting }
    },

    async stop() {
      for (const timer of timers.splice(0)) timer.cancel()
      for (const lane of lanes.values()) for (const attempt of lane.underWay.values()) attempt.abort('stopped')
      await Promise.all(sending)
      settling?.cancel()
      settling = null
      guarded(settleAll)
      trouble?.cancel()
      alarm?.cancel()
      token = null
      for (const [id, resolve] of testers) {
        resolve({
          channel_id: store.get(id)?.notice.channelId ?? '',
          status: 'failed',
          answer: 'the platform stops',
          ms: 0,
        })
      }
    },
  }
}

function reasonOf(signal: AbortSignal): 'stopped' | 'channel changed' {
  return signal.reason === 'channel changed' ? 'channel changed' : 'stopped'
}

/** An error of our own may still hold an address in its text: its kind and place are enough. */
function scrubbed(error: unknown): string {
  const stack = error instanceof Error ? (error.stack ?? '').split('\n').slice(1, 4).join(' ') : ''
  return `${error instanceof Error ? error.name : errorText(error).slice(0, 40)} ${stack}`.trim()
}
