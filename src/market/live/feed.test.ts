import { describe, expect, test } from 'vitest'
import { fakeScheduler } from '../../base/scheduler.ts'
import { createTelemetry } from '../../base/telemetry.ts'
import type { MarketEvent } from '../events.ts'
import type { MarketId } from '../model.ts'
import type { MarketView } from '../reads.ts'
import type { Listener } from './feed.ts'
import { createFeed } from './feed.ts'

const id = 'm1' as MarketId
const silent = { debug() {}, info() {}, warn() {}, error() {}, with: () => silent }

/** A feed over a market whose version a test moves, and listeners that read as fast as a test lets them. */
function world() {
  const scheduler = fakeScheduler()
  const state = { version: 1, reads: 0 }
  const gate = { wait: null as Promise<void> | null }
  const feed = createFeed({
    scheduler,
    log: silent,
    telemetry: createTelemetry(),
    reads: {
      async market(of) {
        state.reads++
        await gate.wait
        return of === id ? ({ ...view, version: state.version } as unknown as MarketView) : null
      },
      book: async () => ({ bids: [], asks: [] }),
    },
  })
  const event = (seq: number): MarketEvent => ({
    marketId: id,
    seq,
    at: 0,
    type: 'state',
    state: 'open',
    resolution: null,
  })
  const happen = (seq: number) => {
    state.version = seq
    feed.heard(event(seq))
  }
  const listener = () => {
    const one = {
      waiting: 0,
      texts: [] as string[],
      code: null as number | null,
      get bufferedAmount() {
        return one.waiting
      },
      send: (text: string) => void one.texts.push(text),
      close(code: number) {
        one.code = code
      },
      seen: () => one.texts.map((text) => JSON.parse(text)).map(({ type, seq }) => `${type} ${seq}`),
    }
    return one satisfies Listener
  }
  const settle = async () => {
    for (let i = 0; i < 10; i++) await Promise.resolve()
  }
  return { scheduler, state, gate, feed, happen, event, listener, settle }
}

const view = {
  id,
  title: 't',
  question: 'q',
  description: null,
  outcomes: ['Yes', 'No'],
  category: 'other',
  tags: [],
  imageUrl: null,
  resolutionRules: null,
  intendedSource: null,
  closesAt: 1e12,
  liquidity: 100_000_000n,
  feeRate: 20_000n,
  minTrade: 1n,
  maxTrade: 1n,
  binding: null,
  creatorId: 'u',
  state: 'open',
  sold: [0n, 0n],
  prices: [500_000n, 500_000n],
  createdAt: 0,
  resolution: null,
  resolutionSource: null,
  resolvedAt: null,
  finalAt: null,
  volumeTotal: 0n,
  volume24h: 0n,
  trades: 0,
  traders: 0,
  trendingScore: 0,
  change24h: null,
}

