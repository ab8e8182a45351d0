import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { silentLog } from '../../base/log.ts'
import { type FakeScheduler, fakeScheduler } from '../../base/scheduler.ts'
import { MINUTE, SECOND } from '../../base/time.ts'
import type { Evaluated, Labels } from '../../metrics/index.ts'
import type { Change, StoredWatch } from '../wire.ts'
import { RuleFiles } from './files.ts'
import { complete, type RuleDraft } from './rules.ts'
import { type Oracles, TimedRules } from './timed.ts'

const draft: RuleDraft = { id: 'r', name: 'R', description: '', severity: 'warning', cooldownMs: 0 }
const of = (host: string): Labels => [['host', host]]

let scheduler: FakeScheduler
beforeEach(() => {
  scheduler = fakeScheduler()
})

/** Runs a rule over answers, one evaluation each; answers what was told of which host. */
function running(rule: Partial<RuleDraft>, oracles: Partial<Oracles>) {
  const told: string[] = []
  const said: Change['annotations'][] = []
  const stored = new Map<string, StoredWatch>()
  const world = { failing: false, active: true }
  const timed = new TimedRules({
    oracles: { evaluate: async () => vector([]), selectors: async () => [], ...oracles },
    scheduler,
    log: silentLog,
    intervalMs: () => 30 * SECOND,
    active: () => world.active,
    watchesOf: () => [...stored.values()],
    apply(changes: readonly Change[]) {
      if (world.failing) throw new Error('the disk is full')
      for (const { rule: id, key, labels, generation, watch, deeds, annotations } of changes) {
        said.push(annotations)
        stored.set(key, { rule: id, key, labels, generation, watch })
        told.push(...deeds.map((deed) => `${labels.at(-1)?.[1]} ${deed.kind} ${deed.why}`))
      }
    },
    onEvaluated: () => {},
  })
  timed.setRule('r', complete({ ...draft, ...rule }, 0))
  return { timed, told, said, world, stored }
}

const vector = (hosts: readonly string[], value = 1): Evaluated => ({
  kind: 'vector',
  warnings: [],
  series: hosts.map((host) => ({ labels: of(host), times: Float64Array.of(0), values: Float64Array.of(value) })),
})

