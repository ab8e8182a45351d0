/** The dispatcher on a real database, with channels that answer as a script says and time that a test moves. */
import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import { silentLog } from '../base/log.ts'
import { seededRandom } from '../base/random.ts'
import { type FakeScheduler, fakeScheduler } from '../base/scheduler.ts'
import { createTelemetry } from '../base/telemetry.ts'
import { HOUR, MINUTE } from '../base/time.ts'
import { type Database, openDatabase, tx } from '../storage/database.ts'
import type { ChannelSource, ReadyChannel, SendOutcome } from './channels/channel.ts'
import { enqueue } from './enqueue.ts'
import type { Notice } from './notice.ts'
import { backOff, createOutbox, type Outbox } from './outbox.ts'
import { deliveryTables } from './outbox-store.ts'
import { alertingTables } from './tables.ts'

type Answer = SendOutcome | 'hang'
const accepted: SendOutcome = { kind: 'accepted', answer: '200 OK' }
const later: SendOutcome = { kind: 'try_later', answer: '500 oops', retryAfterMs: null }
const refused: SendOutcome = { kind: 'refused', answer: '403 no' }
const patience = (retryAfterMs: number): SendOutcome => ({ kind: 'try_later', answer: '429 slow down', retryAfterMs })

interface Sent {
  readonly channel: string
  readonly id: string
  readonly at: number
}

class World {
  readonly scheduler: FakeScheduler = fakeScheduler()
  readonly db: Database
  readonly sent: Sent[] = []
  readonly channels = new Map<string, ReadyChannel>()
  readonly listeners: ((id: string) => void)[] = []
  outbox: Outbox
  /** What a channel answers; `ms` later. */
  answer: (channel: string, notice: Notice) => Answer = () => accepted
  latencyMs = 5
  underWay = 0
  mostUnderWay = 0
  seed: number
  ids = 0

  constructor(
    seed = 1,
    db = openDatabase(':memory:', { synchronous: 'NORMAL', migrations: [alertingTables, deliveryTables] }),
  ) {
    this.seed = seed
    this.db = db
    this.add('a')
    this.outbox = this.open()
  }

  open(): Outbox {
    const source: ChannelSource = {
      ids: () => [...this.channels.keys()],
      get: (id) => this.channels.get(id) ?? null,
      onChange: (listener) => void this.listeners.push(listener),
      noteSuccess: () => {},
      noteError: () => {},
    }
    this.outbox = createOutbox({
      db: this.db,
      channels: source,
      scheduler: this.scheduler,
      random: seededRandom(this.seed),
      log: silentLog,
      telemetry: createTelemetry(),
      policy: () => ({ attempts: 6, ageMaxMs: 6 * HOUR, retentionDays: 30 }),
      linksOf: () => ({ explain: () => null, acknowledge: () => null, page: () => null }),
    })
    this.outbox.start()
    return this.outbox
  }

  add(id: string, more: Partial<ReadyChannel> = {}): void {
    const known = this.db.prepare('SELECT 1 FROM alert_channels WHERE id = ?').get(id)
    if (!known) {
      this.db.prepare("INSERT INTO alert_channels VALUES (?, 1, ?, 'webhook', 1, '{}', '[]', NULL, NULL)").run(id, id)
    }
    this.channels.set(id, {
      id,
      enabled: true,
      configured: true,
      severityFilter: [],
      parallel: 4,
      tries: null,
      scrub: (answer) => answer,
      channel: {
        send: async (notice, { signal }) => {
          this.sent.push({ channel: id, id: notice.id, at: this.scheduler.clock.now() })
          this.mostUnderWay = Math.max(this.mostUnderWay, ++this.underWay)
          const answer = this.answer(id, notice)
          await new Promise<void>((done) => {
            signal.addEventListener('abort', () => done())
            if (answer !== 'hang') this.scheduler.after(this.latencyMs, done)
          })
          this.underWay--
          return answer === 'hang' ? later : answer
        },
      },
      ...more,
    })
  }

