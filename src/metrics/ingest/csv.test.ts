/** CSV as people have it. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AppError } from '../../base/errors.ts'
import { decodeLabels } from '../labels.ts'
import { decodeCsv, isCsvHeader } from './csv.ts'

const T = Date.UTC(2026, 0, 1)

function read(text: string, metric: string | null = 'm', header?: string): string[] {
  const options = { samplesMax: 100, metric, ...(header === undefined ? {} : { header }) }
  const columns = decodeCsv(Buffer.from(text), options)
  return Array.from({ length: columns.entryCount }, (_, e) => {
    const labels = decodeLabels(columns.labelBytes, columns.labelStart[e]!, columns.labelEnd[e]!)
    const i = columns.sampleStart[e]!
    return `${labels.map((l) => l.join('=')).join(',')} ${columns.values[i]} ${columns.times[i]! - T}`
  })
}

describe('CSV', () => {
  test.each([
    ['2026-01-01T00:00:00Z,1.5', ['__name__=m 1.5 0']],
    ['2026-01-01T01:00:00.250+01:00,1', ['__name__=m 1 250']],
    [
      `${T / 1000},1\n${T + 5},2\n${T / 1000 + 0.5},-3e2\n`,
      ['__name__=m 1 0', '__name__=m 2 5', '__name__=m -300 500'],
    ],
    [`${T},NaN\r\n\r\n# remark\n${T},-Inf`, ['__name__=m NaN 0', '__name__=m -Infinity 0']],
    [`${T},1,"{a=""b"",c=""d,e""}"`, ['__name__=m,a=b,c=d,e 1 0']],
    [`${T},1,"a=""b"""`, ['__name__=m,a=b 1 0']],
    [`${T},1,"other{a=""b""}"`, ['__name__=other,a=b 1 0']],
    [`${T},1,"{""other.name"",a=""b""}"`, ['__name__=other.name,a=b 1 0']],
    [`${T},1,other`, ['__name__=other 1 0']],
    [`timestamp,value\n${T},1`, ['__name__=m 1 0']],
    [`host,value,metric,timestamp\nh1,1,cpu,${T}\n,2,,${T}`, ['__name__=cpu,host=h1 1 0', '__name__=m 2 0']],
  ])('%j', (text, expected) => expect(read(text)).toEqual(expected))

  test('a later part of a file knows the columns', () => {
    expect(isCsvHeader('value,timestamp')).toBe(true)
    expect(isCsvHeader(`${T},1`)).toBe(false)
    expect(read(`5,${T}`, 'm', 'value,timestamp')).toEqual(['__name__=m 5 0'])
  })

  test.each([
    [`${T},1`, null, /line 1: the sample has no metric name/],
    [`${T},1\nsoon,1`, 'm', /line 2: "soon" is not a time/],
    ['2026-01-01T00:00:00,1', 'm', /not a time/],
    [`${T},`, 'm', /"" is not a number/],
    [`${T}`, 'm', /not a number/],
    [`${T},1,"{a=""b""`, 'm', /quote has no end/],
    [`${T},1,{a=b}`, 'm', /not in quotes/],
    ['timestamp,number\n', 'm', /name the columns/],
  ])('refuses %j', (text, metric, why) => expect(() => read(text, metric)).toThrow(why))

  test('any text is read or refused', () => {
    const pieces = fc.constantFrom(
      ',',
      '"',
      '\n',
      String(T),
      '1',
      '{',
      '}',
      '=',
      'a',
      'timestamp',
      'value',
      ' ',
      '-',
      'NaN',
    )
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 30 }), (parts) => {
        try {
          read(parts.join(''))
        } catch (error) {
          if (!(error instanceof AppError)) throw error
        }
      }),
      { numRuns: 3000 },
    )
  })
})
