import { describe, expect, test } from 'vitest'
import { fakeScheduler } from '../base/scheduler.ts'
import { createBalancer } from './balancer.ts'

const never = new AbortController().signal

function three() {
  const scheduler = fakeScheduler()
  const balancer = createBalancer(scheduler)
  for (const id of ['a', 'b', 'c']) {
    balancer.add(id, 'instance', `/run/${id}`)
    balancer.setReady(id, true)
  }
  return { scheduler, balancer, target: (id: string) => balancer.targets().find((t) => t.id === id)! }
}

describe('who takes the next request', () => {
  test('the one with the least in flight; among equals each in turn', () => {
    const { balancer, target } = three()
    expect([1, 2, 3, 4].map(() => balancer.pick('instance')!.id)).toEqual(['a', 'b', 'c', 'a'])
    target('a').inFlight = 2
    target('b').inFlight = 1
    target('c').inFlight = 2
    expect([1, 2].map(() => balancer.pick('instance')!.id)).toEqual(['b', 'b'])
  })

  test('never another kind, a draining one or the one that just failed', () => {
    const { balancer } = three()
    expect(balancer.pick('control')).toBeNull()
    balancer.drain('a', 1_000)
    const b = balancer.pick('instance')!
    expect(b.id).toBe('b')
    expect(balancer.pick('instance', b)!.id).toBe('c')
    expect(balancer.pick('instance', b)!.id).toBe('c')
  })

  test('one that is not ready only when none is', () => {
    const { balancer, target } = three()
    target('a').inFlight = 9
    balancer.setReady('b', false)
    balancer.setReady('c', false)
    expect(balancer.pick('instance')!.id).toBe('a')
    balancer.setReady('a', false)
    expect(balancer.pick('instance')!.id).not.toBe('a')
  })
})

describe('waiting for somebody', () => {
  test('ends when a process comes', async () => {
    const { scheduler, balancer } = three()
    const found = balancer.waitFor('control', 2_000, never)
    await scheduler.run(500)
    expect(balancer.waiting).toBe(1)
    balancer.add('control', 'control', '/run/control')
    expect((await found)?.id).toBe('control')
    expect(balancer.waiting).toBe(0)
  })

  test('ends with nobody after its time, and when the client goes', async () => {
    const { scheduler, balancer } = three()
    const late = balancer.waitFor('control', 2_000, never)
    const client = new AbortController()
    const left = balancer.waitFor('control', 2_000, client.signal)
    client.abort()
    expect(await left).toBeNull()
    await scheduler.run(2_000)
    expect(await late).toBeNull()
    expect(balancer.waiting).toBe(0)
  })
})

describe('draining', () => {
  test('waits for what is in flight, then ends at once', async () => {
    const { scheduler, balancer, target } = three()
    target('a').inFlight = 1
    let done = false
    const draining = balancer.drain('a', 10_000).then(() => {
      done = true
    })
    await scheduler.run(3_000)
    expect(done).toBe(false)
    target('a').inFlight = 0
    await scheduler.run(100)
    await draining
    expect(scheduler.clock.monotonic()).toBeLessThan(4_000)
  })

  test('closes its WebSockets with 1012 at the end of its time', async () => {
    const { scheduler, balancer, target } = three()
    const codes: number[] = []
    target('a').sockets.add({ close: (code) => void codes.push(code) })
    const draining = balancer.drain('a', 10_000)
    await scheduler.run(9_900)
    expect(codes).toEqual([])
    await scheduler.run(200)
    await draining
    expect(codes).toEqual([1012])
  })
})