describe('expressions', () => {
  const expr = { source: { kind: 'expr', expr: 'up == 0' } } as const

  test('fire for each series of the answer, and end with it', async () => {
    let answer = ['a', 'b']
    let alive = ['a', 'b']
    const { told } = running(expr, {
      evaluate: async (text) => vector(text === 'up' ? alive : answer, 0),
      selectors: async () => ['up'],
    })
    await scheduler.run(5 * MINUTE)
    expect(told).toEqual(['a opened breach', 'b opened breach'])
    answer = ['b']
    await scheduler.run(MINUTE)
    expect(told.slice(2)).toEqual(['a closed recovered'])
    // The samples behind it have stopped: that says nothing about b.
    answer = []
    alive = ['a']
    await scheduler.run(10 * MINUTE)
    expect(told.length).toBe(3)
    alive = ['a', 'b']
    await scheduler.run(MINUTE)
    expect(told.slice(3)).toEqual(['b closed recovered'])
  })

  test('are evaluated as often as their group says, and no more seldom than all', async () => {
    const asked = { often: 0, seldom: 0 }
    const evaluate = async (text: string) => {
      asked[text as keyof typeof asked]++
      return vector([])
    }
    running({ source: { kind: 'expr', expr: 'often', everyMs: 5000 } }, { evaluate })
    running({ source: { kind: 'expr', expr: 'seldom', everyMs: 10 * MINUTE } }, { evaluate })
    await scheduler.run(5 * MINUTE)
    expect(asked).toEqual({ often: 60, seldom: 10 })
  })

  test('open with annotations whose queries are answered', async () => {
    const summary = '{{ $labels.host }} of {{ query "hosts" | first | value }}, {{ query "nothing" | len }}'
    const { said } = running(
      { ...expr, annotations: { summary } },
      {
        async evaluate(text) {
          if (text === 'nothing') throw new Error('cannot be asked')
          return text === 'hosts' ? vector(['x'], 12) : vector(['a'], 0)
        },
      },
    )
    await scheduler.run(SECOND)
    expect(said).toEqual([{ summary: 'a of 12, 0' }])
  })

  test('with no_data resolve the answer alone counts', async () => {
    let answer = ['a']
    const { told } = running(
      { ...expr, noData: 'resolve' },
      {
        evaluate: async (text) => vector(text === 'up' ? [] : answer),
        selectors: async () => ['up'],
      },
    )
    await scheduler.run(5 * MINUTE)
    answer = []
    await scheduler.run(MINUTE)
    expect(told).toEqual(['a opened breach', 'a closed recovered'])
  })

  test('`for` and `keep_firing_for` hold, by evaluations', async () => {
    let answer = ['a']
    const { told } = running(
      { ...expr, forMs: 2 * MINUTE, recoverForMs: 3 * MINUTE },
      {
        evaluate: async (text) => vector(text === 'up' ? ['a'] : answer),
        selectors: async () => ['up'],
      },
    )
    await scheduler.run(MINUTE + 50 * SECOND)
    expect(told).toEqual([])
    await scheduler.run(MINUTE)
    expect(told).toEqual(['a opened breach'])
    answer = []
    await scheduler.run(3 * MINUTE)
    expect(told.length).toBe(1)
    await scheduler.run(MINUTE)
    expect(told[1]).toBe('a closed recovered')
  })

  test('nothing clears in the first minutes after a start', async () => {
    const { told, stored, timed } = running(expr, { evaluate: async () => vector(['a']) })
    await scheduler.run(MINUTE)
    timed.stop()
    expect(told).toEqual(['a opened breach'])
    const later = running(expr, { evaluate: async () => vector([]) })
    for (const [key, watch] of stored) later.stored.set(key, watch)
    later.timed.setRule('r', complete({ ...draft, ...expr }, 0))
    await scheduler.run(MINUTE)
    expect(later.told).toEqual([])
    await scheduler.run(3 * MINUTE)
    expect(later.told).toEqual(['a closed recovered'])
  })

  test('an evaluation that fails, or cannot be written, moves nothing and is made good', async () => {
    let broken = true
    const { told, world, timed } = running(expr, {
      async evaluate() {
        if (broken) throw new Error('too many samples')
        return vector(['a'])
      },
    })
    await scheduler.run(MINUTE)
    expect(timed.health('r')).toMatchObject({ lastError: 'too many samples' })
    broken = false
    world.failing = true
    await scheduler.run(MINUTE)
    expect(told).toEqual([])
    world.failing = false
    await scheduler.run(MINUTE)
    expect(told).toEqual(['a opened breach'])
    expect(timed.health('r')).toMatchObject({ lastError: null })
  })

  test('switched off nothing is evaluated', async () => {
    const { told, world } = running(expr, { evaluate: async () => vector(['a']) })
    world.active = false
    await scheduler.run(10 * MINUTE)
    expect(told).toEqual([])
  })
})

test('a rule whose query takes long holds up no other, and rests as long as it took', async () => {
  const asked: string[] = []
  const slow = Promise.withResolvers<Evaluated>()
  const evaluate = (text: string) => {
    asked.push(text)
    return text === 'slow' ? slow.promise : Promise.resolve(vector(['a']))
  }
  const { timed, told } = running({ source: { kind: 'expr', expr: 'slow' } }, { evaluate })
  timed.setRule('r2', complete({ ...draft, id: 'r2', source: { kind: 'expr', expr: 'fast' } }, 0))
  await scheduler.run(3 * MINUTE)
  expect(asked.filter((text) => text === 'slow').length).toBe(1)
  expect(asked.filter((text) => text === 'fast').length).toBe(6)
  expect(told).toEqual(['a opened breach'])
  slow.resolve(vector([]))
  await scheduler.run(2 * MINUTE)
  expect(asked.filter((text) => text === 'slow').length).toBe(1)
  await scheduler.run(2 * MINUTE)
  expect(asked.filter((text) => text === 'slow').length).toBeGreaterThan(1)
})

test('anomalies fire from a score of one half on, and end when they are over', async () => {
  let scores = [
    { labels: of('a'), score: 0.4 },
    { labels: of('b'), score: 0.5 },
  ]
  const { told } = running({ source: { kind: 'anomaly' }, metricName: 'm' }, { anomalies: async () => scores })
  await scheduler.run(MINUTE)
  expect(told).toEqual(['b opened breach'])
  scores = []
  await scheduler.run(4 * MINUTE)
  expect(told[1]).toBe('b closed recovered')
})

