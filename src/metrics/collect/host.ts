/**
 * What the machine, or the container, has left: CPU, memory, the disk of the data, the network.
 *
 *   limit of a cgroup (v2, or v1)  before  the whole machine from /proc  before  node:os where there is no /proc
 *
 * A container that may use half a core is at 100 % when it does, whatever the machine has; so the smallest limit on
 * the way from our cgroup to the root counts, with the usage of the cgroup that bears it. What cannot be read is left
 * out: absent, never 0. The first round has no CPU figure, because that is a difference.
 */
import { readFile, statfs } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import type { Reading } from './collector.ts'

const GIB = 2 ** 30

export interface HostOptions {
  /** The volume whose room is watched. */
  readonly dataDir: string
  readonly clock: Clock
  /** Where /proc and /sys are found; another folder in tests. */
  readonly root?: string
}

/** Answers a function that takes one round of readings. */
export function hostSource({ dataDir, clock, root = '/' }: HostOptions): () => Promise<Reading[]> {
  const text = async (path: string): Promise<string | null> => {
    try {
      return await readFile(join(root, path), 'utf8')
    } catch {
      return null
    }
  }
  let before: CpuCount | null = null

  async function cpu(groups: CgroupPaths): Promise<number | null> {
    const now = (await cgroupCpu(groups, text, clock)) ?? parseCpuTimes(await text('proc/stat')) ?? osCpu(root)
    const usage = now && before ? cpuUsage(before, now) : null
    before = now
    return usage
  }

  async function disk(): Promise<Reading[]> {
    try {
      const { bsize, blocks, bfree, bavail } = await statfs(dataDir)
      const used = blocks - bfree
      // As df counts: what is reserved for root is neither used nor free to us.
      if (used + bavail <= 0) return []
      return [
        { name: 'system_disk_usage', value: (used / (used + bavail)) * 100 },
        { name: 'system_disk_free', value: (bavail * bsize) / GIB },
      ]
    } catch {
      return []
    }
  }

  return async () => {
    const readings: Reading[] = []
    const groups = parseCgroupPaths(await text('proc/self/cgroup'))
    const usage = await cpu(groups)
    if (usage !== null) readings.push({ name: 'system_cpu_usage', value: usage })
    const memory = await memoryOf(groups, text, root)
    if (memory) {
      readings.push({ name: 'system_memory_usage', value: (1 - memory.available / memory.total) * 100 })
      readings.push({ name: 'system_memory_available', value: memory.available / GIB })
    }
    readings.push(...(await disk()))
    const net = parseNetDev(await text('proc/net/dev'))
    if (net) {
      readings.push({ name: 'system_network_bytes_sent', value: net.sent })
      readings.push({ name: 'system_network_bytes_recv', value: net.received })
    }
    return readings
  }
}

// ------------------------------------------------------------------------------------------------------ CPU

/** Two counts of the same `of` give a usage. Both in any unit, as long as it is the same. */
export interface CpuCount {
  readonly of: string
  readonly busy: number
  /** What there was to use. */
  readonly total: number
}

/** Percent, or null when the two cannot be compared or no time has passed. */
export function cpuUsage(before: CpuCount, now: CpuCount): number | null {
  const total = now.total - before.total
  const busy = now.busy - before.busy
  if (before.of !== now.of || total <= 0 || busy < 0) return null
  return Math.min(100, (busy / total) * 100)
}

/** The first line of /proc/stat; guest time is part of user time and not added again. Old kernels have fewer columns. */
export function parseCpuTimes(stat: string | null): CpuCount | null {
  const line = stat?.match(/^cpu\s+(.+)$/m)?.[1]
  if (!line) return null
  const times = line.trim().split(/\s+/).slice(0, 8).map(Number)
  if (times.length < 4 || times.some((n) => !Number.isFinite(n))) return null
  const total = times.reduce((sum, n) => sum + n, 0)
  const idle = times[3]! + (times[4] ?? 0)
  return { of: 'host', busy: total - idle, total }
}

function osCpu(root: string): CpuCount | null {
  if (root !== '/') return null
  let busy = 0
  let idle = 0
  for (const { times } of os.cpus()) {
    busy += times.user + times.nice + times.sys + times.irq
    idle += times.idle
  }
  return busy + idle > 0 ? { of: 'os', busy, total: busy + idle } : null
}

async function cgroupCpu(groups: CgroupPaths, text: ReadText, clock: Clock): Promise<CpuCount | null> {
  let tightest: { readonly dir: string; readonly cores: number; readonly v2: boolean } | null = null
  for (const dir of groups.v2) {
    const cores = parseCpuMax(await text(`${dir}/cpu.max`))
    if (cores !== null && cores < (tightest?.cores ?? Infinity)) tightest = { dir, cores, v2: true }
  }
  for (const dir of groups.cpu) {
    const quota = await text(`${dir}/cpu.cfs_quota_us`)
    const cores = quota === null ? null : parseCpuMax(`${quota.trim()} ${await text(`${dir}/cpu.cfs_period_us`)}`)
    if (cores !== null && cores < (tightest?.cores ?? Infinity)) tightest = { dir, cores, v2: false }
  }
  if (!tightest) return null
  const { dir, cores, v2 } = tightest
  const usedUs = v2
    ? parseKeyed(await text(`${dir}/cpu.stat`)).get('usage_usec')
    : (wholeNumber(await text(`${dir.replace(/^(sys\/fs\/cgroup\/cpu)(?=\/|$)/, '$1acct')}/cpuacct.usage`)) ??
        Number.NaN) / 1000
  if (usedUs === undefined || Number.isNaN(usedUs)) return null
  // A changed limit starts a new count: the time before it had another total.
  return { of: `${dir} ${cores}`, busy: usedUs, total: clock.monotonic() * 1000 * cores }
}

