import { describe, expect, test } from 'vitest'
import { AppError } from '../base/errors.ts'
import { fakeScheduler } from '../base/scheduler.ts'
import { toIso } from '../base/time.ts'
import type { Ask } from './bound.ts'
import { judge, startBoundMarkets } from './bound.ts'
import type { Envelope } from './commands.ts'
import type { MarketId, MetricBinding } from './model.ts'
import type { MarketView } from './reads.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {}, with: () => silent }
const binding: MetricBinding = { expr: 'max_over_time(p95[5d])', comparison: 'gt', threshold: 200, at: 1_000_000 }
const answer = (...values: number[]) => ({ series: values.map((value) => ({ labels: '', value })) })

describe('what the samples say', () => {
  test.each([
    ['gt', 200.1, 0],
    ['gt', 200, 1],
    ['gte', 200, 0],
    ['lt', 199, 0],
    ['lt', 200, 1],
    ['lte', 200, 0],
    ['gt', Number.POSITIVE_INFINITY, 0],
  ] as const)('%s 200, and it is %d: outcome %d', (comparison, value, outcome) => {
    const { resolution, source } = judge({ ...binding, comparison }, answer(value))
    expect(resolution).toEqual({ kind: 'outcome', outcome })
    expect(source).toContain(`max_over_time(p95[5d]) at ${toIso(1_000_000)}: ${value} is`)
  })

  test.each([
    ['nothing', answer(), 'there are no samples'],
    ['no number', answer(Number.NaN), 'there are no samples'],
    ['several series', answer(1, 2), '2 series answer, one is needed'],
    ['what cannot be read', { unreadable: 'unexpected end' }, 'cannot be evaluated (unexpected end)'],
  ])('%s voids it', (_what, asked, why) => {
    const { resolution, source } = judge(binding, asked)
    expect(resolution).toEqual({ kind: 'void' })
    expect(source).toContain(why)
    expect(judge({ ...binding, expr: 'x'.repeat(5000) }, asked).source.length).toBeLessThanOrEqual(1000)
  })
})

/** The books' part: what is due until it is resolved. */
function world(ask: Ask) {
  const scheduler = fakeScheduler(binding.at)
  const market = { id: 'm1' as MarketId, state: 'closed', binding } as unknown as MarketView & { state: string }
  const commands: string[] = []
  let resolved = false
  const cancel = startBoundMarkets({
    scheduler,
    log: silent,
    ask,
    reads: { bound: async () => (resolved ? [] : [market]) },
    commands: {
      async submit({ command, actor }: Envelope) {
        expect(actor).toEqual({ userId: null, kind: 'system' })
        commands.push(command.type === 'resolve_market' ? JSON.stringify(command.resolution) : command.type)
        if (command.type === 'verify_market') (market as { state: string }).state = 'pending_verification'
        if (command.type === 'resolve_market') resolved = true
        return { ok: true, done: { type: 'market', marketId: market.id, version: 2 } }
      },
    },
  })
  return { scheduler, commands, cancel }
}

describe('a market that is bound', () => {
  test('waits for its last samples, is verified, asked at its own time, and resolved once', async () => {
    const asked: unknown[] = []
    const { scheduler, commands } = world(async (expr, at) => {
      asked.push([expr, at])
      return answer(250)
    })
    await scheduler.run(14_000)
    expect(commands).toEqual([])
    await scheduler.run(60_000)
    expect(commands).toEqual(['verify_market', '{"kind":"outcome","outcome":0}'])
    expect(asked).toEqual([[binding.expr, binding.at]])
  })

  test('is asked again when the samples cannot be read now, and void when they never can', async () => {
    let tries = 0
    const away = world(async () => {
      if (++tries < 4) throw new AppError(503, 'unavailable', 'The store starts.')
      return answer(1)
    })
    await away.scheduler.run(60_000)
    expect(away.commands).toEqual(['verify_market', '{"kind":"outcome","outcome":1}'])
    const never = world(async () => {
      throw new AppError(422, 'query_unreadable', 'unexpected end')
    })
    await never.scheduler.run(60_000)
    expect(never.commands).toEqual(['verify_market', '{"kind":"void"}'])
  })

  test('that takes too long to ask holds up no other, and is void after an hour', async () => {
    const scheduler = fakeScheduler(binding.at)
    const markets = ['heavy', 'light'].map(
      (id) => ({ id, state: 'pending_verification', binding: { ...binding, expr: id } }) as unknown as MarketView,
    )
    const resolved: [string, string][] = []
    startBoundMarkets({
      scheduler,
      log: silent,
      async ask(expr) {
        if (expr === 'heavy') throw new AppError(503, 'query_failed', 'The query took too long.')
        return answer(250)
      },
      reads: { bound: async () => markets.filter(({ id }) => resolved.every(([done]) => done !== id)) },
      commands: {
        async submit({ command }: Envelope) {
          if (command.type !== 'resolve_market') throw new Error(command.type)
          resolved.push([command.marketId, command.resolution.kind])
          return { ok: true, done: { type: 'market', marketId: command.marketId, version: 2 } }
        },
      },
    })
    await scheduler.run(60_000)
    expect(resolved).toEqual([['light', 'outcome']])
    await scheduler.run(3_600_000)
    expect(resolved).toEqual([
      ['light', 'outcome'],
      ['heavy', 'void'],
    ])
  })
})
