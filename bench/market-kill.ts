/**
 * Kills the market-writer at random moments among concurrent random commands; looks for every answer, and at the ledger.
 *   node bench/market-kill.ts [kills] [seed]
 */
import { tradeWhileKilling } from '../test/support/market-killing.ts'

const kills = Number(process.argv[2] ?? 100)
const seed = Number(process.argv[3] ?? Math.floor(Math.random() * 1e9))
const print = (line: string) => process.stdout.write(`${line}\n`)

print(`${kills} kills, seed ${seed}`)
const outcome = await tradeWhileKilling({
  kills,
  seed,
  clients: 32,
  onKill: (kill, answered) => (kill + 1) % 10 === 0 && print(`  kill ${kill + 1}: ${answered} commands answered`),
})
const { answered, done, unanswered, wrong } = outcome
print(`${answered} commands answered, ${done} of them done, ${unanswered} answers 503 that were asked again`)
print(wrong.length === 0 ? 'none lost, none doubled, the ledger is exact' : wrong.slice(0, 50).join('\n'))
process.exit(wrong.length === 0 ? 0 : 1)
