/** The text formats: what they allow, what they refuse, and that a written series reads back. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AppError } from '../../base/errors.ts'
import { decodeLabels, type Label, type Labels, labelsOf } from '../labels.ts'
import { decodeText, parseSeries, scanText, type TextFormat } from './text.ts'

const options = { samplesMax: 10_000 }
type Read = [labels: Labels, value: number, time: number | null]

function read(text: string, format: TextFormat = 'prometheus'): Read[] {
  const out: Read[] = []
  scanText(text, format, options, (series, value, time, line) => out.push([parseSeries(series, line), value, time]))
  return out
}
const l = labelsOf

describe('Prometheus text', () => {
  test.each<[string, Read[]]>([
    ['up 1', [[l('up'), 1, null]]],
    ['up 1\n', [[l('up'), 1, null]]],
    ['  up\t 1.5e3  1767225600000 \r\n', [[l('up'), 1500, 1767225600000]]],
    ['# HELP up Whether.\n# TYPE up gauge\n#anything\n\nup{} 0', [[l('up'), 0, null]]],
    ['a{b="c", d = "e" ,} -1', [[l('a', { b: 'c', d: 'e' }), -1, null]]],
    ['a {b="c"} +Inf -5', [[l('a', { b: 'c' }), Infinity, -5]]],
    ['a{b="} 1 {",c="\\"\\\\\\n"} .5', [[l('a', { b: '} 1 {', c: '"\\\n' }), 0.5, null]]],
    ['{"http.requests","k8s.pod"="ü"} 1', [[l('http.requests', { 'k8s.pod': 'ü' }), 1, null]]],
    ['{a="b","http.requests"} 1', [[l('http.requests', { a: 'b' }), 1, null]]],
    ['a{b=""} 1', [[l('a'), 1, null]]],
    [
      'a 1\na 2 7',
      [
        [l('a'), 1, null],
        [l('a'), 2, 7],
      ],
    ],
    ['a nan', [[l('a'), Number.NaN, null]]],
  ])('%j', (text, expected) => expect(read(text)).toEqual(expected))

  test.each([
    ['a', /line 1: expected a/],
    ['a{b="c"', /labels have no end/],
    ['a{b="c} 1', /labels have no end/],
    ['a{b=c} 1', /not in quotes/],
    ['a{b="c" d="e"} 1', /expected ","/],
    ['a{b="c",b="d"} 1', /stands twice/],
    ['a{1b="c"} 1', /not the name of a label/],
    ['a{__name__="b"} 1', /may not be/],
    ['a{"b"} 1', /expected "="/],
    ['a{b="\\t"} 1', /no escape/],
    ['1a 1', /not the name of a metric/],
    ['{} 1', /no name/],
    ['{""} 1', /empty/],
    ['ok 1\nok 2\na 0x10', /line 3: expected a number, got "0x10"/],
    ['a 1_000', /expected a number/],
    ['a 1 1.5', /expected a time/],
    ['a 1 2 3', /something follows/],
    ['a 1 # {} 1', /expected a time/],
  ])('refuses %j', (text, why) => {
    expect(() => read(text)).toThrow(why)
    expect(() => read(text)).toThrow(AppError)
  })
})

describe('OpenMetrics', () => {
  const om = (text: string) => read(text, 'openmetrics')
  test.each<[string, Read[]]>([
    ['# EOF', []],
    ['# TYPE a counter\n# UNIT a s\n# HELP a b\na_total 1\n# EOF\n', [[l('a_total'), 1, null]]],
    ['a{b="c"} 1 1767225600.1234\n# EOF\n', [[l('a', { b: 'c' }), 1, 1767225600123]]],
    ['a_bucket{le="+Inf"} 1 # {trace="x} y"} 0.5 1.5\n# EOF', [[l('a_bucket', { le: '+Inf' }), 1, null]]],
    ['a 1 1 # {} 0.5\n# EOF', [[l('a'), 1, 1000]]],
  ])('%j', (text, expected) => expect(om(text)).toEqual(expected))

  test.each([
    ['a 1\n', /line 2: expected "# EOF"/],
    ['a 1', /cut off/],
    ['# EOF\na 1\n', /nothing may follow/],
    ['a 1\n\n# EOF\n', /line 2: an empty line/],
    ['a  1\n# EOF\n', /expected a number/],
    ['a\t1\n# EOF\n', /expected a blank/],
    ['#TYPE a gauge\n# EOF\n', /expected "# HELP"/],
    ['a 1 # {x="y"}\n# EOF\n', /exemplar is not whole/],
    ['a 1 2 3\n# EOF\n', /something follows/],
  ])('refuses %j', (text, why) => expect(() => om(text)).toThrow(why))

  test('may be read in parts', () => {
    const seen: string[] = []
    scanText('a 1\nb 2\n', 'openmetrics', { ...options, whole: false }, (series) => seen.push(series))
    expect(seen).toEqual(['a', 'b'])
  })
})

describe('columns', () => {
  test('samples without a time get the time given', () => {
    const columns = decodeText(Buffer.from('a 1\na 2 5\nb 3\n'), 'prometheus', 99, options)
    expect([...columns.times]).toEqual([99, 5, 99])
    expect([...columns.sampleStart]).toEqual([0, 2, 3])
    expect(decodeLabels(columns.labelBytes, columns.labelStart[1]!, columns.labelEnd[1]!)).toEqual(l('b'))
  })
  test('refuses what is not UTF-8, and more samples than the limit', () => {
    expect(() => decodeText(Uint8Array.of(97, 0xff), 'prometheus', 0, options)).toThrow(/UTF-8/)
    expect(() => decodeText(Buffer.from('a 1\na 2\n'), 'prometheus', 0, { samplesMax: 1 })).toThrow(
      expect.objectContaining({ status: 413 }),
    )
  })
})

const escaped = (text: string) => `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`
const grapheme = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 30 })

test('any series that is written in quotes reads back', () => {
  const labels = fc.uniqueArray(fc.tuple(grapheme, grapheme), { maxLength: 6, selector: ([n]) => n })
  fc.assert(
    fc.property(
      grapheme,
      labels,
      fc.double(),
      fc.constantFrom<TextFormat>('prometheus', 'openmetrics'),
      (name, pairs, value, format) => {
        fc.pre(pairs.every(([key]) => key !== '__name__'))
        const inside = [escaped(name), ...pairs.map(([key, v]: Label) => `${escaped(key)}=${escaped(v)}`)].join(',')
        const number = Number.isFinite(value)
          ? String(value)
          : Number.isNaN(value)
            ? 'NaN'
            : value > 0
              ? '+Inf'
              : '-Inf'
        const read1 = read(`{${inside}} ${Object.is(value, -0) ? '-0' : number}\n# EOF\n`, format)
        expect(read1).toEqual([[l(name, Object.fromEntries(pairs)), value, null]])
      },
    ),
  )
})

test('any text is read or refused', () => {
  const pieces = fc.constantFrom(
    'a',
    '{',
    '}',
    '"',
    '=',
    ',',
    '\\',
    ' ',
    '\n',
    '1',
    '# EOF',
    '#',
    '+Inf',
    '\t',
    'b="c"',
    'ü',
    '.',
  )
  fc.assert(
    fc.property(
      fc.array(pieces, { maxLength: 40 }),
      fc.constantFrom<TextFormat>('prometheus', 'openmetrics'),
      (parts, format) => {
        try {
          read(parts.join(''), format)
        } catch (error) {
          if (!(error instanceof AppError)) throw error
        }
      },
    ),
    { numRuns: 3000 },
  )
})
