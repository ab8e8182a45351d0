import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { silentLog } from '../base/log.ts'
import { fakeScheduler } from '../base/scheduler.ts'
import { createTelemetry } from '../base/telemetry.ts'
import type { ClientSocket } from './hub.ts'
import { createHub } from './hub.ts'
import type { Range } from './protocol.ts'

/** The far end of a socket: what arrived, and how much of it the network has not taken. */
interface FarEnd {
  readonly socket: ClientSocket
  readonly got: { type: string; seq: number; range?: Range }[]
  readonly closed: { code: number; reason: string }[]
  buffered: number
  says(text: string): void
  leaves(): void
}

function farEnd(): FarEnd {
  const hears: ((data: Uint8Array) => void)[] = []
  const ends: (() => void)[] = []
  const end: FarEnd = {
    got: [],
    closed: [],
    buffered: 0,
    says: (text) => {
      for (const hear of hears) hear(new TextEncoder().encode(text))
    },
    leaves: () => {
      for (const listener of ends) listener()
    },
    socket: {
      send: (text) => void end.got.push(JSON.parse(text)),
      close(code, reason) {
        end.closed.push({ code, reason })
        end.leaves()
      },
      get bufferedAmount() {
        return end.buffered
      },
      on(event: 'message' | 'close', listener: (data: Uint8Array) => void) {
        if (event === 'message') hears.push(listener)
        else ends.push(() => listener(new Uint8Array()))
      },
    },
  }
  return end
}

function started({ clientsMax = 1000, readMs = 0, incomplete = 0 } = {}) {
  const scheduler = fakeScheduler()
  const telemetry = createTelemetry()
  const counter = (name: string) => telemetry.counter(name, name)
  let seq = 1
  let snapshots = 0
  const watched: boolean[] = []
  const hub = createHub({
    scheduler,
    log: silentLog,
    clientsMax: () => clientsMax,
    async snapshot(range) {
      snapshots++
      if (readMs > 0) await scheduler.sleep(readMs)
      return { seq, text: JSON.stringify({ type: 'snapshot', seq, range }), complete: snapshots > incomplete }
    },
    sent: counter('sent'),
    skipped: counter('skipped'),
    closed: counter('closed'),
    watched: (is) => void watched.push(is),
  })
  return {
    hub,
    scheduler,
    watched,
    get snapshots() {
      return snapshots
    },
    settle: () => scheduler.run(5),
    /** The next message to all, as the producer would. */
    async beat() {
      seq++
      const done = hub.broadcast({ seq, text: JSON.stringify({ type: 'update', seq }) })
      await scheduler.run(20)
      await done
    },
  }
}

