/** All drivers against the one contract, and what each does beyond it. */
import { createHmac } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { type ApiServer, startApiServer } from '../../../test/support/scaling/api-server.ts'
import { addressGuard } from '../../base/address.ts'
import { fakeClock } from '../../base/clock.ts'
import { createHttpClient } from '../../base/http-client.ts'
import { silentLog } from '../../base/log.ts'
import { systemScheduler } from '../../base/scheduler.ts'
import type { KubernetesSettings, ProcessSettings } from '../targets.ts'
import { type Provider, settled, testDriver, until } from './driver.contract.ts'
import type { Driver, LedgerRow, Observed, ProcessLedger } from './driver.ts'
import { kubernetesDriver, selectorOf } from './kubernetes.ts'
import { type PlatformInstance, platformDriver, type Told } from './platform.ts'
import { bootId, isAlive, nameOf } from './proc.ts'
import { processDriver } from './process.ts'
import { webhookDriver } from './webhook.ts'

const scheduler = systemScheduler((error) => {
  throw error
})
const folders: string[] = []
const folder = () => {
  const made = mkdtempSync(join(tmpdir(), 'om-driver-'))
  folders.push(made)
  return made
}
afterEach(() => {
  for (const made of folders.splice(0)) rmSync(made, { recursive: true, force: true })
})

// -------------------------------------------------------------------------------------------------- platform

/** Front as far as the driver sees it: takes a number, keeps the largest token, starts and drains in its own time. */
function frontOf() {
  let told: Told = { wanted: 0, fence: 0 }
  let held = false
  let gone = false
  let serial = 0
  let instances: (Omit<PlatformInstance, 'state'> & { state: PlatformInstance['state']; since: number })[] = []
  const listeners = new Set<(told: Told) => void>()
  const timer = setInterval(() => {
    const alive = instances.filter(({ state }) => state === 'starting' || state === 'ready')
    for (let i = alive.length; i < told.wanted; i++) {
      const startedAt = Date.now()
      instances.push({
        id: `instance-${++serial}`,
        state: 'starting',
        startedAt,
        readyAt: null,
        inFlight: 0,
        pid: process.pid,
        since: startedAt,
      })
    }
    for (const one of alive.slice(told.wanted)) Object.assign(one, { state: 'draining', since: Date.now() })
    for (const one of instances) {
      if (one.state === 'starting' && !held && Date.now() - one.since >= 20) {
        Object.assign(one, { state: 'ready', readyAt: Date.now() })
      }
    }
    instances = instances.filter((one) => one.state !== 'draining' || Date.now() - one.since < 20)
  }, 5)
  return {
    instances: () => instances,
    hold: (on: boolean) => {
      held = on
    },
    away: (on: boolean) => {
      gone = on
    },
    close: () => clearInterval(timer),
    port: {
      instances: () => instances,
      told: () => (gone ? null : told),
      onTold(listener: (told: Told) => void) {
        listeners.add(listener)
        return { cancel: () => void listeners.delete(listener) }
      },
      send(wish: Told) {
        if (gone) return
        if (wish.fence >= told.fence) told = wish
        setTimeout(() => {
          for (const listener of listeners) listener(told)
        }, 1)
      },
    },
  }
}

testDriver('platform', async () => {
  const front = frontOf()
  return {
    driver: async () => platformDriver(front.port, scheduler),
    ready: async () => front.instances().filter(({ state }) => state === 'ready').length,
    holdStarts: () => front.hold(true),
    letReady: () => front.hold(false),
    breakIt: () => front.away(true),
    mend: () => front.away(false),
    remove: async () => front.close(),
  }
})

test('platform: front that was never told keeps a number of its own, which nobody wanted', async () => {
  const front = frontOf()
  try {
    expect((await platformDriver(front.port, scheduler).observe()).wanted).toBeNull()
  } finally {
    front.close()
  }
})

