import { readdirSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Expr } from './ast.ts'
import { ParseError } from './lex.ts'
import { parse, parseDuration, parseNumber, parseSelector } from './parse.ts'
import { print } from './print.ts'
import { parseScript } from './script.ts'

/** The tree in brackets. */
function shape(expr: Expr): string {
  switch (expr.kind) {
    case 'number':
      return String(expr.value)
    case 'binary':
      return `[${shape(expr.left)} ${expr.op} ${shape(expr.right)}]`
    case 'unary':
      return `[${expr.op}${shape(expr.expr)}]`
    case 'paren':
      return `(${shape(expr.expr)})`
    default:
      return print(expr)
  }
}

// As Prometheus' grammar has it; several of these the editor's grammar has otherwise.
test.each([
  ['-1 ^ 2', '[-[1 ^ 2]]'],
  ['2 ^ -1 ^ 3', '[2 ^ [-[1 ^ 3]]]'],
  ['a ^ -b * c', '[[a ^ [-b]] * c]'],
  ['2 ^ 3 ^ 2', '[2 ^ [3 ^ 2]]'],
  ['a - b - c', '[[a - b] - c]'],
  ['-a * b', '[[-a] * b]'],
  ['-a - b', '[[-a] - b]'],
  ['a - -b', '[a - [-b]]'],
  ['a + b * c', '[a + [b * c]]'],
  ['a % b atan2 c', '[[a % b] atan2 c]'],
  ['a > b + c', '[a > [b + c]]'],
  ['a or b and c unless d', '[a or [[b and c] unless d]]'],
  ['a == bool b offset 1m', '[a == b offset 1m]'],
  ['a - b @ start()', '[a - b @ start()]'],
  ['a + b offset 5m * c', '[a + [b offset 5m * c]]'],
  ['-a offset 1m', '[-a offset 1m]'],
  ['(a + b) * c', '[([a + b]) * c]'],
  ['1 - 1', '[1 - 1]'],
  ['1-1', '[1 - 1]'],
  ['1 - -1', '[1 - -1]'],
  ['a # comment\n + # another\n b', '[a + b]'],
])('%s is %s', (text, expected) => {
  expect(shape(parse(text))).toBe(expected)
})

