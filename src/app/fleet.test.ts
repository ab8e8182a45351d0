import { describe, expect, test } from 'vitest'
import { createFleet } from './fleet.ts'

function fleetOf(initial: number) {
  const log: string[] = []
  const ends = new Map<string, () => void>()
  const fleet = createFleet(initial, {
    start: (id) => void log.push(`start ${id}`),
    drain(id) {
      log.push(`drain ${id}`)
      return new Promise((resolve) => ends.set(id, resolve))
    },
    onWanted: (wanted, fence) => void log.push(`wanted ${wanted} by ${fence}`),
  })
  return { fleet, ends, log, take: () => log.splice(0) }
}

describe('the instances that front keeps', () => {
  test('are numbered from 1, and at least one', () => {
    expect(fleetOf(2).log).toEqual(['start instance-1', 'start instance-2', 'wanted 2 by 0'])
    expect(fleetOf(0).log).toEqual(['start instance-1', 'wanted 1 by 0'])
  })

  test('the newest leaves first; its name is free again when it has gone', async () => {
    const { fleet, ends, take } = fleetOf(3)
    take()
    fleet.want(1, 1)
    expect(take()).toEqual(['drain instance-3', 'drain instance-2', 'wanted 1 by 1'])
    fleet.want(2, 2)
    expect(take()).toEqual(['start instance-4', 'wanted 2 by 2'])
    ends.get('instance-2')!()
    await Promise.resolve()
    await Promise.resolve()
    fleet.want(3, 3)
    expect(take()).toEqual(['start instance-2', 'wanted 3 by 3'])
    fleet.want(2, 4)
    expect(take()).toEqual(['drain instance-2', 'wanted 2 by 4'])
  })

  test('an order of a former owner is left alone', () => {
    const { fleet } = fleetOf(1)
    expect(fleet.want(4, 7)).toBe(true)
    expect(fleet.want(1, 6)).toBe(false)
    expect(fleet.want(5, 7)).toBe(true)
    expect([fleet.wanted, fleet.fence]).toEqual([5, 7])
  })

  test.each([Number.NaN, 1.5, Number.POSITIVE_INFINITY])('%d is no number of instances', (wanted) => {
    const { fleet } = fleetOf(1)
    expect(fleet.want(wanted, 9)).toBe(false)
    expect([fleet.wanted, fleet.fence]).toEqual([1, 0])
  })
})
