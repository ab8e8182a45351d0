/**
 * Kills the whole tree while points are pushed, 100 times, and looks for every acknowledged point.
 *   node bench/kill.ts [kills] [seed]
 */
import { pushWhileKilling } from '../test/support/killing.ts'

const kills = Number(process.argv[2] ?? 100)
const seed = Number(process.argv[3] ?? Math.floor(Math.random() * 1e9))
const print = (line: string) => process.stdout.write(`${line}\n`)

print(`${kills} kills, seed ${seed}`)
const outcome = await pushWhileKilling({
  kills,
  seed,
  lifeMs: 800,
  onKill: (kill, acknowledged) => (kill + 1) % 10 === 0 && print(`  kill ${kill + 1}: ${acknowledged} acknowledged`),
})
const sorted = outcome.restartMs.toSorted((a, b) => a - b)
print(`acknowledged ${outcome.acknowledged}, missing ${outcome.missing.length}, wrong ${outcome.wrong.length}`)
print(`start to ready: median ${Math.round(sorted[sorted.length >> 1]!)} ms, most ${Math.round(sorted.at(-1)!)} ms`)
await outcome.platform.remove()
process.exit(outcome.missing.length + outcome.wrong.length === 0 ? 0 : 1)
