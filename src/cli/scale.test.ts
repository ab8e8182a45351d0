/** `engine scale` line by line, and the files that `replay scale` reads. */
import { describe, expect, test } from 'vitest'
import { scaleEngine } from './engine-scale.ts'
import { readHistory } from './replay-scale.ts'

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
  test('a history is read by its header; what is no number is a gap', () => {
    const rows = readHistory('timestamp,rps,cpu\n2026-01-01T00:00:00Z,5,50\n1767225660,,60\n', 'h.csv')
    expect(rows[0]).toMatchObject({ demand: 5, cpu: 50, ready: null })
    expect(rows[1]).toMatchObject({ at: 1_767_225_660_000, demand: null, cpu: 60 })
    expect(() => readHistory('a,b\n1,2', 'h.csv')).toThrow(/columns t and rps/)
    expect(() => readHistory('t,rps\n5,1\n5,1', 'h.csv')).toThrow(/h.csv:3/)
  })
})