  change(id: string, more: Partial<ReadyChannel> | null): void {
    if (more === null) {
      this.channels.delete(id)
      this.db.prepare('DELETE FROM alert_channels WHERE id = ?').run(id)
    } else this.add(id, more)
    for (const listener of this.listeners) listener(id)
  }

  notice(more: Partial<Notice> = {}): Notice {
    const id = more.id ?? `n${++this.ids}`
    const alert = {
      alertId: id,
      title: 'T',
      message: 'M',
      severity: 'critical',
      status: 'active',
      labels: {},
      tags: [],
    }
    const alerts = [alert as unknown as Notice['alerts'][0]]
    const createdAt = this.scheduler.clock.now()
    return { id, channelId: 'a', event: 'firing', alerts, count: 1, orderKey: id, isTest: false, createdAt, ...more }
  }

  put(...notices: Notice[]): void {
    tx(this.db, () => enqueue(this.db, notices))
    this.outbox.wake()
  }

  /** Moves time, letting promises settle at each step. */
  async pass(ms: number, step = 10): Promise<void> {
    for (let done = 0; done < ms; done += step) {
      await new Promise((next) => setImmediate(next))
      await this.scheduler.run(Math.min(step, ms - done))
    }
    await new Promise((next) => setImmediate(next))
  }

  status(id: string): string {
    const row = this.outbox.delivery(id)!
    return `${row.status} after ${row.tries}`
  }

  stat(): number {
    const row = this.db.prepare("SELECT value FROM alert_stats WHERE name = 'notifications_sent'").get()
    return (row as { value: number } | undefined)?.value ?? 0
  }
}

let world: World
afterEach(() => world.outbox.stop())

describe('one notice', () => {
  test('is sent at once, once, and counted when it is confirmed', async () => {
    world = new World()
    world.put(world.notice())
    await world.pass(20)
    expect(world.sent).toEqual([{ channel: 'a', id: 'n1', at: expect.any(Number) }])
    expect(world.outbox.delivery('n1')).toMatchObject({
      status: 'delivered',
      tries: 1,
      nextAt: null,
      attempts: [{ ok: true, answer: '200 OK', ms: 5 }],
    })
    expect(world.stat()).toBe(1)
  })

  test('is tried again until it is taken', async () => {
    world = new World()
    let failures = 3
    world.answer = () => (failures-- > 0 ? later : accepted)
    world.put(world.notice())
    await world.pass(30_000, 50)
    expect(world.status('n1')).toBe('delivered after 4')
    expect(world.outbox.delivery('n1')!.attempts.map((a) => a.answer)).toEqual([...Array(3).fill('500 oops'), '200 OK'])
  })

  test('is dead at once when no retry will mend it, and may be tried again by hand', async () => {
    world = new World()
    world.answer = () => refused
    world.put(world.notice())
    await world.pass(50)
    expect(world.status('n1')).toBe('dead after 1')
    world.answer = () => accepted
    expect(world.outbox.retry('n1')).toBe(true)
    expect(world.outbox.retry('nobody')).toBe(false)
    await world.pass(50)
    expect(world.status('n1')).toBe('delivered after 2')
  })

  test('is dead after as many failures as its channel says', async () => {
    world = new World()
    world.change('a', { tries: 3 })
    world.answer = () => later
    world.put(world.notice())
    await world.pass(6 * MINUTE, 500)
    expect(world.status('n1')).toBe('dead after 3')
  })

  test('is dead when it waited too long', async () => {
    world = new World()
    world.answer = () => patience(2 * HOUR)
    world.put(world.notice())
    await world.pass(7 * HOUR, 10_000)
    expect(world.status('n1')).toMatch(/^dead after/)
  })

  test('is cancelled with its channel, and one under way is given up', async () => {
    world = new World()
    world.answer = () => 'hang'
    world.put(world.notice(), world.notice({ orderKey: 'n1' }))
    await world.pass(20)
    world.change('a', { enabled: false })
    await world.pass(50)
    expect([world.status('n1'), world.status('n2')]).toEqual(['cancelled after 1', 'cancelled after 0'])
    world.change('a', null)
    world.put(world.notice())
    await world.pass(MINUTE + 100, 1000)
    expect(world.status('n3')).toBe('cancelled after 0')
  })
})