// Wording and place were compared with Prometheus 2.42, which answers these alike.
test.each([
  ['', '1:1: parse error: no expression found in input'],
  ['1 +', '1:4: parse error: unexpected end of input'],
  ['sum(', '1:5: parse error: unclosed left parenthesis'],
  ['1)', "1:3: parse error: unexpected right parenthesis ')'"],
  ['foo(bar)', '1:1: parse error: unknown function with name "foo"'],
  ['foo bar', '1:5: parse error: unexpected identifier "bar"'],
  ['foo{', '1:5: parse error: unexpected end of input inside braces'],
  ['foo{a="b" c="d"}', '1:11: parse error: unexpected identifier "c" in label matching, expected "," or "}"'],
  ['foo{a="b",,}', '1:11: parse error: unexpected "," in label matching, expected identifier or "}"'],
  ['foo{a}', '1:6: parse error: unexpected "}" in label matching, expected label matching operator'],
  ['foo{a=b}', '1:7: parse error: unexpected identifier "b" in label matching, expected string'],
  ['foo{a~"b"}', "1:6: parse error: unexpected character inside braces: '~'"],
  ['sum by (a,,b) (x)', '1:11: parse error: unexpected "," in grouping opts, expected label'],
  ['sum by job (x)', '1:8: parse error: unexpected identifier "job" in grouping opts, expected "("'],
  ['sum by (a) foo', '1:12: parse error: unexpected identifier "foo" in aggregation'],
  ['foo offset', '1:11: parse error: unexpected end of input in offset, expected duration'],
  ['foo @', '1:6: parse error: unexpected end of input in @, expected timestamp'],
  ['foo @ start(1)', '1:13: parse error: unexpected number "1" in @, expected timestamp'],
  ['foo[5m', '1:7: parse error: unclosed left bracket'],
  ['"abc', '1:1: parse error: unterminated quoted string'],
  ['foo{a="\\q"}', "1:7: parse error: unknown escape sequence U+0071 'q'"],
  ['a.b', "1:2: parse error: unexpected character: '.'"],
  ['sum(x,)', '1:6: parse error: trailing commas not allowed in function call args'],
  ['1 == 2', '1:3: parse error: comparisons between scalars must use BOOL modifier'],
  ['a + bool b', '1:3: parse error: bool modifier can only be used on comparison operators'],
  ['foo and 1', '1:1: parse error: set operator "and" not allowed in binary scalar expression'],
  ['1 + on(a) 2', '1:1: parse error: vector matching only allowed between instant vectors'],
  ['a or on(b) group_left c', '1:1: parse error: no grouping allowed for "or" operation'],
  ['a * on(b) group_left(b) c', '1:3: parse error: label "b" must not occur in ON and GROUP clause at once'],
  ['rate(foo)', '1:6: parse error: expected type range vector in call to function "rate", got instant vector'],
  ['sum(5)', '1:5: parse error: expected type instant vector in aggregation expression, got scalar'],
  ['topk("x", foo)', '1:6: parse error: expected type scalar in aggregation parameter, got string'],
  ['topk(foo)', '1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1'],
  ['sum()', '1:1: parse error: no arguments for aggregate expression provided'],
  ['abs(1, 2)', '1:1: parse error: expected 1 argument(s) in call to "abs", got 2'],
  ['round()', '1:1: parse error: expected at least 1 argument(s) in call to "round", got 0'],
  ['round(a, 1, 2)', '1:1: parse error: expected at most 2 argument(s) in call to "round", got 3'],
  ['foo[5m] + 1', '1:1: parse error: binary expression must contain only scalar and instant vector types'],
  ['foo[5m][1m]', '1:8: parse error: ranges only allowed for vector selectors'],
  ['foo offset 1m[5m]', '1:14: parse error: no offset modifiers allowed before range'],
  ['foo offset 1m offset 2m', '1:1: parse error: offset may not be set multiple times'],
  ['foo @ 1 @ 2', '1:1: parse error: @ <timestamp> may not be set multiple times'],
  ['foo[0s]', '1:5: parse error: duration must be greater than 0'],
  ['{}', '1:1: parse error: vector selector must contain at least one non-empty matcher'],
  ['{a=~".*"}', '1:1: parse error: vector selector must contain at least one non-empty matcher'],
  ['foo{__name__="x"}', '1:1: parse error: metric name must not be set twice: "foo" or "x"'],
  ['foo\n+\n+\n)', "4:2: parse error: unexpected right parenthesis ')'"],
  [
    '-"x"',
    '1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got "string"',
  ],
])('%j: %s', (text, message) => {
  expect(() => parse(text)).toThrow(ParseError)
  expect(() => parse(text)).toThrow(message)
})

test('functions of native histograms are refused by name', () => {
  expect(() => parse('histogram_sum(x)')).toThrow('histogram_sum() works on native histograms, which are not supported')
  expect(() => parse('x </ 5')).toThrow('native histograms')
})

test('keywords may be names', () => {
  for (const name of ['sum', 'avg', 'by', 'offset', 'and', 'start', 'end', 'step', 'topk', 'time', 'rate'])
    expect(parse(`${name}{a="b"} + ${name}`).kind).toBe('binary')
  expect(print(parse('sum by (on, by, bool, sum) (offset)'))).toBe('sum by (on, by, bool, sum) (offset)')
  expect(print(parse('SUM(x) BY (a)'))).toBe('sum by (a) (x)')
})

test('what is printed reads back as the same', () => {
  const folder = new URL('testdata/', import.meta.url)
  const texts = readdirSync(folder).flatMap((file) =>
    parseScript(readFileSync(new URL(file, folder), 'utf8')).flatMap((c) => (c.kind === 'eval' ? [c.text] : [])),
  )
  expect(texts.length).toBeGreaterThan(600)
  for (const text of texts) {
    if (/histogram_count/.test(text)) continue
    const printed = print(parse(text))
    expect(print(parse(printed)), text).toBe(printed)
    expect(parse(printed).type, text).toBe(parse(text).type)
  }
})

