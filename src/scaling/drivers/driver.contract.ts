/**
 * What every driver has to do, against a real provider of its kind. A provider says how it is itself, so that the
 * driver's word can be held against it.
 */
import { afterEach, describe, expect, test } from 'vitest'
import type { Driver, Observed } from './driver.ts'

export interface Provider {
  /** A driver of this provider, as a control that was just started would make it. */
  driver(): Promise<Driver>
  /** How many run and are ready, by the provider's own word. */
  ready(): Promise<number>
  /** Instances that are being started stay so until `letReady`. */
  holdStarts(): void
  letReady(): void
  /** The provider cannot be asked, until `mend`. Absent where nothing stands between driver and provider. */
  readonly breakIt?: () => void
  readonly mend?: () => void
  remove(): Promise<void>
}

/** `lacks`: what this kind cannot do. */
export function testDriver(
  name: string,
  make: () => Promise<Provider>,
  lacks: readonly ('instances' | 'fence of others' | 'breaking')[] = [],
): void {
  describe(`the driver ${name}`, () => {
    const made: Provider[] = []
    const drivers: Driver[] = []
    const provide = async () => {
      const provider = await make()
      made.push(provider)
      return provider
    }
    const open = async (provider: Provider) => {
      const driver = await provider.driver()
      drivers.push(driver)
      return driver
    }
    afterEach(async () => {
      for (const driver of drivers.splice(0)) await driver.close()
      for (const provider of made.splice(0)) await provider.remove()
    })

    test('makes it this many, and tells what is there', async () => {
      const provider = await provide()
      const driver = await open(provider)
      for (const wanted of [1, 3, 2, 0, 1]) {
        await driver.scale(wanted, 1)
        const seen = await settled(driver, wanted)
        expect(seen.wanted).toBe(wanted)
        expect(await provider.ready()).toBe(wanted)
        expect(seen.conflict).toBeNull()
        if (!lacks.includes('instances')) {
          const ready = seen.instances.filter(({ state }) => state === 'ready')
          expect(ready.length).toBe(wanted)
          expect(new Set(seen.instances.map(({ id }) => id)).size).toBe(seen.instances.length)
        }
      }
    })

    test('counts as ready what is ready, never what was asked for', async () => {
      const provider = await provide()
      const driver = await open(provider)
      await driver.scale(1, 1)
      await settled(driver, 1)
      provider.holdStarts()
      await driver.scale(3, 1)
      const held = await until(driver, ({ starting }) => starting === 2)
      expect(held).toMatchObject({ ready: 1, starting: 2, wanted: 3 })
      provider.letReady()
      await settled(driver, 3)
    })

    test('does nothing when asked for what is there', async () => {
      const provider = await provide()
      const driver = await open(provider)
      await driver.scale(2, 1)
      const before = await settled(driver, 2)
      await driver.scale(2, 1)
      await driver.scale(2, 2)
      const after = await settled(driver, 2)
      expect(after.instances.map(({ id }) => id).sort()).toEqual(before.instances.map(({ id }) => id).sort())
    })

    test('keeps at least what is wanted while it takes away', async () => {
      const provider = await provide()
      const driver = await open(provider)
      await driver.scale(4, 1)
      await settled(driver, 4)
      await driver.scale(2, 1)
      for (;;) {
        const seen = await driver.observe()
        expect(seen.ready).toBeGreaterThanOrEqual(2)
        if (seen.ready === 2 && seen.draining === 0) break
        await pause(10)
      }
    })

    test('refuses a token smaller than one it has seen, and changes nothing then', async () => {
      const provider = await provide()
      const driver = await open(provider)
      await driver.scale(2, 7)
      await settled(driver, 2)
      await expect(driver.scale(1, 6)).rejects.toThrow(/newer owner/)
      await pause(100)
      expect(await driver.observe()).toMatchObject({ ready: 2, wanted: 2 })
      await driver.scale(1, 7)
      await settled(driver, 1)
    })

    test.skipIf(lacks.includes('fence of others'))(
      'refuses the token of an owner before the one that decided',
      async () => {
        const provider = await provide()
        const former = await open(provider)
        await former.scale(1, 3)
        await settled(former, 1)
        await (former.kind === 'process' ? former.close() : Promise.resolve())
        const owner = await open(provider)
        await owner.scale(2, 4)
        await settled(owner, 2)
        await expect((former.kind === 'process' ? owner : former).scale(5, 3)).rejects.toThrow(/newer owner/)
        expect((await settled(owner, 2)).wanted).toBe(2)
      },
    )

    test('refuses what is no number of instances', async () => {
      const driver = await open(await provide())
      for (const wrong of [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
        await expect(driver.scale(wrong, 1)).rejects.toThrow(RangeError)
      }
    })

    test('lets go without taking anything away; the next one finds what runs', async () => {
      const provider = await provide()
      const first = await open(provider)
      await first.scale(2, 1)
      const before = await settled(first, 2)
      await first.close()
      expect(await provider.ready()).toBe(2)
      const second = await open(provider)
      const after = await settled(second, 2)
      expect(after.instances.map(({ id }) => id).sort()).toEqual(before.instances.map(({ id }) => id).sort())
      await second.scale(1, 2)
      await settled(second, 1)
    })

    test.skipIf(lacks.includes('breaking'))('says in a sentence that the provider cannot be asked', async () => {
      const provider = await provide()
      const driver = await open(provider)
      await driver.scale(1, 1)
      await settled(driver, 1)
      provider.breakIt!()
      await expect(driver.observe()).rejects.toThrow(/^[^\n]{10,200}$/)
      await expect(driver.scale(2, 1)).rejects.toThrow(/^[^\n]{10,200}$/)
      provider.mend!()
      await driver.scale(2, 1)
      await settled(driver, 2)
    })
  })
}

export const settled = (driver: Driver, count: number): Promise<Observed> =>
  until(driver, ({ ready, starting, draining }) => ready === count && starting === 0 && draining === 0)

export async function until(driver: Driver, check: (seen: Observed) => boolean): Promise<Observed> {
  const end = performance.now() + 60_000
  for (;;) {
    const seen = await driver.observe()
    if (check(seen)) return seen
    if (performance.now() > end) throw new Error(`never came: ${JSON.stringify(seen)}`)
    await pause(20)
  }
}

export const pause = (ms: number) => new Promise<void>((done) => setTimeout(done, ms))