test('platform: what an instance uses is measured from its process', async () => {
  const front = frontOf()
  try {
    const clock = fakeClock(0)
    const driver = platformDriver(front.port, { ...scheduler, clock })
    const scaled = driver.scale(1, 1)
    await until(driver, ({ ready }) => ready === 1)
    await scaled
    for (const end = performance.now() + 100; performance.now() < end; ) Math.random()
    clock.advance(10_000)
    const { instances } = await driver.observe()
    const used = process.cpuUsage()
    const most = (used.user + used.system) / 10_000 / 10 // all of its time, within these ten seconds, in per cent
    expect(instances[0]!.cpu).toBeGreaterThan(0)
    expect(instances[0]!.cpu).toBeLessThanOrEqual(most + 1)
    expect(instances[0]!.memory).toBeGreaterThan(1e6)
  } finally {
    front.close()
  }
})

// --------------------------------------------------------------------------------------------------- process

const SERVICE = resolve(import.meta.dirname, '../../../test/support/scaling/service.mjs')

function memoryLedger(): ProcessLedger & { readonly map: Map<string, LedgerRow> } {
  const map = new Map<string, LedgerRow>()
  let wanted: { wanted: number; fence: number } | null = null
  return {
    map,
    wanted: () => wanted,
    setWanted(count, fence) {
      wanted = { wanted: count, fence }
    },
    rows: () => [...map.values()],
    put: (row) => void map.set(row.id, row),
    remove: (id) => void map.delete(id),
  }
}

const settingsOf = (dir: string, more: Partial<ProcessSettings> = {}): ProcessSettings => ({
  command: [process.execPath, SERVICE],
  folder: null,
  environment: {},
  ports: null,
  ready: { path: '/ready', timeoutMs: 1000 },
  checkEveryMs: 100,
  // A machine that is busy with other things starts late; that is not what is tested.
  readyWithinMs: 60_000,
  drain: { path: '/drain', signal: null, lingerMs: 0, withinMs: 20_000 },
  stopWithinMs: 20_000,
  endpointsFile: join(dir, 'endpoints.json'),
  logFolder: join(dir, 'logs'),
  endWithPlatform: false,
  ...more,
})

function processes(more: Partial<ProcessSettings> = {}) {
  const dir = folder()
  const ledger = memoryLedger()
  const gate = join(dir, 'held')
  const place = `test-${dir.split('-').at(-1)}`
  const open = (settings: Partial<ProcessSettings> = {}) =>
    processDriver({
      target: 'web',
      settings: settingsOf(dir, { ...more, ...settings }),
      ledger,
      scheduler,
      log: silentLog,
      environment: { PATH: process.env.PATH ?? '', HELD_BY: gate },
      place,
    })
  const alive = () => [...ledger.map.values()].filter(({ process }) => process && isAlive(process, bootId() ?? ''))
  const endpoints = () => JSON.parse(readFileSync(join(dir, 'endpoints.json'), 'utf8')) as { targets: string[] }[]
  return {
    dir,
    gate,
    place,
    ledger,
    open,
    alive,
    endpoints,
    async ready() {
      const checks = alive().map(({ port }) =>
        fetch(`http://127.0.0.1:${port}/ready`).then(
          (r) => r.ok,
          () => false,
        ),
      )
      return (await Promise.all(checks)).filter(Boolean).length
    },
    async remove() {
      for (const { process: name } of alive()) process.kill(-name!.pid, 'SIGKILL')
    },
  }
}

testDriver('process', async () => {
  const world = processes()
  return {
    driver: async () => world.open(),
    ready: world.ready,
    holdStarts: () => writeFileSync(world.gate, ''),
    letReady: () => rmSync(world.gate),
    remove: world.remove,
  } satisfies Provider
}, ['breaking'])

