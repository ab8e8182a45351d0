/**
 * `engine forecast`: the forecaster that runs live, on anyone's data. One JSON request a line on standard input, one
 * JSON answer a line on standard output, in the same order:
 *
 *   {"series":"cpu","step_minutes":5,"history":[[1700000000,41.5],…],"horizons":[15,30,60,120],"min":0,"max":100}
 *   {"forecasts":[{"horizon":15,"mean":42,"lower80":40,"upper80":44,"lower95":38,"upper95":47,"trend":"stable",…},…]}
 *
 * Times are epoch seconds, oldest first; horizons are minutes after the last sample. `min` and `max` may be left out.
 * A line that cannot be answered gives `{"error": "…"}` and the next line is read. Nothing is kept between lines.
 */
import { createInterface } from 'node:readline'
import type { Command } from 'commander'
import { fitModel, predict, stepSeries } from '../analytics/index.ts'
import { messageOf } from '../base/errors.ts'
import { MINUTE, SECOND } from '../base/time.ts'

export function engineForecastCommand(program: Command): void {
  const engine =
    program.commands.find((command) => command.name() === 'engine') ??
    program.command('engine').description('one engine alone, on standard input and output')
  engine
    .command('forecast')
    .description('answer each line of JSON (history, horizons) with forecasts and their 80 and 95 % intervals')
    .addHelpText(
      'after',
      `
Example:
  $ echo '{"step_minutes":5,"history":[[1700000000,1],[1700000300,2]],"horizons":[15]}' | opinion-market engine forecast`,
    )
    .action(run)
}

async function run(): Promise<void> {
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    if (line.trim() === '') continue
    if (!process.stdout.write(`${JSON.stringify(answer(line))}\n`)) {
      await new Promise((resolve) => process.stdout.once('drain', resolve))
    }
  }
}

/** The answer to one line; what is wrong with the line is an answer too. */
export function answer(line: string): object {
  try {
    const request = readRequest(JSON.parse(line))
    const series = stepSeries(request.times, request.values, request.stepMs)
    if (series === null) return { error: 'history: expected at least one finite value' }
    const model = fitModel(series, { horizons: request.horizons, bounds: request.bounds })
    return {
      series: request.name,
      samples_used: model.samples,
      forecasts: predict(model, series),
    }
  } catch (error) {
    return { error: messageOf(error) }
  }
}

const HORIZONS_MAX = 100

function readRequest(raw: unknown) {
  if (typeof raw !== 'object' || raw === null) throw new Error('expected a JSON object')
  const { series, step_minutes, history, horizons, min, max } = raw as Record<string, unknown>
  if (!Array.isArray(history)) throw new Error('history: expected an array of [epoch seconds, value]')
  if (!Array.isArray(horizons) || horizons.length === 0 || horizons.length > HORIZONS_MAX) {
    throw new Error(`horizons: expected 1 to ${HORIZONS_MAX} numbers of minutes`)
  }
  const stepMinutes = step_minutes ?? 5
  if (!isPositive(stepMinutes) || stepMinutes < 1 || stepMinutes > 1440) {
    throw new Error(`step_minutes: expected 1 to 1440, got ${JSON.stringify(stepMinutes)}`)
  }
  for (const h of horizons) {
    if (!isPositive(h) || h > 10_080)
      throw new Error(`horizons: expected minutes up to 10080, got ${JSON.stringify(h)}`)
  }
  const times = new Float64Array(history.length)
  const values = new Float64Array(history.length)
  for (let i = 0; i < history.length; i++) {
    const point: unknown = history[i]
    const time: unknown = Array.isArray(point) ? point[0] : undefined
    const value: unknown = Array.isArray(point) ? point[1] : undefined
    if (typeof time !== 'number' || !(Math.abs(time) < 1e11)) {
      throw new Error(`history[${i}]: expected [epoch seconds, value], got ${JSON.stringify(point)}`)
    }
    times[i] = time * SECOND
    if (i > 0 && time * SECOND < times[i - 1]!) throw new Error(`history[${i}]: expected times in order, oldest first`)
    // A null is a gap.
    if (typeof value !== 'number' && value !== null && value !== undefined) {
      throw new Error(`history[${i}]: expected a number or null as value, got ${JSON.stringify(value)}`)
    }
    values[i] = value ?? NaN
  }
  const end = (name: string, value: unknown) => {
    if (value === undefined || value === null) return undefined
    if (typeof value === 'number' && Number.isFinite(value)) return value
    throw new Error(`${name}: expected a number, got ${JSON.stringify(value)}`)
  }
  const bounds = { min: end('min', min), max: end('max', max) }
  if (bounds.min !== undefined && bounds.max !== undefined && bounds.min > bounds.max) {
    throw new Error(`min: expected at most max, got ${bounds.min} above ${bounds.max}`)
  }
  return {
    name: typeof series === 'string' ? series : undefined,
    stepMs: stepMinutes * MINUTE,
    horizons: horizons as number[],
    bounds,
    times,
    values,
  }
}

const isPositive = (value: unknown): value is number => typeof value === 'number' && value > 0 && value < Infinity