describe('order', () => {
  test('of one alert is kept through failures; others go by', async () => {
    world = new World()
    let down = true
    world.answer = (_, notice) => (down && notice.id === 'fire' ? later : accepted)
    world.put(
      world.notice({ id: 'fire', orderKey: 'x' }),
      world.notice({ id: 'end', orderKey: 'x', event: 'resolved' }),
    )
    world.put(world.notice({ id: 'other' }))
    await world.pass(300)
    expect(world.status('other')).toBe('delivered after 1')
    expect(world.sent.map((s) => s.id)).not.toContain('end')
    down = false
    await world.pass(5000)
    const order = world.sent.map((s) => s.id)
    expect(order.lastIndexOf('fire')).toBeLessThan(order.indexOf('end'))
    expect(world.status('end')).toBe('delivered after 1')
  })

  test('goes on behind a notice that is dead', async () => {
    world = new World()
    world.answer = (_, notice) => (notice.id === 'fire' ? refused : accepted)
    world.put(world.notice({ id: 'fire', orderKey: 'x' }), world.notice({ id: 'end', orderKey: 'x' }))
    await world.pass(100)
    expect([world.status('fire'), world.status('end')]).toEqual(['dead after 1', 'delivered after 1'])
  })

  test('different alerts go side by side, as many as the channel takes', async () => {
    world = new World()
    world.put(...Array.from({ length: 20 }, () => world.notice()))
    await world.pass(500)
    expect(world.mostUnderWay).toBe(4)
    expect(world.stat()).toBe(20)
  })
})

describe('a channel', () => {
  test('that asks for patience gets it, as a whole, and it is no failure', async () => {
    world = new World()
    const start = world.scheduler.clock.now()
    world.answer = () => (world.scheduler.clock.now() - start < 30_000 ? patience(30_000) : accepted)
    world.put(...Array.from({ length: 10 }, () => world.notice()))
    await world.pass(29_000, 100)
    expect(world.sent).toHaveLength(4)
    expect(world.outbox.state().resting).toEqual([{ channelId: 'a', nextTryAt: start + 30_005, failing: false }])
    await world.pass(5000, 20)
    expect(world.stat()).toBe(10)
  })

  test('that fails again and again is asked seldom, by one message, and loses none', async () => {
    world = new World()
    let down = true
    world.answer = () => (down ? later : accepted)
    world.put(...Array.from({ length: 30 }, () => world.notice()))
    await world.pass(10 * MINUTE, 100)
    const tries = world.sent.length
    expect(tries).toBeLessThan(30)
    expect(world.outbox.state()).toMatchObject({ waiting: 30, resting: [{ channelId: 'a', failing: true }] })
    down = false
    await world.pass(6 * MINUTE, 100)
    expect(world.stat()).toBe(30)
    expect(world.outbox.state()).toMatchObject({ waiting: 0, resting: [] })
  })

  test('that is back after it was down gets all that waits for it', async () => {
    world = new World()
    world.answer = () => later
    world.put(...Array.from({ length: 20 }, () => world.notice()))
    await world.pass(10 * MINUTE, 500)
    expect(world.outbox.state()).toMatchObject({ waiting: 20, resting: [{ channelId: 'a', failing: true }] })
    world.db.prepare("UPDATE outbox SET next_at = next_at + ? WHERE id = 'n7'").run(HOUR)
    world.answer = () => accepted
    for (let i = 0; i < 100 && world.outbox.state().waiting === 20; i++) await world.pass(5000, 50)
    await world.pass(500)
    expect(world.outbox.state()).toMatchObject({ waiting: 0, resting: [] })
  })

  test('that is set right is tried at once', async () => {
    world = new World()
    world.answer = () => later
    world.put(...Array.from({ length: 8 }, () => world.notice()))
    await world.pass(5000, 50)
    world.answer = () => accepted
    world.change('a', {})
    await world.pass(100)
    expect(world.stat()).toBe(8)
  })

  test('with dead notices is told of through one other channel, once in a quarter of an hour', async () => {
    world = new World()
    world.add('b', { severityFilter: ['info'] })
    world.add('c')
    world.answer = (channel) => (channel === 'a' ? refused : accepted)
    world.put(...Array.from({ length: 5 }, () => world.notice()))
    await world.pass(MINUTE, 100)
    const told = () => world.sent.filter((s) => s.channel !== 'a')
    expect(told().map((s) => s.channel)).toEqual(['c'])
    world.put(world.notice(), world.notice())
    await world.pass(MINUTE, 100)
    expect(told()).toHaveLength(1)
    await world.pass(16 * MINUTE, 1000)
    expect(told()).toHaveLength(2)
    const { notice } = world.outbox.delivery(told()[1]!.id)!
    expect(notice).toMatchObject({
      event: 'firing',
      alerts: [{ severity: 'critical', currentValue: expect.any(Number) }],
    })
    expect(notice.alerts[0]!.title).toContain('Channel a does not deliver')
  })

  test('and where the other cannot either, the next; never in a circle', async () => {
    world = new World()
    world.add('b')
    world.add('c')
    world.answer = () => refused
    world.put(world.notice())
    await world.pass(2 * HOUR, 10_000)
    expect(world.sent.map((s) => s.channel)).toEqual(['a', 'b', 'c'])
    expect(world.outbox.deliveries({ status: 'dead', limit: 100 })).toHaveLength(3)
  })
})

