/**
 * What the platform costs when nothing happens but its own collection every 5 s: start to ready, memory as PSS of all
 * processes, and share of one core.
 *   node bench/idle.ts [seconds]
 */
import { readFileSync } from 'node:fs'
import { sleep, startPlatform } from '../test/support/platform.ts'

const seconds = Number(process.argv[2] ?? 60)
const print = (line: string) => process.stdout.write(`${line}\n`)
const HZ = 100

const pss = (pid: number) => Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))![1]) / 1024
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / HZ
}

const platform = await startPlatform()
print(`ready after ${Math.round(platform.readyMs)} ms`)
await sleep(20_000)
const processes = platform.processes()
const before = processes.map((p) => cpuSeconds(p.pid))
await sleep(seconds * 1000)
let memory = 0
let cpu = 0
processes.forEach((p, i) => {
  const mib = pss(p.pid)
  const used = cpuSeconds(p.pid) - before[i]!
  memory += mib
  cpu += used
  print(
    `  ${p.kind.padEnd(14)} ${mib.toFixed(1).padStart(6)} MiB PSS  ${((used / seconds) * 100).toFixed(2)} % of a core`,
  )
})
print(`all: ${memory.toFixed(1)} MiB PSS, ${((cpu / seconds) * 100).toFixed(2)} % of a core over ${seconds} s`)
await platform.remove()
