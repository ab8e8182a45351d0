/** What the engine answers to a line: forecasts to a right one, one sentence to a wrong one. */
import { describe, expect, test } from 'vitest'
import { answer } from './engine-forecast.ts'

const line = (more: object) =>
  JSON.stringify({ step_minutes: 5, history: [[1700000000, 1], [1700000300, 3]], horizons: [15], ...more }) // biome-ignore format: points

describe('engine forecast', () => {
  test('answers a line with one forecast a horizon', () => {
    expect(answer(line({ series: 's01', horizons: [15, 120] }))).toMatchObject({
      series: 's01',
      samples_used: 2,
      forecasts: [
        { horizon: 15, mean: 3, model: 'last-value' },
        { horizon: 120, mean: 3 },
      ],
    })
  })
  test('a null is a gap', () => {
    const history = [
      [1700000000, 1],
      [1700000300, null],
      [1700000600, 2],
    ]
    expect(answer(line({ history }))).toMatchObject({ samples_used: 2, forecasts: [{ mean: 2 }] })
  })
  test('given ends hold', () => {
    expect(answer(line({ min: 2, max: 3.5 }))).toMatchObject({ forecasts: [{ lower95: 2, upper95: 3.5 }] })
  })
  test.each([
    ['{', 'JSON'],
    ['[]', 'history'],
    [line({ history: [] }), 'history: expected at least one finite value'],
    [line({ history: [[1700000000]] }), 'history: expected at least one finite value'],
    [line({ history: [['yesterday', 1]] }), 'history[0]: expected [epoch seconds, value], got ["yesterday",1]'],
    [line({ history: [[1700000000, 'x']] }), 'history[0]: expected a number or null as value, got "x"'],
    [line({ history: [[1700000300, 1], [1700000000, 2]] }), 'history[1]: expected times in order'], // biome-ignore format: points
    [line({ min: 5, max: 4 }), 'min: expected at most max, got 5 above 4'],
    [line({ max: 'high' }), 'max: expected a number, got "high"'],
    [line({ horizons: [] }), 'horizons: expected 1 to 100'],
    [line({ horizons: [-5] }), 'got -5'],
    [line({ step_minutes: 0 }), 'step_minutes: expected 1 to 1440, got 0'],
  ])('%s', (wrong, said) => {
    expect(answer(wrong)).toEqual({ error: expect.stringContaining(said) })
  })
})
