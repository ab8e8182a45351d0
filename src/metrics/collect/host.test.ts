/** Readings of machines and containers, from text as kernels write it. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { fakeClock, systemClock } from '../../base/clock.ts'
import {
  type CpuCount,
  cpuUsage,
  hostSource,
  parseCgroupPaths,
  parseCpuMax,
  parseCpuTimes,
  parseKeyed,
  parseMeminfo,
  parseNetDev,
} from './host.ts'

const MIB = 2 ** 20

describe('CPU', () => {
  test.each([
    // user nice system idle iowait irq softirq steal guest guest_nice; guest is part of user already
    ['cpu  100 10 50 800 40 1 2 7 60 5\ncpu0 1 1 1 1\n', { of: 'host', busy: 170, total: 1010 }],
    // 2.6 had seven columns, 2.4 four
    ['cpu  100 10 50 800 40 1 2\n', { of: 'host', busy: 163, total: 1003 }],
    ['cpu 100 10 50 800\n', { of: 'host', busy: 160, total: 960 }],
    ['cpu 1 2 3\n', null],
    ['intr 1 2 3 4\n', null],
    ['', null],
    [null, null],
  ])('%j', (stat, expected) => expect(parseCpuTimes(stat)).toEqual(expected))

  const count = (busy: number, total: number, of = 'host'): CpuCount => ({ of, busy, total })
  test.each([
    [count(10, 100), count(35, 200), 25],
    [count(10, 100), count(310, 200), 100], // a burst over the quota
    [count(10, 100), count(10, 100), null], // no time has passed
    [count(10, 100), count(5, 200), null], // the count began anew
    [count(10, 100), count(35, 200, 'cgroup'), null], // another limit came to hold
  ])('from %j to %j: %j', (before, now, expected) => expect(cpuUsage(before, now)).toBe(expected))

  test.each([
    ['50000 100000\n', 0.5],
    ['200000 100000', 2],
    ['max 100000', null],
    ['-1 100000', null], // cgroup v1
    ['0 100000', null],
    ['', null],
    [null, null],
  ])('cpu.max %j', (text, cores) => expect(parseCpuMax(text)).toBe(cores))
})

describe('memory', () => {
  test('as kernels since 3.14 say it', () => {
    const text =
      'MemTotal:       16000000 kB\nMemFree:          100000 kB\nMemAvailable:    4000000 kB\nHugePages_Total:       0\n'
    expect(parseMeminfo(text)).toEqual({ total: 16000000 * 1024, available: 4000000 * 1024 })
  })
  test('as older ones did', () => {
    const text = 'MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 20 kB\nCached: 300 kB\n'
    expect(parseMeminfo(text)).toEqual({ total: 1000 * 1024, available: 420 * 1024 })
  })
  test.each(['', 'MemFree: 100 kB\n', 'MemTotal: 0 kB\nMemFree: 0 kB\n'])('nothing from %j', (text) =>
    expect(parseMeminfo(text)).toBeNull(),
  )
  test('keyed lines', () => {
    expect([...parseKeyed('anon 12\ninactive_file 34\nbad\n')]).toEqual([
      ['anon', 12],
      ['inactive_file', 34],
    ])
  })
})

describe('network', () => {
  const head = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n`
  test('sums real devices alone', () => {
    const text = `${head}    lo: 500 1 0 0 0 0 0 0 500 1 0 0 0 0 0 0
  eth0: 1000 1 0 0 0 0 0 0 200 1 0 0 0 0 0 0
 wlan0:30 1 0 0 0 0 0 0 4 1 0 0 0 0 0 0
docker0: 7 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0
veth12ab: 7 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n`
    expect(parseNetDev(text)).toEqual({ received: 1030, sent: 204 })
  })
  test.each([[head], [`${head}    lo: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n`], [''], [null]])('nothing from %j', (text) =>
    expect(parseNetDev(text)).toBeNull(),
  )
})

test('cgroups are looked at from ours up to the root', () => {
  expect(parseCgroupPaths('0::/a.slice/b.scope\n')).toEqual({
    v2: ['sys/fs/cgroup/a.slice/b.scope', 'sys/fs/cgroup/a.slice', 'sys/fs/cgroup'],
    cpu: [],
    memory: [],
  })
  expect(parseCgroupPaths('0::/\n').v2).toEqual(['sys/fs/cgroup'])
  expect(parseCgroupPaths('0::/../../other\n').v2).toEqual(['sys/fs/cgroup/other', 'sys/fs/cgroup'])
  const v1 = parseCgroupPaths('5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n1:name=systemd:/\n')
  expect(v1.memory).toEqual(['sys/fs/cgroup/memory/docker/x', 'sys/fs/cgroup/memory/docker', 'sys/fs/cgroup/memory'])
  expect(v1.cpu[0]).toBe('sys/fs/cgroup/cpu/docker/x')
  expect(parseCgroupPaths(null)).toEqual({ v2: [], cpu: [], memory: [] })
})

describe('a round', () => {
  let root: string
  beforeEach(() => {
    root = mkdtempSync(join(os.tmpdir(), 'host-'))
  })
  afterEach(() => rmSync(root, { recursive: true }))
  const write = (files: Readonly<Record<string, string>>) => {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(root, path)), { recursive: true })
      writeFileSync(join(root, path), text)
    }
  }
  async function rounds(clock = fakeClock(), between = () => {}) {
    const source = hostSource({ dataDir: root, clock, root })
    const first = Object.fromEntries((await source()).map((r) => [r.name, r.value]))
    clock.advance(1000)
    between()
    const second = Object.fromEntries((await source()).map((r) => [r.name, r.value]))
    return { first, second }
  }
  const machine = {
    'proc/stat': 'cpu 100 0 0 900\n',
    'proc/meminfo': `MemTotal: ${8 * 2 ** 20} kB\nMemFree: 0 kB\nMemAvailable: ${2 * 2 ** 20} kB\n`,
    'proc/net/dev': 'eth0: 10 0 0 0 0 0 0 0 20 0 0 0 0 0 0 0\n',
  }

  test('of a machine without limits', async () => {
    write({ ...machine, 'proc/self/cgroup': '0::/user.slice\n', 'sys/fs/cgroup/user.slice/cpu.max': 'max 100000\n' })
    write({ 'sys/fs/cgroup/user.slice/memory.max': 'max\n' })
    const { first, second } = await rounds(undefined, () => write({ 'proc/stat': 'cpu 160 0 0 940\n' }))
    expect(first).not.toHaveProperty('system_cpu_usage')
    expect(second).toMatchObject({
      system_cpu_usage: 60,
      system_memory_usage: 75,
      system_memory_available: 2,
      system_network_bytes_recv: 10,
      system_network_bytes_sent: 20,
    })
    expect(second.system_disk_usage).toBeGreaterThan(0)
    expect(second.system_disk_free).toBeGreaterThan(0)
  })

  test('of a container: the tightest limit on the way up counts, with the usage of who bears it', async () => {
    write({ ...machine, 'proc/self/cgroup': '0::/pod/box\n' })
    write({
      'sys/fs/cgroup/pod/cpu.max': '50000 100000\n',
      'sys/fs/cgroup/pod/cpu.stat': 'usage_usec 1000000\nuser_usec 1\n',
      'sys/fs/cgroup/pod/box/cpu.max': '100000 100000\n',
      'sys/fs/cgroup/pod/box/cpu.stat': 'usage_usec 5\n',
      'sys/fs/cgroup/pod/memory.max': `${1024 * MIB}\n`,
      'sys/fs/cgroup/pod/memory.current': `${700 * MIB}\n`,
      'sys/fs/cgroup/pod/memory.stat': `anon 1\ninactive_file ${188 * MIB}\n`,
      'sys/fs/cgroup/pod/box/memory.max': 'max\n',
    })
    const { first, second } = await rounds(undefined, () =>
      write({ 'sys/fs/cgroup/pod/cpu.stat': 'usage_usec 1250000\n' }),
    )
    expect(first).not.toHaveProperty('system_cpu_usage')
    // 0.25 s of the 0.5 s that half a core has in a second
    expect(second).toMatchObject({ system_cpu_usage: 50, system_memory_usage: 50, system_memory_available: 0.5 })
  })

  test('of a container of cgroup v1, which sees its own folder as the root', async () => {
    write({ ...machine, 'proc/self/cgroup': '5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n' })
    write({
      'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '200000\n',
      'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
      'sys/fs/cgroup/cpuacct/cpuacct.usage': '1000000000\n',
      'sys/fs/cgroup/memory/memory.limit_in_bytes': `${1024 * MIB}\n`,
      'sys/fs/cgroup/memory/memory.usage_in_bytes': `${512 * MIB}\n`,
      'sys/fs/cgroup/memory/memory.stat': `total_inactive_file ${256 * MIB}\n`,
    })
    const { second } = await rounds(undefined, () => write({ 'sys/fs/cgroup/cpuacct/cpuacct.usage': '1500000000\n' }))
    expect(second).toMatchObject({ system_cpu_usage: 25, system_memory_usage: 25, system_memory_available: 0.75 })
  })

  test('v1 without a limit says a huge number: the machine counts', async () => {
    write({ ...machine, 'proc/self/cgroup': '5:memory:/\n' })
    write({
      'sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
      'sys/fs/cgroup/memory/memory.usage_in_bytes': '1\n',
    })
    expect((await rounds()).second).toMatchObject({ system_memory_usage: 75 })
  })

  test('a limit that changes starts a new count', async () => {
    write({ ...machine, 'proc/self/cgroup': '0::/a\n' })
    write({ 'sys/fs/cgroup/a/cpu.max': '50000 100000\n', 'sys/fs/cgroup/a/cpu.stat': 'usage_usec 1\n' })
    const { second } = await rounds(undefined, () => write({ 'sys/fs/cgroup/a/cpu.max': '90000 100000\n' }))
    expect(second).not.toHaveProperty('system_cpu_usage')
  })

  test('what cannot be read is absent, not 0', async () => {
    expect(Object.keys((await rounds()).second).sort()).toEqual(['system_disk_free', 'system_disk_usage'])
    const source = hostSource({ dataDir: join(root, 'gone'), clock: fakeClock(), root })
    expect(await source()).toEqual([])
  })

  test('of this machine, as it is', async () => {
    const source = hostSource({ dataDir: os.tmpdir(), clock: systemClock })
    await source()
    const end = performance.now() + 60
    while (performance.now() < end); // some ticks of the kernel's clock
    const readings = Object.fromEntries((await source()).map((r) => [r.name, r.value]))
    expect(readings.system_cpu_usage).toBeGreaterThan(0)
    expect(readings.system_cpu_usage).toBeLessThanOrEqual(100)
    expect(readings.system_memory_usage).toBeGreaterThan(0)
    expect(readings.system_memory_usage).toBeLessThan(100)
  })
})