test.each([
  ['gt', 81, 120, true, true],
  ['gt', 79, 120, true, false],
  ['gt', 81, 120, false, false],
  ['lt', 10, 79, true, true],
  ['lt', 10, 81, true, false],
] as const)(
  'a forecast fires by its near edge: %s 80 at [%d, %d], earned %s: %s',
  async (condition, lower, upper, earned, fires) => {
    const rule = {
      source: { kind: 'forecast', horizonMinutes: 30 },
      metricName: 'm',
      threshold: 80,
      condition,
    } as const
    const { told } = running(rule, { forecasts: async () => [{ labels: of('a'), lower, upper, earned }] })
    await scheduler.run(MINUTE)
    expect(told).toEqual(fires ? ['a opened breach'] : [])
  },
)

describe('the folder of rule files', () => {
  let dir: string
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'om-rules-'))
  })
  afterEach(() => rmSync(dir, { recursive: true, force: true }))

  function folder(given: string | null = null) {
    const world = { rules: new Map<string, string>(), given, applied: 0, failing: false }
    const files = new RuleFiles({
      dir,
      scheduler,
      log: silentLog,
      checkExpr: async (expr) => (expr.includes('!') ? 'unexpected character' : null),
      taken: () => ['g_taken'],
      given: () => world.given,
      apply(drafts, kept, remembered) {
        if (world.failing) throw new Error('the disk is full')
        const before = world.rules
        world.rules = new Map(drafts.map((d) => [d.id, (d.source as { expr: string }).expr]))
        for (const id of kept) world.rules.set(id, before.get(id) ?? 'kept')
        world.given = remembered
        world.applied++
      },
    })
    return { files, world }
  }
  let stamp = 1
  const write = (file: string, ...rules: [string, string][]) => {
    const list = rules.map(([alert, expr]) => `{ alert: ${alert}, expr: '${expr}' }`)
    writeFileSync(join(dir, file), `groups: [{ name: g, rules: [${list.join(', ')}] }]`)
    utimesSync(join(dir, file), stamp, stamp++) // also where the clock of files is coarse
  }

  test('is applied when something changes, and only then', async () => {
    const { files, world } = folder()
    await files.look()
    write('a.yaml', ['X', 'up'], ['Taken', 'up'])
    await files.look()
    await files.look()
    expect([...world.rules]).toEqual([
      ['g_x', 'up'],
      ['g_taken_2', 'up'],
    ])
    expect(world.applied).toBe(2)
    write('a.yaml', ['X', 'up == 0'])
    await files.look()
    expect([...world.rules]).toEqual([['g_x', 'up == 0']])
    rmSync(join(dir, 'a.yaml'))
    await files.look()
    expect(world.rules.size).toBe(0)
  })

  test.each([
    ['an expression that cannot be read', () => write('a.yaml', ['X', 'up !'])],
    ['no YAML', () => writeFileSync(join(dir, 'a.yaml'), 'groups: [')],
    ['a misspelt field', () => writeFileSync(join(dir, 'a.yaml'), 'groups: [{ name: g, rulez: [] }]')],
  ])('a file with %s leaves its rules as they were, also over a restart', async (_, spoil) => {
    const first = folder()
    write('a.yaml', ['X', 'up'])
    write('b.yaml', ['Y', 'down'])
    await first.files.look()
    spoil()
    await first.files.look()
    expect(first.files.problems.length).toBe(1)
    expect([...first.world.rules].sort()).toEqual([
      ['g_x', 'up'],
      ['g_y', 'down'],
    ])
    const second = folder(first.world.given)
    second.world.rules = first.world.rules
    await second.files.look()
    expect([...second.world.rules.keys()].sort()).toEqual(['g_x', 'g_y'])
  })

  test('what could not be written is tried again', async () => {
    const { files, world } = folder()
    write('a.yaml', ['X', 'up'])
    world.failing = true
    await files.look()
    expect(files.problems).toMatchObject([{ message: 'the disk is full' }])
    world.failing = false
    await scheduler.run(3 * SECOND)
    await expect.poll(() => world.rules.size).toBe(1)
    expect(files.problems).toEqual([])
  })
})
