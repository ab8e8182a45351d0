/**
 * The health score: 100, less 20 for each metric beyond its critical limit, less 10 beyond its warning limit, less 5
 * for each that is more than a fifth worse than its usual value; held in 0–100. A metric without data does not count,
 * and with no metric at all there is no score: null, not 100.
 */
import type { LimitsByFigure } from './figures.ts'
import { JUDGED, judge, MEANING } from './figures.ts'
import type { MetricKey, ScorePart } from './protocol.ts'
import { formatLimit, formatValue } from './protocol.ts'

export interface Score {
  readonly score: number | null
  /** What was taken off, the largest first. */
  readonly parts: readonly ScorePart[]
}

export type Values = Readonly<Partial<Record<MetricKey, number | null>>>

/** `usual` holds what each metric is compared with for the last 5 points: its median over stored history. */
export function scoreOf(values: Values, limits: LimitsByFigure, usual: Values = {}): Score {
  let known = 0
  const parts: ScorePart[] = []
  for (const metric of JUDGED) {
    const value = values[metric]
    const rule = limits[metric]
    if (value === null || value === undefined || !rule) continue
    known++
    const { unit, words } = MEANING[metric]
    const { state, limit } = judge(value, rule)
    let points = 0
    let why = `${words} ${formatValue(value, unit)}`
    if (limit) {
      points += state === 'critical' ? 20 : 10
      why += `, ${limit.side} ${formatLimit(limit.value, unit)}`
    }
    const normal = usual[metric]
    if (normal !== null && normal !== undefined && normal > 0) {
      const worse = rule.side === 'over' ? value > 1.2 * normal : value < 0.8 * normal
      if (worse) {
        points += 5
        why += `, ${rule.side === 'over' ? 'above' : 'below'} its usual ${formatValue(normal, unit)}`
      }
    }
    if (points > 0) parts.push({ metric, points: -points, why })
  }
  if (known === 0) return { score: null, parts: [] }
  const total = parts.reduce((sum, part) => sum + part.points, 100)
  return { score: Math.max(0, total), parts: parts.sort((a, b) => a.points - b.points) }
}