describe('a test', () => {
  test('goes to a disabled channel, and past its breaker; it is tried once and counts nowhere', async () => {
    world = new World()
    world.add('b', { enabled: false })
    world.answer = () => later
    world.put(...Array.from({ length: 8 }, () => world.notice()))
    await world.pass(200)
    world.answer = (channel) => (channel === 'a' ? refused : accepted)
    const sent = world.outbox.test([world.notice({ isTest: true }), world.notice({ isTest: true, channelId: 'b' })])
    await world.pass(50)
    expect(await sent).toEqual([
      { channel_id: 'a', status: 'failed', answer: '403 no', ms: 5 },
      { channel_id: 'b', status: 'delivered', answer: '200 OK', ms: 5 },
    ])
    expect(world.stat()).toBe(0)
  })

  test('of a channel that does not exist fails at once', async () => {
    world = new World()
    const sent = world.outbox.test([world.notice({ isTest: true, channelId: 'nobody' })])
    await world.pass(20)
    expect(await sent).toMatchObject([{ channel_id: 'nobody', status: 'failed' }])
  })
})

describe('stopping and dying', () => {
  test('a stop gives up what is under way, and the next start sends it, under the same id', async () => {
    world = new World()
    world.answer = () => 'hang'
    world.put(world.notice())
    await world.pass(20)
    await world.outbox.stop()
    expect(world.status('n1')).toBe('waiting after 1')
    world.answer = () => accepted
    world.open()
    await world.pass(50)
    expect(world.sent.map((s) => s.id)).toEqual(['n1', 'n1'])
    expect(world.status('n1')).toBe('delivered after 2')
  })

  test('what a dead process was sending is sent again; who lost the outbox sends nothing more', async () => {
    world = new World()
    world.answer = () => 'hang'
    world.put(world.notice())
    await world.pass(20)
    const lost = world.outbox
    world.answer = () => accepted
    const next = world.open()
    await world.pass(50)
    expect(next.delivery('n1')).toMatchObject({
      status: 'delivered',
      attempts: [{ ok: false, answer: 'no answer known: the platform ended' }, { ok: true }],
    })
    tx(world.db, () => enqueue(world.db, [world.notice()]))
    lost.wake()
    await world.pass(50)
    expect(world.sent).toHaveLength(2)
    next.wake()
    await world.pass(50)
    expect(world.sent).toHaveLength(3)
    await lost.stop()
  })

  test('a clock that goes back delays nothing', async () => {
    world = new World()
    let failures = 2
    world.answer = () => (failures-- > 0 ? later : accepted)
    world.put(world.notice())
    await world.pass(50)
    world.scheduler.clock.jumpTo(world.scheduler.clock.now() - 5 * HOUR)
    world.put(world.notice())
    await world.pass(10_000, 50)
    expect([world.status('n1'), world.status('n2')].join()).toMatch(/delivered after \d,delivered after \d/)
  })

  test('what is done is forgotten in time', async () => {
    world = new World()
    world.put(world.notice())
    await world.pass(50)
    world.scheduler.clock.advance(31 * 24 * HOUR)
    await world.pass(HOUR)
    expect(world.outbox.delivery('n1')).toBeNull()
    expect(world.db.prepare('SELECT count(*) AS n FROM outbox_alerts').get()).toEqual({ n: 0 })
  })
})