describe('process', () => {
  const worlds: ReturnType<typeof processes>[] = []
  const drivers: Driver[] = []
  const world = (more: Partial<ProcessSettings> = {}) => {
    const made = processes(more)
    worlds.push(made)
    return made
  }
  const opened = (driver: Driver) => {
    drivers.push(driver)
    return driver
  }
  afterEach(async () => {
    for (const driver of drivers.splice(0)) await driver.close()
    for (const made of worlds.splice(0)) await made.remove()
  })

  test('keeps the addresses of what is ready in a file that balancers and scrapers read', async () => {
    const { open, endpoints, ledger } = world()
    const driver = opened(open())
    await driver.scale(2, 1)
    await settled(driver, 2)
    const ports = [...ledger.map.values()].map(({ port }) => `127.0.0.1:${port}`).sort()
    expect(
      endpoints()
        .flatMap(({ targets }) => targets)
        .sort(),
    ).toEqual(ports)
    await driver.scale(0, 1)
    await until(driver, ({ ready }) => ready === 0)
    expect(endpoints()).toEqual([])
    await settled(driver, 0)
  })

  test('drains: the request under way is answered, then the process ends', async () => {
    const { open, ledger } = world({ environment: { SERVICE_MS: '3000' } })
    const driver = opened(open())
    await driver.scale(1, 1)
    await settled(driver, 1)
    const [row] = [...ledger.map.values()]
    const answer = fetch(`http://127.0.0.1:${row!.port}/work`)
    await vi.waitFor(async () => {
      const stats = await fetch(`http://127.0.0.1:${row!.port}/stats`)
      expect(await stats.json()).toMatchObject({ busy: 1 })
    }, 30_000)
    await driver.scale(0, 1)
    expect(await (await answer).text()).toBe('done\n')
    await settled(driver, 0)
    expect(isAlive(row!.process!, bootId()!)).toBe(false)
  })

  test('an instance that is killed is replaced', async () => {
    const { open, ledger } = world()
    const driver = opened(open())
    await driver.scale(2, 1)
    await settled(driver, 2)
    const victim = [...ledger.map.values()][0]!
    process.kill(victim.process!.pid, 'SIGKILL')
    await until(driver, ({ instances }) => !instances.some(({ id }) => id === victim.id))
    await settled(driver, 2)
  })

  test('a crash loop backs off and is said', async () => {
    const { open } = world({ environment: { FAIL: '1' } })
    const driver = opened(open())
    await driver.scale(1, 1)
    const waits = ({ instances }: Observed) => instances.some(({ state }) => state === 'backing_off')
    const seen = await until(driver, (now) => now.trouble !== null && waits(now))
    expect(seen.trouble).toMatch(/end soon after their start/)
    expect(seen.ready).toBe(0)
    await driver.scale(0, 1)
    await until(driver, ({ trouble, starting }) => trouble === null && starting === 0)
  })

  test('a command that is not there is a crash loop too', async () => {
    const { open } = world({ command: ['/nowhere/at-all'] })
    const driver = opened(open())
    await driver.scale(1, 1)
    await until(driver, ({ trouble }) => trouble !== null)
  })

  test('a process that was spawned but not written down is adopted by its mark', async () => {
    const { open, ledger } = world()
    const first = open()
    await first.scale(1, 1)
    await settled(first, 1)
    await first.close()
    const [row] = [...ledger.map.values()]
    ledger.put({ ...row!, process: null, readyAt: null })
    const second = opened(open())
    const seen = await settled(second, 1)
    expect(seen.instances[0]!.id).toBe(row!.id)
    expect([...ledger.map.values()][0]!.process).toEqual(row!.process)
  })

  test('a process that the ledger does not know is ended, nothing else of that name is', async () => {
    const { open, ledger } = world()
    const first = open()
    await first.scale(2, 1)
    await settled(first, 2)
    await first.close()
    const [lost, kept] = [...ledger.map.values()]
    ledger.remove(lost!.id)
    ledger.setWanted(1, 2)
    const second = opened(open())
    await settled(second, 1)
    await vi.waitFor(() => expect(isAlive(lost!.process!, bootId()!)).toBe(false), 60_000)
    expect(isAlive(kept!.process!, bootId()!)).toBe(true)
  })

  test('a number that was given anew is another process', () => {
    const own = nameOf(process.pid, bootId()!)!
    expect(isAlive(own, bootId()!)).toBe(true)
    expect(isAlive({ ...own, startTicks: own.startTicks + 1 }, bootId()!)).toBe(false)
    expect(isAlive({ ...own, boot: 'another' }, bootId()!)).toBe(false)
  })

  test('told to, it ends its instances with itself', async () => {
    const { open, alive } = world({ endWithPlatform: true })
    const driver = open()
    await driver.scale(2, 1)
    await settled(driver, 2)
    await driver.close()
    expect(alive()).toEqual([])
  })

  test('one that never gets ready is replaced, and its process does not stay', async () => {
    const { open, gate, alive } = world({ readyWithinMs: 500 })
    writeFileSync(gate, '')
    const driver = opened(open())
    await driver.scale(1, 1)
    const first = (await until(driver, ({ starting }) => starting === 1)).instances[0]!.id
    await until(driver, ({ instances }) => !instances.some(({ id }) => id === first))
    expect(alive().every(({ id }) => id !== first)).toBe(true)
    rmSync(gate)
    await settled(driver, 1)
  })
})

