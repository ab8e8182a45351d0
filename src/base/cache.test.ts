import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createByteCache } from './cache.ts'

describe('a cache of so many bytes', () => {
  test('holds what was asked for last', () => {
    const cache = createByteCache<number>(() => 4_000)
    for (let i = 0; i < 20; i++) {
      cache.set(`k${i}`, i, { bytes: 150 })
      cache.get('k0', 0)
    }
    expect(cache.get('k0', 0)).toBe(0)
    expect(cache.get('k1', 0)).toBe(undefined)
    expect(cache.get('k19', 0)).toBe(19)
    expect(cache.entries).toBe(10)
    expect(cache.bytes).toBe(4_000)
    expect([cache.hits, cache.misses]).toEqual([22, 1])
  })

  test('forgets by time, by tag and by key', () => {
    const cache = createByteCache<string>(() => 100_000)
    cache.set('a', 'A', { bytes: 10, until: 100, tags: ['m1', 'lists'] })
    cache.set('b', 'B', { bytes: 10, tags: ['m1'] })
    cache.set('c', 'C', { bytes: 10, tags: ['m2'] })
    expect(cache.get('a', 99)).toBe('A')
    expect(cache.get('a', 100)).toBe(undefined)
    cache.drop('m1')
    expect(cache.get('b', 0)).toBe(undefined)
    expect(cache.get('c', 0)).toBe('C')
    cache.delete('c')
    expect([cache.entries, cache.bytes]).toEqual([0, 0])
  })

  test('becomes smaller with its room, and keeps nothing that would take all of it', () => {
    let most = 10_000
    const cache = createByteCache<number>(() => most)
    for (let i = 0; i < 20; i++) cache.set(`k${i}`, i, { bytes: 100 })
    cache.set('large', 0, { bytes: 5_000 })
    expect(cache.get('large', 0)).toBe(undefined)
    expect(cache.entries).toBe(20)
    most = 2_000
    cache.set('one more', 1, { bytes: 100 })
    expect(cache.bytes).toBeLessThanOrEqual(2_000)
  })

  test('counts right whatever is done with it', () => {
    const action = fc.record({
      kind: fc.constantFrom('get', 'set', 'delete', 'drop'),
      key: fc.integer({ min: 0, max: 30 }),
      bytes: fc.integer({ min: 0, max: 900 }),
      tag: fc.integer({ min: 0, max: 4 }),
      now: fc.integer({ min: 0, max: 100 }),
    })
    fc.assert(
      fc.property(fc.array(action, { maxLength: 200 }), (actions) => {
        const cache = createByteCache<number>(() => 6_000)
        const model = new Map<string, { value: number; until: number; tag: string }>()
        for (const { kind, key, bytes, tag, now } of actions) {
          const name = `k${key}`
          if (kind === 'set') {
            cache.set(name, bytes, { bytes, until: now + 50, tags: [`t${tag}`] })
            model.set(name, { value: bytes, until: now + 50, tag: `t${tag}` })
          } else if (kind === 'delete') {
            cache.delete(name)
            model.delete(name)
          } else if (kind === 'drop') {
            cache.drop(`t${tag}`)
            for (const [one, { tag: own }] of model) if (own === `t${tag}`) model.delete(one)
          } else {
            const found = cache.get(name, now)
            const known = model.get(name)
            // It may have gone for want of room; never may it be another value, or one that was forgotten.
            if (found !== undefined) expect(found).toBe(known && known.until > now ? known.value : 'forgotten')
          }
          expect(cache.bytes).toBeLessThanOrEqual(6_000)
          expect(cache.bytes).toBeGreaterThanOrEqual(0)
        }
        for (let i = 0; i < 5; i++) cache.drop(`t${i}`)
        expect([cache.entries, cache.bytes]).toEqual([0, 0])
      }),
    )
  })
})