test('equal jitter: between half and all of twice as much each time, up to five minutes', () => {
  const random = seededRandom(7)
  for (let failures = 1; failures < 40; failures++) {
    const waits = Array.from({ length: 200 }, () => backOff(failures, 1000, random))
    const most = Math.min(300_000, 1000 * 2 ** (failures - 1))
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(most / 2)
    expect(Math.max(...waits)).toBeLessThanOrEqual(most)
    expect(Math.max(...waits) - Math.min(...waits)).toBeGreaterThan(most / 4)
  }
})

test('however few the tries, more than two together outlast two minutes', () => {
  const random = seededRandom(8)
  for (let tries = 3; tries < 20; tries++) {
    let waited = 0
    for (let failures = 1; failures < tries; failures++) waited += backOff(failures, tries, random)
    expect(waited).toBeGreaterThan(2 * MINUTE)
  }
})

test('laws, over random failures, restarts and changes: nothing is lost, order holds, doubles only where an answer was', async () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ put: fc.integer({ min: 0, max: 5 }), channel: fc.constantFrom('a', 'b') }) },
    { weight: 4, arbitrary: fc.record({ wait: fc.constantFrom(5, 60, 900, 20_000) }) },
    { weight: 2, arbitrary: fc.constant({ restart: 'stop' as const }) },
    { weight: 2, arbitrary: fc.constant({ restart: 'kill' as const }) },
    { weight: 1, arbitrary: fc.constant({ change: true as const }) },
  )
  await fc.assert(
    fc.asyncProperty(fc.integer(), fc.array(step, { minLength: 5, maxLength: 40 }), async (seed, steps) => {
      world = new World(seed)
      world.add('b')
      const random = seededRandom(seed)
      let calm = false
      const taken: string[] = []
      world.answer = (_, notice) => {
        const dice = calm ? 1 : random.next()
        if (dice < 0.2) return later
        if (dice < 0.3) return patience(random.next() * 5000)
        if (dice < 0.33) return 'hang'
        taken.push(notice.id)
        return accepted
      }
      const all: Notice[] = []
      for (const s of steps) {
        if ('put' in s) {
          const notice = world.notice({ orderKey: `k${s.put}`, channelId: s.channel })
          all.push(notice)
          world.put(notice)
        } else if ('wait' in s) await world.pass(s.wait, Math.max(5, s.wait / 40))
        else if ('change' in s) world.change('a', {})
        else {
          if (s.restart === 'stop') await world.outbox.stop()
          world.listeners.length = 0
          world.open()
        }
      }
      calm = true
      world.change('a', {})
      world.change('b', {})
      await world.pass(12 * MINUTE, 500)
      for (const { id } of all) {
        const row = world.outbox.delivery(id)!
        expect(['delivered', 'dead']).toContain(row.status)
        if (row.status === 'delivered') expect(taken).toContain(id)
        expect(row.tries).toBe(world.sent.filter((sent) => sent.id === id).length)
      }
      // First sendings of one key and channel come in the order of making.
      for (const key of new Set(all.map((n) => `${n.channelId} ${n.orderKey}`))) {
        const made = all.filter((n) => `${n.channelId} ${n.orderKey}` === key).map((n) => n.id)
        const first = made.toSorted(
          (x, y) => world.sent.findIndex((s) => s.id === x) - world.sent.findIndex((s) => s.id === y),
        )
        expect(first).toEqual(made)
      }
      await world.outbox.stop()
    }),
    { numRuns: 25 },
  )
}, 120_000)
