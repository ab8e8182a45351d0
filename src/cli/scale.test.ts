/** `engine scale` line by line, and the files that `replay scale` reads. */
import { describe, expect, test } from 'vitest'
import { scaleEngine } from './engine-scale.ts'
import { readHistory, told } from './replay-scale.ts'

describe('lines and files', () => {
  const line = (over: object) =>
    JSON.stringify({ t: 15, instances_ready: 2, instances_starting: 0, metrics: { cpu_usage: 50 }, ...over })
  test('engine scale answers every line, a wrong one in words', () => {
    const engine = scaleEngine()
    expect(engine(line({ config: { min_instances: 3 } }))).toMatchObject({ target: 3 })
    for (const [bad, word] of [
      ['{', 'JSON'],
      ['nonsense', 'JSON'],
      ['[]', 't:'],
      [line({ instances_ready: 1e12 }), 'up to 100000'],
      [line({ t: 'x' }), 't:'],
      [line({ instances_ready: -1 }), 'instances_ready'],
      [line({ config: { slo_ms: 'x' } }), 'slo_ms'],
    ] as const) {
      expect((engine(bad) as { error: string }).error).toContain(word)
    }
    expect(engine(line({ t: 30, metrics: null }))).toMatchObject({ target: 3 })
  })
  test('a replay is told as a table, and how much of what was asked it stands for', () => {
    const totals = (instance_hours: number, cost: number) => {
      return {
        instance_hours,
        minutes_over_threshold: 2,
        slow_requests: 0,
        lost_requests: 0,
        cost,
        actions: 4,
        flaps: 1,
      }
    }
    const answer = {
      since: '2026-01-02T00:00:00.000Z',
      until: '2026-01-03T00:00:00.000Z',
      steps: 1440,
      capacity_per_instance: 91.7,
      instance_hours: 60,
      minutes_over_threshold: 2,
      decisions: [{ at: '2026-01-02T01:00:00.000Z', from: 1, to: 2, trigger: 'reactive', reason: 'From 1 up to 2.' }],
      total_decisions: 4,
      policy: totals(60, 6),
      happened: totals(48, 9),
      happened_steps: 720,
      hpa: totals(70, 7),
      optimum: totals(50, 5),
      step: 60,
      step_seconds: 60,
      start_up_seconds: 30,
      points: [],
    }
    expect(told(answer, false, '2025-12-30T00:00:00Z')).toEqual([
      'The history begins at 2026-01-02T00:00:00.000Z.',
      '2026-01-02T00:00:00.000Z to 2026-01-03T00:00:00.000Z: 24.0 h with a demand, in steps of 60 s',
      'one instance holds 91.7 requests/s and takes 30.0 s to start',
      expect.stringMatching(/instance-hours +min over limit +cost +x optimum/),
      expect.stringMatching(/^policy +60.0 +2.0 +6.00 +1.20 +4 +1$/),
      expect.stringMatching(/^happened +48.0/),
      expect.stringMatching(/^HPA/),
      expect.stringMatching(/^optimum +50.0 +2.0 +5.00 +1.00/),
      'What happened is known for 12.0 h of the 24.0 h, and sums those alone.',
    ])
    expect(told({ ...answer, happened: null, happened_steps: 0 }, true, '')).toEqual(
      expect.arrayContaining([
        '(3 earlier decisions are left out)',
        '2026-01-02T01:00:00.000Z  From 1 up to 2.',
        expect.stringMatching(/^happened +- /),
        'What happened is not known: the history does not hold the count of instances.',
      ]),
    )
  })
  test('a history is read by its header; what is no number is a gap', () => {
    const rows = readHistory('timestamp,rps,cpu\n2026-01-01T00:00:00Z,5,50\n1767225660,,60\n', 'h.csv')
    expect(rows[0]).toMatchObject({ demand: 5, cpu: 50, ready: null })
    expect(rows[1]).toMatchObject({ at: 1_767_225_660_000, demand: null, cpu: 60 })
    expect(() => readHistory('a,b\n1,2', 'h.csv')).toThrow(/columns t and rps/)
    expect(() => readHistory('t,rps\n5,1\n5,1', 'h.csv')).toThrow(/h.csv:3/)
  })
})