test.each([
  ['rate(http_requests_total{job="a",code=~"5.."}[5m])', 'rate(http_requests_total{job="a",code=~"5.."}[5m])'],
  ['sum(x)by(a)', 'sum by (a) (x)'],
  ['a+on(b)group_left(c)d', 'a + on (b) group_left (c) d'],
  ['x[1h:]offset -90s', 'x[1h:] offset -1m30s'],
  ['x @ 1.5', 'x @ 1.500'],
  ['{"a.b",c="d"}', '{"a.b",c="d"}'],
  ['1e100', '1e+100'],
  ['0.00001', '1e-05'],
  ['5m', '5m'],
  ["'it''s'".replace("''", "\\'"), '"it\'s"'],
])('%s is printed as %s', (text, expected) => {
  expect(print(parse(text))).toBe(expected)
})

test('any text is parsed or refused with a place in it, and nothing else happens', () => {
  const words = fc.constantFrom(
    ...'sum by ( ) { } [ ] , a b="c" rate topk offset 5m @ start() end() 1 -2 "x" + - ^ and or == bool on group_left : # \n . ! =~ "( 0x1f `'.split(
      ' ',
    ),
  )
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string({ unit: 'binary' }),
        fc.array(words, { maxLength: 20 }).map((parts) => parts.join(' ')),
        fc.array(words, { maxLength: 20 }).map((parts) => parts.join('')),
      ),
      (text) => {
        try {
          print(parse(text))
        } catch (error) {
          expect(error).toBeInstanceOf(ParseError)
          expect((error as ParseError).span.from).toBeGreaterThanOrEqual(0)
          expect((error as ParseError).span.from).toBeLessThanOrEqual(text.length)
        }
      },
    ),
    { numRuns: 3000 },
  )
})

test.each([
  ['parentheses', `${'('.repeat(100_000)}1${')'.repeat(100_000)}`],
  ['signs', `${'-'.repeat(100_000)}1`],
  ['powers', `1${' ^ 1'.repeat(100_000)}`],
  ['calls', `${'abs('.repeat(50_000)}x${')'.repeat(50_000)}`],
  ['subqueries', `x${'[5m:]'.repeat(10_000)}`],
  ['length', `x + ${'y'.repeat(2_000_000)}`],
  ['words', 'a '.repeat(200_000)],
  ['labels', `x{${'a="b",'.repeat(100_000)}}`],
])('%s without end are refused', (_what, text) => {
  expect(() => parse(text)).toThrow(ParseError)
})

test('sums of up to 400 operators are read; longer ones are refused as such', () => {
  const sum = (terms: number) => Array.from({ length: terms }, (_, i) => `m${i}`).join(' + ')
  expect(parse(sum(401)).kind).toBe('binary')
  expect(() => parse(sum(3000))).toThrow('expression has more than 400 operators')
})

test('a selector stands alone', () => {
  expect(parseSelector('up{job="x"}').matchers.map((m) => [m.name, m.op, m.value])).toEqual([
    ['job', '=', 'x'],
    ['__name__', '=', 'up'],
  ])
  for (const text of ['sum(up)', 'up offset 5m', 'up[5m]', '1']) expect(() => parseSelector(text)).toThrow(ParseError)
})

describe('numbers and durations', () => {
  test.each([
    ['12', 12],
    ['1.5e3', 1500],
    ['.5', 0.5],
    ['1.', 1],
    ['0x1F', 31],
    ['017', 15],
    ['0b101', 5],
    ['1_000', 1000],
    ['-Inf', -Infinity],
    ['08', 8],
  ])('%s', (text, value) => {
    expect(parseNumber(text)).toBe(value)
  })
  test.each(['', 'x', '1e', '0xg', '1..2', '--1'])('%j is no number', (text) => {
    expect(parseNumber(text)).toBeNull()
  })
  test.each([
    ['1s', 1000],
    ['1h30m', 5_400_000],
    ['1y2w3d4h5m6s7ms', 31_536_000_000 + 1_209_600_000 + 259_200_000 + 14_400_000 + 300_000 + 6000 + 7],
    ['0', 0],
  ])('%s', (text, ms) => {
    expect(parseDuration(text)).toBe(ms)
  })
  test.each(['', '5', '1m1h', '1.5h', 'm', '5x', '99999999999999y'])('%j is no duration', (text) => {
    expect(() => parseDuration(text)).toThrow()
  })
})
