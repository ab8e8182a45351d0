/**
 * What analytics says of the figures, on the page, pure: which points of a forecast are drawn over a range, what is said
 * of those that are not, and which anomalies the charts have.
 */
import type { DashboardAnomaly, ForecastPoint } from '../protocol.ts'
import { RECENT_ANOMALIES_MAX } from '../protocol.ts'

/** One knot of a forecast that is in use. */
export interface Ahead {
  readonly at: number
  readonly value: number
  readonly lower: number
  readonly upper: number
}

/** Points later than now, in use, and no further ahead than half of what the chart looks back. */
export function aheadOf(points: readonly ForecastPoint[], now: number, rangeMs: number): Ahead[] {
  return points
    .filter((point) => point.withdrawn === null && 2 * 60_000 * point.horizon <= rangeMs)
    .map((point) => ({
      at: Date.parse(point.target_time),
      value: point.value,
      lower: point.lower,
      upper: point.upper,
    }))
    .filter((point) => point.at > now)
    .sort((a, b) => a.at - b.at)
}

/** Why nothing is drawn where something was forecast: the reason of the nearest point; null when there is no need. */
export function withdrawnWhy(points: readonly ForecastPoint[], now: number): string | null {
  const open = points.filter((point) => Date.parse(point.target_time) > now)
  return open.length > 0 && open.every((point) => point.withdrawn !== null) ? open[0]!.withdrawn : null
}

/**
 * The anomalies after an update, which has those of the last hour whole: one that it no longer has was hidden by a
 * verdict. Where it has as many as it may, it is whole only from its oldest on. The same list when nothing changed.
 */
export function renewed(
  before: readonly DashboardAnomaly[],
  recent: readonly DashboardAnomaly[],
  now: number,
): readonly DashboardAnomaly[] {
  const oldest = recent.length >= RECENT_ANOMALIES_MAX ? Date.parse(recent.at(-1)!.timestamp) : 0
  const from = Math.max(now - 3_600_000, oldest)
  const next = [...recent, ...before.filter((one) => Date.parse(one.timestamp) < from)]
  const same = before.length === next.length && next.every((one, i) => said(one) === said(before[i]!))
  return same ? before : next
}

const said = (anomaly: DashboardAnomaly) => `${anomaly.id} ${anomaly.feedback?.at ?? ''}`