// ------------------------------------------------------------------------------------------------ kubernetes

const base64 = (text: string) => Buffer.from(text).toString('base64')

const trusting = (server: ApiServer) => ({ 'certificate-authority-data': base64(server.ca) })
const certified = ({ client }: ApiServer) => ({
  'client-certificate-data': base64(client.cert),
  'client-key-data': base64(client.key),
})

function broken(): string {
  const path = join(folder(), 'kubeconfig')
  writeFileSync(path, 'clusters: [\n  {')
  return path
}

function kubeconfig(server: ApiServer, cluster: object = trusting(server), user: object = { token: server.token }) {
  const path = join(folder(), 'kubeconfig')
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'c', cluster: { server: server.url, ...cluster } }],
    users: [{ name: 'u', user }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u', namespace: 'shop' } }],
    'current-context': 'x',
  }
  writeFileSync(path, JSON.stringify(config))
  return path
}

const kubernetesSettings = (server: ApiServer, more: Partial<KubernetesSettings> = {}): KubernetesSettings => ({
  object: 'deployment',
  name: 'web',
  namespace: null,
  kubeconfig: kubeconfig(server),
  context: null,
  timeoutMs: 2_000,
  ...more,
})

const kubernetesOf = (server: ApiServer, more: Partial<KubernetesSettings> = {}) =>
  kubernetesDriver({ target: 'web', settings: kubernetesSettings(server, more), scheduler, log: silentLog })

for (const object of ['deployment', 'statefulset'] as const) {
  testDriver(
    `kubernetes, ${object}`,
    async () => {
      const server = await startApiServer()
      return {
        driver: async () => kubernetesOf(server, { object, timeoutMs: 1_500 }),
        ready: async () => server.readyPods(object),
        holdStarts: () => {
          server.holdStarts = true
        },
        letReady: () => {
          server.holdStarts = false
        },
        breakIt: () => {
          server.silent = true
        },
        mend: () => {
          server.silent = false
        },
        remove: () => server.close(),
      }
    },
    // The API server keeps no token of ours: resource versions keep two writers apart, the ledger of control the owners.
    ['fence of others'],
  )
}

