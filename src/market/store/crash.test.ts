/** The market-writer killed with SIGKILL at random moments among concurrent commands. `bench/market-kill.ts` does it longer. */
import { expect, test } from 'vitest'
import { tradeWhileKilling } from '../../../test/support/market-killing.ts'

test('what was answered is there after a kill, once, and the ledger is exact', async () => {
  const seed = Math.floor(Math.random() * 1e9)
  const outcome = await tradeWhileKilling({ kills: 6, seed })
  expect({ seed, wrong: outcome.wrong }).toEqual({ seed, wrong: [] })
  expect(outcome.done).toBeGreaterThan(100)
})