describe('the hub', () => {
  test('sends a snapshot first, then each update once', async () => {
    const { hub, settle, beat } = started()
    const a = farEnd()
    hub.join(a.socket, '3h')
    expect(a.got).toEqual([])
    await settle()
    await beat()
    await beat()
    expect(a.got.map((m) => `${m.type} ${m.seq}`)).toEqual(['snapshot 1', 'update 2', 'update 3'])
  })

  test('encodes one snapshot for all who come together, one for each range', async () => {
    const at = started()
    const clients = Array.from({ length: 100 }, farEnd)
    for (const [i, c] of clients.entries()) at.hub.join(c.socket, i % 2 ? '1h' : '7d')
    await at.settle()
    expect(at.snapshots).toBe(2)
    expect(clients.map((c) => c.got[0]?.range)).toEqual(clients.map((_, i) => (i % 2 ? '1h' : '7d')))
  })

  test('sends one snapshot, however long its history takes and whatever happens meanwhile', async () => {
    const { hub, scheduler, beat } = started({ readMs: 50 })
    const a = farEnd()
    hub.join(a.socket, '3h')
    await scheduler.run(10)
    await beat()
    await scheduler.run(100)
    await beat()
    expect(a.got.map((m) => `${m.type} ${m.seq}`)).toEqual(['snapshot 2', 'update 3'])
  })

  test('says when somebody looks and when nobody does', async () => {
    const { hub, watched, settle } = started()
    const [a, b] = [farEnd(), farEnd()]
    hub.join(a.socket, '3h')
    hub.join(b.socket, '3h')
    await settle()
    a.leaves()
    expect(watched).toEqual([true])
    b.leaves()
    b.leaves()
    expect(watched).toEqual([true, false])
    expect(hub.size).toBe(0)
  })

  test('skips a client that does not read, gives it the newest state when it does, and closes it in the end', async () => {
    const { hub, settle, beat } = started()
    const [slow, good] = [farEnd(), farEnd()]
    hub.join(slow.socket, '3h')
    hub.join(good.socket, '3h')
    await settle()
    slow.buffered = 100_000
    for (let i = 0; i < 5; i++) await beat()
    slow.buffered = 0
    await beat()
    expect(slow.got.map((m) => m.seq)).toEqual([1, 7])
    slow.buffered = 100_000
    for (let i = 0; i < 14; i++) await beat()
    expect(slow.closed).toEqual([])
    await beat()
    expect(slow.closed).toEqual([{ code: 1013, reason: 'reads too slowly' }])
    expect(good.got.map((m) => m.seq)).toEqual(Array.from({ length: 22 }, (_, i) => i + 1))
    expect(hub.size).toBe(1)
  })

  test('answers what a page asks, and closes what it cannot understand', async () => {
    const { hub, settle, scheduler, beat } = started()
    const a = farEnd()
    hub.join(a.socket, '3h')
    await settle()
    await scheduler.run(300)
    a.says('{"type":"snapshot","range":"24h"}')
    await settle()
    expect(a.got.at(-1)).toMatchObject({ type: 'snapshot', range: '24h' })
    await scheduler.run(300)
    a.says('{"type":"snapshot","range":"tomorrow"}')
    await settle()
    expect(a.got.at(-1)).toMatchObject({ type: 'snapshot', range: '24h' })
    a.says('{"type":"pong"}')
    await beat()
    expect(a.closed).toEqual([])
    for (const nonsense of ['', 'x', '[]', 'null', '7', `"${'x'.repeat(2000)}"`]) {
      const b = farEnd()
      hub.join(b.socket, '3h')
      b.says(nonsense)
      expect(b.closed.map((c) => c.code)).toEqual([1008])
    }
  })

  test('a client that asks all the time gets a snapshot now and one with the next period', async () => {
    const { hub, settle, beat, scheduler } = started()
    const a = farEnd()
    hub.join(a.socket, '3h')
    await settle()
    await scheduler.run(300)
    for (let i = 0; i < 500; i++) {
      a.says('{"type":"snapshot"}')
      if (i % 50 === 0) await settle()
    }
    const before = a.got.length
    expect(before).toBeLessThanOrEqual(3)
    await beat()
    await settle()
    expect(a.got.slice(before).map((m) => m.type)).toEqual(['update', 'snapshot'])
  })

  test('a snapshot without its history is sent again until it is whole', async () => {
    const { hub, settle, beat, scheduler } = started({ incomplete: 2 })
    const a = farEnd()
    hub.join(a.socket, '3h')
    await settle()
    for (let i = 0; i < 4; i++) {
      await scheduler.run(2000)
      await beat()
    }
    expect(a.got.filter((m) => m.type === 'snapshot')).toHaveLength(3)
    expect(a.got.filter((m) => m.type === 'update').map((m) => m.seq)).toEqual([2, 3, 4, 5])
  })

  test('takes no more clients than configured', () => {
    const { hub } = started({ clientsMax: 2 })
    const clients = [farEnd(), farEnd(), farEnd()]
    for (const c of clients) hub.join(c.socket, '3h')
    expect(clients.map((c) => c.closed.map((x) => x.code))).toEqual([[], [], [1013]])
    expect(hub.size).toBe(2)
  })

  test('whoever comes, goes, asks and stalls: nobody gets a state twice or goes back in time', async () => {
    const act = fc.oneof(
      fc.constant({ kind: 'beat' as const }),
      fc.record({
        kind: fc.constantFrom('join' as const, 'leave' as const, 'ask' as const, 'stall' as const, 'drain' as const),
        who: fc.nat(7),
      }),
      fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 400 }) }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 80 }), fc.integer({ min: 0, max: 60 }), async (acts, readMs) => {
        const { hub, scheduler, beat } = started({ readMs })
        const clients = Array.from({ length: 8 }, farEnd)
        const joined = new Set<number>()
        for (const a of acts) {
          if (a.kind === 'beat') await beat()
          else if (a.kind === 'wait') await scheduler.run(a.ms)
          else {
            const client = clients[a.who]!
            if (a.kind === 'join' && !joined.has(a.who)) {
              joined.add(a.who)
              hub.join(client.socket, '3h')
            } else if (a.kind === 'leave') client.leaves()
            else if (a.kind === 'ask') client.says('{"type":"snapshot","range":"1h"}')
            else client.buffered = a.kind === 'stall' ? 1e6 : 0
          }
        }
        await scheduler.run(1000)
        for (const { got } of clients) {
          if (got.length > 0) expect(got[0]!.type).toBe('snapshot')
          const updates = got.filter((m) => m.type === 'update').map((m) => m.seq)
          expect(updates).toEqual([...new Set(updates)].sort((x, y) => x - y))
          const order = got.map((m) => m.seq)
          expect(order).toEqual([...order].sort((x, y) => x - y))
        }
      }),
      { numRuns: 100 },
    )
  })
})
