/**
 * The scripts of `testdata` against the engine. Those named *.v3.test follow the rules of Prometheus 3, the others those of
 * Prometheus 2, whose answers they hold.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parseScript, parseSeries, ScriptError } from './script.ts'
import { runScript } from './script-runner.ts'

const folder = new URL('testdata/', import.meta.url)
const files = readdirSync(folder).filter((name) => name.endsWith('.test'))

test.each(files)('%s', (name) => {
  const text = readFileSync(new URL(name, folder), 'utf8')
  const report = runScript(text, { dialect: name.endsWith('.v3.test') ? 3 : 2 })
  expect(report.failures).toEqual([])
  const evals = parseScript(text).filter((command) => command.kind === 'eval').length
  expect(report.passed + report.skipped).toBe(evals)
  expect(report.skipped).toBe(name === 'prometheus3.v3.test' ? 2 : 0)
  expect(report.passed).toBeGreaterThan(10)
})

describe('a script that is wrong fails', () => {
  const load = 'load 1m\n  m{a="b"} 1 2 3\n\n'
  test.each([
    ['a wrong value', 'eval instant at 1m m\n  m{a="b"} 3'],
    ['a value that should not be', 'eval instant at 1m m'],
    ['a series that is missing', 'eval instant at 1m m\n  m{a="b"} 2\n  m{a="c"} 2'],
    ['another series', 'eval instant at 1m m\n  m{a="c"} 2'],
    ['too few points', 'eval range from 0 to 2m step 1m m\n  m{a="b"} 1 2'],
    ['a point too many', 'eval range from 0 to 1m step 1m m\n  m{a="b"} 1 2 3'],
    ['a point at another step', 'eval range from 0 to 2m step 1m m > 1\n  {a="b"} 2 3 _'],
    ['a scalar for a vector', 'eval instant at 1m m\n  2'],
    ['a vector for a scalar', 'eval instant at 1m 2\n  {} 2'],
    ['another scalar', 'eval instant at 1m 2\n  2.00001'],
    ['another string', 'eval instant at 1m "x"\n  expect string "y"'],
    ['an error that does not come', 'eval_fail instant at 1m m'],
    ['an error that should not come', 'eval instant at 1m m + on () (m or label_replace(m, "a", "c", "", ""))'],
    ['another error', 'eval_fail instant at 1m topk(NaN, m)\n  expected_fail_message something'],
    ['an error by another pattern', 'eval instant at 1m topk(NaN, m)\n  expect fail regex: ^some'],
    ['a warning that does not come', 'eval instant at 1m m\n  expect warn\n  m{a="b"} 2'],
    ['a warning that should not come', 'eval instant at 1m quantile(2, m)\n  expect no_warn\n  {} Inf'],
    ['another warning', 'eval instant at 1m quantile(2, m)\n  expect warn msg: no\n  {} Inf'],
    ['an info that should not come', 'eval instant at 1m rate(m[2m])\n  expect no_info\n  {a="b"} 0.0166666667'],
    ['the wrong order', `eval_ordered instant at 1m sort(vector(1) or on (x) m)\n  m{a="b"} 2\n  {} 1`],
  ])('%s', (_what, evaluation) => {
    const { failures, passed } = runScript(load + evaluation, { dialect: 2 })
    expect(failures.length, evaluation).toBe(1)
    expect(passed).toBe(0)
  })

  test('a script passes by the rules of either Prometheus, and by which is said', () => {
    const second = 'load 1m\n  m 1 1 1\n\neval instant at 2m count_over_time(m[2m])\n  {} 3'
    const third = second.replace('{} 3', '{} 2')
    const auto = (text: string) => runScript(text, { dialect: 'auto' })
    expect([auto(second).dialect, auto(second).failures.length]).toEqual([2, 0])
    expect([auto(third).dialect, auto(third).failures.length]).toEqual([3, 0])
    expect(auto(second.replace('{} 3', '{} 1')).failures.length).toBe(1)
  })
})

describe('series in short notation', () => {
  const values = (text: string) => parseSeries(`m ${text}`, 1).values
  test.each([
    ['1 2 3', [1, 2, 3]],
    ['1+2x3', [1, 3, 5, 7]],
    ['1-2x2', [1, -1, -3]],
    ['-1+0.5x2', [-1, -0.5, 0]],
    ['5x2', [5, 5, 5]],
    ['_ _x2 1', ['none', 'none', 'none', 1]],
    ['stale 1', ['stale', 1]],
    ['INF -iNf nAN', [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN]],
    ['Inf -Inf +Inf NaN', [Infinity, -Infinity, Infinity, Number.NaN]],
    ['1e3 .5 1.5e-2 1e+2', [1000, 0.5, 0.015, 100]],
    ['1e3+1e2x2', [1000, 1100, 1200]],
    ['{{schema:0 sum:5 count:4}}x1 3', ['histogram', 'histogram', 3]],
    ['NaNx1', [Number.NaN, Number.NaN]],
  ])('%s', (text, expected) => {
    expect(values(text)).toEqual(expected)
  })

  test('names and labels, quoted or not', () => {
    const labels = (text: string) => parseSeries(text, 1).labels
    expect(labels('a:b{c="d",e="f g}{",} 1')).toEqual([
      ['__name__', 'a:b'],
      ['c', 'd'],
      ['e', 'f g}{'],
    ])
    expect(labels('{"a.b", "c d"="e"} 1')).toEqual([
      ['__name__', 'a.b'],
      ['c d', 'e'],
    ])
    expect(labels('{} 1')).toEqual([])
    expect(labels('{__name__="x"} 1')).toEqual([['__name__', 'x']])
  })

  test.each(['m 1 a', 'm 1x', 'm{a} 1', 'm{a="b",a="c"} 1', 'm{a="b', 'm 1x99999999999'])(
    '%s is refused with its line',
    (text) => {
      expect(() => parseSeries(text, 7)).toThrow(ScriptError)
      expect(() => parseSeries(text, 7)).toThrow(/^line 7: /)
    },
  )
})

test.each([
  ['nonsense', 'nonsense'],
  ['load', 'load x\n  m 1'],
  ['eval', 'eval now m'],
  ['expect', 'eval instant at 1m m\n  expect nothing'],
  ['pattern', 'eval instant at 1m m\n  expect fail regex: ('],
  ['several values', 'eval instant at 1m m\n  m 1 2'],
])('a script that cannot be read says where: %s', (_what, text) => {
  expect(() => parseScript(`\n${text}`)).toThrow(/^line [23]: /)
})

test('an expression that cannot be read fails alone, unless that is expected', () => {
  const text = `
load 1m
  m 1

eval instant at 0 m +
  m 1

eval_fail instant at 0 sum(

eval instant at 0 sum(
  expect fail msg: 1:5: parse error: unclosed left parenthesis

eval instant at 0 sum(
  expect fail msg: another

eval instant at 0 m
  m 1
`
  const { passed, failures } = runScript(text, { dialect: 2 })
  expect(passed).toBe(3)
  expect(failures.map(({ line }) => line)).toEqual([5, 13])
  expect(failures[0]!.reason).toContain('1:4: parse error: unexpected end of input')
})