describe('a listener', () => {
  test('gets a snapshot, then everything after it once', async () => {
    const { feed, happen, listener, settle } = world()
    const one = listener()
    feed.join(id, one, null)
    await settle()
    happen(2)
    happen(3)
    expect(one.seen()).toEqual(['snapshot 1', 'status 2', 'status 3'])
    feed.leave(id, one)
    happen(4)
    expect(one.texts).toHaveLength(3)
    expect(feed.listeners).toBe(0)
  })

  test('that comes while something happens misses nothing and gets nothing twice', async () => {
    const { feed, gate, event, state, listener, settle } = world()
    let open = () => {}
    gate.wait = new Promise((resolve) => {
      open = resolve
    })
    const one = listener()
    feed.join(id, one, null)
    // The snapshot that is being read holds 2 already, and not 3.
    state.version = 2
    feed.heard(event(2))
    feed.heard(event(3))
    open()
    await settle()
    expect(one.seen()).toEqual(['snapshot 2', 'status 3'])
  })

  test('that comes back gets what it missed; a snapshot when that is no longer there', async () => {
    const { feed, happen, listener, settle, state } = world()
    const first = listener()
    feed.join(id, first, null)
    await settle()
    for (let seq = 2; seq <= 300; seq++) happen(seq)
    const reads = state.reads
    const [soon, late, now] = [listener(), listener(), listener()]
    feed.join(id, soon, 297)
    feed.join(id, now, 300)
    await settle()
    expect(soon.seen()).toEqual(['status 298', 'status 299', 'status 300'])
    expect(now.seen()).toEqual([])
    expect(state.reads).toBe(reads)
    feed.join(id, late, 2)
    await settle()
    expect(late.seen()).toEqual(['snapshot 300'])
    happen(301)
    for (const one of [soon, late, now]) expect(one.seen().at(-1)).toBe('status 301')
  })

  test('hears each number once, also when a snapshot was ahead of what this instance had heard', async () => {
    const { feed, happen, event, state, listener, settle } = world()
    const [early, ahead, back] = [listener(), listener(), listener()]
    feed.join(id, early, null)
    await settle()
    happen(2)
    happen(3)
    state.version = 5 // committed; the events are still on their way
    feed.join(id, ahead, null)
    await settle()
    for (const seq of [4, 5, 5]) feed.heard(event(seq))
    happen(6)
    feed.join(id, back, 3)
    await settle()
    expect(early.seen()).toEqual(['snapshot 1', ...[2, 3, 4, 5, 6].map((seq) => `status ${seq}`)])
    expect(ahead.seen()).toEqual(['snapshot 5', 'status 6'])
    expect(back.seen()).toEqual(['status 4', 'status 5', 'status 6'])
  })

  test('gets no snapshot from before what was missed', async () => {
    const { feed, gate, state, listener, settle, scheduler } = world()
    const one = listener()
    let go = () => {}
    gate.wait = new Promise((resolve) => (go = resolve))
    feed.join(id, one, null)
    await settle()
    feed.missed()
    state.version = 7
    go()
    await scheduler.run(1_000)
    await settle()
    expect(state.reads).toBe(2)
    expect(one.seen()).toEqual(['snapshot 7'])
  })

  test('gets a snapshot when this instance has missed something', async () => {
    const { feed, happen, listener, settle } = world()
    const one = listener()
    feed.join(id, one, null)
    await settle()
    happen(2)
    happen(5)
    await settle()
    happen(6)
    expect(one.seen()).toEqual(['snapshot 1', 'status 2', 'snapshot 5', 'status 6'])
    feed.missed()
    await settle()
    expect(one.seen().at(-1)).toBe('snapshot 6')
  })

  test('that reads too slowly is skipped, gets a snapshot when it has caught up, and is closed when it does not', async () => {
    const { feed, happen, listener, settle, scheduler } = world()
    const [slow, stuck, quick] = [listener(), listener(), listener()]
    for (const one of [slow, stuck, quick]) feed.join(id, one, null)
    await settle()
    slow.waiting = stuck.waiting = 300_000
    for (let seq = 2; seq <= 10; seq++) happen(seq)
    expect(slow.seen()).toEqual(['snapshot 1'])
    expect(quick.texts).toHaveLength(10)
    slow.waiting = 0
    await scheduler.run(600)
    await settle()
    expect(slow.seen()).toEqual(['snapshot 1', 'snapshot 10'])
    happen(11)
    expect(slow.seen().at(-1)).toBe('status 11')
    await scheduler.run(11_000)
    expect([slow.code, stuck.code, quick.code]).toEqual([null, 4008, null])
  })

  test('of a market that is not there is closed with 4404', async () => {
    const { feed, listener, settle } = world()
    const one = listener()
    feed.join('nowhere' as MarketId, one, null)
    await settle()
    expect(one.code).toBe(4404)
  })

  test('many listeners are told in pieces, each once and in order', async () => {
    const { feed, happen, listener, settle, scheduler } = world()
    const all = Array.from({ length: 1_700 }, listener)
    for (const one of all) feed.join(id, one, null)
    await settle()
    happen(2)
    happen(3)
    await scheduler.run(10)
    for (const one of all) expect(one.seen()).toEqual(['snapshot 1', 'status 2', 'status 3'])
  })
})
