/** A target over time, from the stored samples: its demand, and what scaling said of itself. */
import type { Millis } from '../base/time.ts'
import { PLATFORM_LABEL } from '../metrics/index.ts'
import { combineOf, expressionOf, type ScalingSources } from './observe.ts'
import type { TargetSettings } from './targets.ts'

export interface TimelinePoint {
  readonly at: Millis
  readonly demand: number | null
  readonly ready: number | null
  readonly wanted: number | null
  /** What the ready instances served within the limit, as learnt by then; null before it was learnt. */
  readonly capacity: number | null
}

export async function timelineOf(
  target: TargetSettings,
  sources: ScalingSources,
  from: Millis,
  until: Millis,
  stepMs: Millis,
): Promise<TimelinePoint[]> {
  const own = (name: string) => `${name}{${PLATFORM_LABEL[0]}="${PLATFORM_LABEL[1]}",target="${target.name}"}`
  const demandExpr = expressionOf(target.demand, target)
  const [demand, ready, wanted, capacity] = await Promise.all([
    sources.range(demandExpr, combineOf(target.demand, target), from, until, stepMs),
    sources.range(own('scaling_instances_ready'), 'mean', from, until, stepMs),
    sources.range(own('scaling_instances_wanted'), 'mean', from, until, stepMs),
    sources.range(own('scaling_capacity_per_instance'), 'mean', from, until, stepMs),
  ])
  return demand.map((value, i) => {
    const [count, each] = [ready[i] ?? null, capacity[i] ?? null]
    return {
      at: from + i * stepMs,
      demand: value,
      ready: count,
      wanted: wanted[i] ?? null,
      capacity: count === null || each === null ? null : count * each,
    }
  })
}
