/**
 * Kills the whole tree at random moments while alerts fire, escalate, are delivered and resolve; looks for every notice.
 *   node bench/alerting-kill.ts [kills] [seed] [main.js]
 */
import { alertWhileKilling } from '../test/support/alert-killing.ts'

const kills = Number(process.argv[2] ?? 500)
const seed = Number(process.argv[3] ?? Math.floor(Math.random() * 1e9))
const main = process.argv[4]
const print = (line: string) => process.stdout.write(`${line}\n`)

print(`${kills} kills, seed ${seed}`)
const outcome = await alertWhileKilling({
  kills,
  seed,
  ...(main ? { platform: { main } } : {}),
  onKill: (kill, received) => (kill + 1) % 25 === 0 && print(`  kill ${kill + 1}: ${received} notices received`),
})
const { series, received, doubles, wrong } = outcome
print(`${series} alerts, ${received} notices received, ${doubles} doubles under the same delivery id`)
print(wrong.length === 0 ? 'none lost, none out of order' : wrong.join('\n'))
process.exit(wrong.length === 0 ? 0 : 1)
