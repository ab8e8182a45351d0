/**
 * What was answered 2xx survives the death of everything. Points are pushed through the public API by several clients
 * at once while the whole tree is killed again and again; afterwards every acknowledged point has to be there with its
 * value. `bench/kill.ts` does the same a hundred times.
 */
import { afterAll, expect, test } from 'vitest'
import { pushWhileKilling } from '../support/killing.ts'

const kills = 4
const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 1e9))
const cleanUp: (() => Promise<void>)[] = []
afterAll(async () => {
  for (const work of cleanUp) await work()
})

test(`every acknowledged point survives ${kills} kills of the tree (seed ${seed})`, { timeout: 180_000 }, async () => {
  const outcome = await pushWhileKilling({ kills, seed })
  cleanUp.push(() => outcome.platform.remove())
  expect(outcome.acknowledged).toBeGreaterThan(100)
  expect(outcome.missing).toEqual([])
  expect(outcome.wrong).toEqual([])
})