describe('kubernetes', () => {
  let server: ApiServer
  const made: ApiServer[] = []
  const serve = async (options: Parameters<typeof startApiServer>[0] = {}) => {
    server = await startApiServer(options)
    made.push(server)
    return server
  }
  afterEach(async () => {
    for (const one of made.splice(0)) await one.close()
  })

  test('somebody else writes in between: the step is taken anew from what is there', async () => {
    await serve()
    let times = 0
    server.beforePut = () => {
      if (++times <= 3) server.objects.deployment.version++
    }
    const driver = kubernetesOf(server)
    await driver.scale(3, 1)
    expect(times).toBe(4)
    expect(server.objects.deployment.replicas).toBe(3)
  })

  test('changed by others at every try, it gives up with a sentence', async () => {
    await serve()
    server.beforePut = () => {
      server.objects.deployment.version++
    }
    await expect(kubernetesOf(server).scale(3, 1)).rejects.toThrow(/changed by others.*409/)
  })

  test.each([
    [403, /forbids to get deployments \(403\): see scaling-rbac/],
    [404, /there is no Deployment web in its namespace shop/],
  ])('%i is said and not tried again', async (status, sentence) => {
    await serve()
    const message = 'deployments.apps "web" is forbidden: User "x" cannot get resource "deployments"'
    server.failures.push({ status, message })
    await expect(kubernetesOf(server).observe()).rejects.toThrow(sentence)
    expect(server.requests.length).toBe(1)
  })

  test.each([429, 500, 503])('%i is waited for as the server asks', async (status) => {
    await serve()
    server.failures.push({ status, retryAfter: '0' }, { status, retryAfter: '0' })
    await kubernetesOf(server).scale(2, 1)
    expect(server.objects.deployment.replicas).toBe(2)
  })

  test.each([
    [403, 'admission webhook "size.example.org" denied the request: no more than 2', /forbids .*denied the request/],
    [422, 'Scale.autoscaling "web" is invalid: spec.replicas', /answered 422 .*is invalid/],
  ])('%i with a reason of its own is said in the words of the server', async (status, message, sentence) => {
    await serve()
    const driver = kubernetesOf(server)
    await driver.observe()
    server.failures.push({ status, message })
    await expect(driver.scale(3, 1)).rejects.toThrow(sentence)
  })

  test('without a controller what is wanted is stored: nothing is ready, and nothing is starting', async () => {
    await serve()
    server.bare = true
    const driver = kubernetesOf(server)
    await driver.scale(3, 1)
    expect(await driver.observe()).toMatchObject({ ready: 0, starting: 0, draining: 0, wanted: 3, instances: [] })
  })

  test('pods that cannot start are said, until they can', async () => {
    await serve()
    server.holdStarts = true
    server.waiting = 'ImagePullBackOff'
    const driver = kubernetesOf(server)
    await driver.scale(2, 1)
    const seen = await until(driver, ({ instances, starting }) => instances.length === 2 && starting === 2)
    expect(seen.trouble).toBe('2 of 2 pods of the Deployment web cannot start: ImagePullBackOff')
    expect(seen).toMatchObject({ ready: 0, starting: 2 })
    server.waiting = 'ContainerCreating'
    expect((await driver.observe()).trouble).toBeNull()
    server.waiting = null
    server.holdStarts = false
    expect((await settled(driver, 2)).trouble).toBeNull()
  })

  test('pods that are not even made are said in the words of the controller', async () => {
    await serve()
    server.bare = true
    server.conditions.push({ type: 'ReplicaFailure', status: 'True', message: 'exceeded quota: small' })
    const driver = kubernetesOf(server)
    await driver.scale(2, 1)
    expect((await driver.observe()).trouble).toMatch(/gets no pods: exceeded quota/)
  })

  test('a longer pause than a cycle can wait is an error', async () => {
    await serve()
    server.failures.push({ status: 429, retryAfter: '30' })
    await expect(kubernetesOf(server).observe()).rejects.toThrow(/asks to wait/)
  })

  test('a server that never answers is given up', async () => {
    await serve()
    server.silent = true
    await expect(kubernetesOf(server, { timeoutMs: 100 }).observe()).rejects.toThrow(/no answer .* within 0.1 s/)
  })

  test('without the right to see pods and autoscalers it still scales', async () => {
    await serve()
    server.forbidden.add('GET pods').add('GET horizontalpodautoscalers')
    const driver = kubernetesOf(server)
    await driver.scale(2, 1)
    const seen = await settled(driver, 2)
    expect(seen).toMatchObject({ instances: [], conflict: null })
  })

  test.each([
    ['web-hpa', {}, /HorizontalPodAutoscaler web-hpa also scales the Deployment web/],
    ['keda-hpa-web', { 'app.kubernetes.io/managed-by': 'keda-operator' }, /made by KEDA/],
  ])('the autoscaler %s on the same object is said', async (name, labels, sentence) => {
    await serve()
    server.autoscalers.push(
      { metadata: { name: 'other' }, spec: { maxReplicas: 3, scaleTargetRef: { kind: 'Deployment', name: 'other' } } },
      { metadata: { name, labels }, spec: { maxReplicas: 3, scaleTargetRef: { kind: 'Deployment', name: 'web' } } },
    )
    expect((await kubernetesOf(server).observe()).conflict).toMatch(sentence)
  })

  test('an autoscaler that was seen still counts while the list of autoscalers gives nothing', async () => {
    await serve()
    server.autoscalers.push({
      metadata: { name: 'hpa' },
      spec: { maxReplicas: 3, scaleTargetRef: { kind: 'Deployment', name: 'web' } },
    })
    let passed = 0
    const later = { ...scheduler, clock: { ...scheduler.clock, monotonic: () => scheduler.clock.monotonic() + passed } }
    const settings = kubernetesSettings(server)
    const driver = kubernetesDriver({ target: 'web', settings, scheduler: later, log: silentLog })
    expect((await driver.observe()).conflict).toMatch(/hpa/)
    passed = 120_000
    server.forbidden.add('GET horizontalpodautoscalers')
    expect((await driver.observe()).conflict).toMatch(/hpa/)
    passed = 240_000
    server.forbidden.clear()
    server.autoscalers.length = 0
    expect((await driver.observe()).conflict).toBeNull()
  })

  test('does not make a connection for every call', async () => {
    await serve()
    const driver = kubernetesOf(server)
    for (let i = 0; i < 10; i++) await driver.observe()
    expect(server.requests.length).toBeGreaterThanOrEqual(20)
    // Pods and autoscalers are asked for side by side.
    expect(server.connections).toBeLessThanOrEqual(4)
  })

  test.each([
    ['a certificate of the client', (one: ApiServer) => ({ cluster: trusting(one), user: certified(one) })],
    [
      'a server that is not checked',
      (one: ApiServer) => ({ cluster: { 'insecure-skip-tls-verify': true }, user: { token: one.token } }),
    ],
  ])('a kubeconfig with %s', async (_, partsOf) => {
    await serve()
    const { cluster, user } = partsOf(server)
    const driver = kubernetesOf(server, { kubeconfig: kubeconfig(server, cluster, user) })
    await driver.scale(2, 1)
    expect((await driver.observe()).wanted).toBe(2)
    expect(server.objects.deployment.replicas).toBe(2)
  })

  test.each([
    ['that is not there', () => '/nowhere/kubeconfig', /no way to Kubernetes: .*ENOENT/],
    ['that is no YAML', () => broken(), /no way to Kubernetes/],
  ])('a kubeconfig %s is said in a sentence', async (_, path, sentence) => {
    await serve()
    await expect(kubernetesOf(server, { kubeconfig: path() }).observe()).rejects.toThrow(sentence)
    await expect(kubernetesOf(server, { kubeconfig: path() }).observe()).rejects.toThrow(/^[^\n]{10,300}$/)
  })

  test('a server without TLS, as `kubectl proxy` is one', async () => {
    await serve({ tls: false })
    await kubernetesOf(server, { kubeconfig: kubeconfig(server, {}, { token: server.token }) }).scale(2, 1)
    expect(server.objects.deployment.replicas).toBe(2)
  })

  test('an address that ends with a slash', async () => {
    await serve()
    const path = kubeconfig(server, { ...trusting(server), server: `${server.url}/` })
    await kubernetesOf(server, { kubeconfig: path }).scale(2, 1)
    expect(server.requests.map(({ path: asked }) => asked)).not.toContainEqual(expect.stringMatching(/^\/\//))
    expect(server.objects.deployment.replicas).toBe(2)
  })

  test('a kubeconfig that names a file of the token, which is rotated', async () => {
    await serve()
    const path = kubeconfig(server, trusting(server), { token: 'an old one', tokenFile: 'token' })
    const token = join(dirname(path), 'token')
    writeFileSync(token, `${server.token}\n`)
    const driver = kubernetesOf(server, { kubeconfig: path })
    await driver.scale(1, 1)
    server.token = 'second-token'
    writeFileSync(token, `${server.token}\n`)
    await driver.scale(2, 1)
    expect(server.objects.deployment.replicas).toBe(2)
  })

  test('a server that moved: the kubeconfig is read anew', async () => {
    const first = await serve()
    const second = await serve()
    const path = kubeconfig(first)
    const driver = kubernetesOf(first, { kubeconfig: path })
    await driver.observe()
    await first.close()
    made.splice(made.indexOf(first), 1)
    writeFileSync(path, readFileSync(kubeconfig(second), 'utf8'))
    await expect(driver.observe()).rejects.toThrow(/cannot be asked/)
    await driver.scale(2, 1)
    expect(second.objects.deployment.replicas).toBe(2)
  })

  describe('a plug-in that hands out credentials', () => {
    /** `plug-in` beside the kubeconfig, a shell script. */
    function pluginOf(script: string): { path: string; file: (name: string) => string } {
      const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: './plug-in', interactiveMode: 'Never' }
      const path = kubeconfig(server, trusting(server), { exec })
      const file = (name: string) => join(dirname(path), name)
      writeFileSync(file('plug-in'), `#!/bin/sh\n${script.replaceAll('HERE', dirname(path))}\n`)
      chmodSync(file('plug-in'), 0o755)
      return { path, file }
    }
    const credential = (token: string) =>
      JSON.stringify({ apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential', status: { token } })

    test('is asked, and asked anew when the token is not good any more', async () => {
      await serve()
      const { path, file } = pluginOf('[ -n "$KUBERNETES_EXEC_INFO" ] || exit 1\ncat HERE/credential')
      writeFileSync(file('credential'), credential(server.token))
      const driver = kubernetesOf(server, { kubeconfig: path })
      await driver.scale(1, 1)
      server.token = 'second-token'
      writeFileSync(file('credential'), credential(server.token))
      await driver.scale(2, 1)
      expect(server.objects.deployment.replicas).toBe(2)
    })

    test('that never ends is ended', async () => {
      await serve()
      const { path, file } = pluginOf('echo $$ > HERE/pid\nexec sleep 300')
      const driver = kubernetesOf(server, { kubeconfig: path, timeoutMs: 3_000 })
      await expect(driver.observe()).rejects.toThrow(/no way to Kubernetes/)
      await vi.waitFor(
        () => expect(existsSync(`/proc/${readFileSync(file('pid'), 'utf8').trim()}`)).toBe(false),
        10_000,
      )
    })

    test.each([
      ['fails', 'echo "log in first" >&2; exit 3', /no way to Kubernetes: log in first/],
      ['says nothing of use', 'echo hello', /no way to Kubernetes/],
    ])('that %s is said in a sentence', async (_, script, sentence) => {
      await serve()
      const driver = kubernetesOf(server, { kubeconfig: pluginOf(script).path })
      await expect(driver.observe()).rejects.toThrow(sentence)
    })

    test('that is not there is said in a sentence', async () => {
      await serve()
      const path = kubeconfig(server, trusting(server), { exec: { command: 'no-such-plug-in' } })
      await expect(kubernetesOf(server, { kubeconfig: path }).observe()).rejects.toThrow(/no-such-plug-in ENOENT/)
    })
  })

  test('sends no more than the scale, as JSON', async () => {
    await serve()
    await kubernetesOf(server).scale(1, 1)
    const puts = server.requests.filter(({ method }) => method === 'PUT')
    expect(puts).toEqual([
      {
        method: 'PUT',
        path: '/apis/apps/v1/namespaces/shop/deployments/web/scale',
        contentType: expect.stringMatching(/^application\/json/),
      },
    ])
  })

  test('in a pod: the account of the pod, whose token is rotated under it', async () => {
    await serve()
    const root = folder()
    const account = join(root, 'var/run/secrets/kubernetes.io/serviceaccount')
    mkdirSync(account, { recursive: true })
    writeFileSync(join(account, 'ca.crt'), server.ca)
    writeFileSync(join(account, 'token'), server.token)
    writeFileSync(join(account, 'namespace'), 'shop')
    const before = { host: process.env.KUBERNETES_SERVICE_HOST, port: process.env.KUBERNETES_SERVICE_PORT }
    process.env.KUBERNETES_SERVICE_HOST = '127.0.0.1'
    process.env.KUBERNETES_SERVICE_PORT = String(server.port)
    try {
      const settings = kubernetesSettings(server, { kubeconfig: null })
      const driver = kubernetesDriver({ target: 'web', settings, scheduler, log: silentLog, root })
      await driver.scale(1, 1)
      server.token = 'second-token'
      writeFileSync(join(account, 'token'), server.token)
      await driver.scale(2, 1)
      expect(server.objects.deployment.replicas).toBe(2)
    } finally {
      for (const [name, value] of [
        ['HOST', before.host],
        ['PORT', before.port],
      ] as const) {
        if (value === undefined) delete process.env[`KUBERNETES_SERVICE_${name}`]
        else process.env[`KUBERNETES_SERVICE_${name}`] = value
      }
    }
  })

  test('selectors as a list takes them', () => {
    const expressions = [
      { key: 'tier', operator: 'In', values: ['a', 'b'] },
      { key: 'old', operator: 'DoesNotExist' },
      { key: 'env', operator: 'NotIn', values: ['dev'] },
      { key: 'x', operator: 'Exists' },
    ]
    expect(selectorOf({ app: 'web' }, expressions)).toBe('app=web,tier in (a,b),!old,env notin (dev),x')
  })
})

// --------------------------------------------------------------------------------------------------- webhook

const SECRET = 'shared'

async function receiver() {
  let wanted = 0
  let ready = 0
  let fence = 0
  let held = false
  let broken = false
  const answers: { raw: string | null } = { raw: null }
  const timer = setInterval(() => {
    if (ready > wanted) ready--
    else if (ready < wanted && !held) ready++
  }, 10)
  const requests: { method: string; body: string; signature: string | undefined }[] = []
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const signature = request.headers['x-signature'] as string | undefined
    requests.push({ method: request.method!, body, signature })
    const [, t, v1] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(signature ?? '') ?? []
    const right = createHmac('sha256', SECRET).update(`${t}.${body}`).digest('hex')
    if (broken) return void response.writeHead(500).end()
    if (v1 !== right) return void response.writeHead(401).end()
    if (request.method === 'GET') {
      const draining = Math.max(0, ready - wanted)
      const text =
        answers.raw ?? JSON.stringify({ current: Math.min(ready, Math.max(wanted, ready)), wanted, draining })
      return void response.writeHead(200, { 'content-type': 'application/json' }).end(text)
    }
    const sent = JSON.parse(body) as { wanted: number; fence: number }
    if (sent.fence < fence) return void response.writeHead(409).end()
    fence = sent.fence
    wanted = sent.wanted
    return void response.writeHead(204).end()
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as { port: number }
  const http = createHttpClient(
    addressGuard(() => ['127.0.0.1']),
    scheduler,
  )
  const settings = { target: 'workers', url: `http://127.0.0.1:${port}/scale`, timeoutMs: 1_000 }
  return {
    requests,
    answers,
    settings,
    driver: () => webhookDriver(settings, http, () => SECRET, scheduler),
    provider: {
      driver: async () => webhookDriver(settings, http, () => SECRET, scheduler),
      ready: async () => ready,
      holdStarts: () => {
        held = true
      },
      letReady: () => {
        held = false
      },
      breakIt: () => {
        broken = true
      },
      mend: () => {
        broken = false
      },
      async remove() {
        clearInterval(timer)
        http.close()
        server.closeAllConnections()
        await new Promise((done) => server.close(done))
      },
    } satisfies Provider,
  }
}

testDriver('webhook', async () => (await receiver()).provider, ['instances'])

describe('webhook', () => {
  test.each([
    ['no JSON', 'current: 3', /not JSON/],
    ['no object', '3', /no object/],
    ['no count', '{"wanted":3}', /without "current"/],
    ['a count below 0', '{"current":-1}', /not a count/],
    ['a count that is text', '{"current":"3"}', /not a count/],
    ['a count out of this world', '{"current":1e12}', /not a count/],
  ])('an answer with %s is an error in a sentence', async (_, raw, sentence) => {
    const { driver, answers, provider } = await receiver()
    try {
      answers.raw = raw
      await expect(driver().observe()).rejects.toThrow(sentence)
    } finally {
      await provider.remove()
    }
  })

  test('tells its instances when the other side lists them', async () => {
    const { driver, answers, provider } = await receiver()
    try {
      const instances = [
        { id: 'a', state: 'ready', ready_at: '2026-01-05T09:41:02.000Z' },
        { id: 'b', state: 'odd' },
        7,
      ]
      answers.raw = JSON.stringify({ current: 1, instances })
      const seen = await driver().observe()
      expect(seen.instances).toMatchObject([{ id: 'a', state: 'ready', readyAt: Date.UTC(2026, 0, 5, 9, 41, 2) }])
    } finally {
      await provider.remove()
    }
  })

  test('an internal address that is not allowed is not spoken to', async () => {
    const { settings, requests, provider } = await receiver()
    const http = createHttpClient(
      addressGuard(() => [], undefined, 'scaling.allow_networks'),
      scheduler,
    )
    try {
      const driver = webhookDriver(settings, http, () => SECRET, scheduler)
      await expect(driver.observe()).rejects.toThrow(/internal network, and scaling.allow_networks/)
      await expect(driver.scale(1, 1)).rejects.toThrow(/internal network/)
      expect(requests).toEqual([])
    } finally {
      http.close()
      await provider.remove()
    }
  })
})