/** Cores of `cpu.max` ("50000 100000"), or null when there is no limit ("max 100000", or -1 in v1). */
export function parseCpuMax(text: string | null): number | null {
  const [quota, period] = (text ?? '').trim().split(/\s+/).map(Number)
  if (!(quota! > 0 && period! > 0)) return null
  return quota! / period!
}

// --------------------------------------------------------------------------------------------------- memory

interface Memory {
  readonly total: number
  readonly available: number
}

async function memoryOf(groups: CgroupPaths, text: ReadText, root: string): Promise<Memory | null> {
  const machine = parseMeminfo(await text('proc/meminfo')) ?? osMemory(root)
  let tightest: Memory | null = null
  const consider = (limit: number | null, used: number | null, stat: string | null, inactiveKey: string) => {
    if (limit === null || used === null || limit >= Math.min(machine?.total ?? Infinity, tightest?.total ?? Infinity)) {
      return
    }
    // The cache that the kernel would give back at once does not count as used.
    const working = Math.max(0, used - (parseKeyed(stat).get(inactiveKey) ?? 0))
    tightest = { total: limit, available: Math.max(0, limit - working) }
  }
  for (const dir of groups.v2) {
    const limit = wholeNumber(await text(`${dir}/memory.max`))
    if (limit === null) continue
    consider(limit, wholeNumber(await text(`${dir}/memory.current`)), await text(`${dir}/memory.stat`), 'inactive_file')
  }
  for (const dir of groups.memory) {
    const limit = wholeNumber(await text(`${dir}/memory.limit_in_bytes`))
    if (limit === null) continue
    const used = wholeNumber(await text(`${dir}/memory.usage_in_bytes`))
    consider(limit, used, await text(`${dir}/memory.stat`), 'total_inactive_file')
  }
  return tightest ?? machine
}

function osMemory(root: string): Memory | null {
  if (root !== '/') return null
  return { total: os.totalmem(), available: Math.min(os.totalmem(), process.availableMemory()) }
}

/** In bytes. Kernels before 3.14 have no MemAvailable: what is free, and what the cache could give back. */
export function parseMeminfo(text: string | null): Memory | null {
  if (text === null) return null
  const kib = new Map<string, number>()
  for (const [, key, value] of text.matchAll(/^(\w+):\s+(\d+) kB$/gm)) kib.set(key!, Number(value))
  const total = kib.get('MemTotal')
  const free = kib.get('MemFree')
  if (!total || free === undefined) return null
  const available = kib.get('MemAvailable') ?? free + (kib.get('Buffers') ?? 0) + (kib.get('Cached') ?? 0)
  return { total: total * 1024, available: Math.min(total, available) * 1024 }
}

// ------------------------------------------------------------------------------------------ network, cgroups

/** Loop-back, and the devices that carry what a real one carries again: bridges and the ends of containers' cables. */
const DOUBLE = /^(lo|ifb\d+|veth.*|docker\d+|br-.*|virbr\d+|cni\d+|flannel.*|cali.*|lxc.*|tap.*)$/

/** Bytes of all real devices since they came up. */
export function parseNetDev(text: string | null): { readonly received: number; readonly sent: number } | null {
  if (text === null) return null
  let found = false
  let received = 0
  let sent = 0
  for (const [, device, rest] of text.matchAll(/^\s*([^\s:|]+):\s*(.*)$/gm)) {
    const columns = rest!.trim().split(/\s+/).map(Number)
    if (DOUBLE.test(device!) || columns.length < 9 || !Number.isFinite(columns[0]! + columns[8]!)) continue
    found = true
    received += columns[0]!
    sent += columns[8]!
  }
  return found ? { received, sent } : null
}

type ReadText = (path: string) => Promise<string | null>

/** Folders to look in, from our own cgroup up to the root; where a container sees only its root, the others are missing. */
export interface CgroupPaths {
  readonly v2: readonly string[]
  readonly cpu: readonly string[]
  readonly memory: readonly string[]
}

/** From /proc/self/cgroup: `0::/user.slice/x` is v2, `4:memory:/docker/x` is v1. */
export function parseCgroupPaths(text: string | null): CgroupPaths {
  const paths = { v2: [] as string[], cpu: [] as string[], memory: [] as string[] }
  for (const [, controllers, path] of (text ?? '').matchAll(/^\d+:([^:]*):(.*)$/gm)) {
    const names = controllers!.split(',')
    if (controllers === '') paths.v2 = upwards('sys/fs/cgroup', path!)
    if (names.includes('cpu')) paths.cpu = upwards('sys/fs/cgroup/cpu', path!)
    if (names.includes('memory')) paths.memory = upwards('sys/fs/cgroup/memory', path!)
  }
  return paths
}

function upwards(mount: string, path: string): string[] {
  const parts = path.split('/').filter((part) => part !== '' && part !== '..')
  return parts.map((_, i) => [mount, ...parts.slice(0, parts.length - i)].join('/')).concat(mount)
}

/** Lines of `key number`, as cpu.stat and memory.stat have them. */
export function parseKeyed(text: string | null): Map<string, number> {
  const values = new Map<string, number>()
  for (const [, key, value] of (text ?? '').matchAll(/^(\S+) (\d+)$/gm)) values.set(key!, Number(value))
  return values
}

const wholeNumber = (text: string | null) => (text !== null && /^\d+\s*$/.test(text) ? Number(text) : null)
