/**
 * Which series beside the platform's own are forecast in a cycle: those somebody looks at, the last looked at first,
 * then all others in turns, a metric after the other. Of a metric that is looked at as a whole, all its series, up to a
 * number.
 *
 *   asked (metric, or one series of it) ─▶┐
 *   all metrics by name, from where the last cycle stopped ─▶┴─▶ at most OTHERS_MAX series
 */
import { DAY, type Millis } from '../base/time.ts'
import { apiName } from '../metrics/index.ts'
import { type LabelPairs, labelsText, type SeriesId } from './series-id.ts'

/** What the store has; names as they are stored. */
export interface SeriesList {
  /** Names of metrics that have series now. */
  names(): Promise<readonly string[]>
  /** Labels, without the name, of the series of one metric that had samples lately: at most `limit`, in a stable order. */
  of(name: string, limit: number): Promise<readonly LabelPairs[]>
}

export interface Choice {
  /** `labels` absent: all series of the metric. */
  ask(metric: string, labels: LabelPairs | undefined, now: Millis): void
  isAsked(series: SeriesId): boolean
  /** The series of the next cycle, the most wanted first. */
  next(now: Millis): Promise<SeriesId[]>
}

/** Series beside the platform's own that one cycle forecasts at most. */
export const OTHERS_MAX = 200
/** Of one metric that is looked at. */
const ASKED_SERIES_MAX = 50
/** Of one metric in its turn: what it has beyond waits for being asked for. */
const TURN_SERIES_MAX = 1000
const ASKED_MAX = 1000
/** Parts of a histogram, which alone say nothing: only for those who ask. */
const PARTS = /_(bucket|created)$/
/** How long a look lasts. */
const ASKED_MS = DAY

export function openChoice(list: SeriesList, own: ReadonlySet<string>): Choice {
  /** By metric and text of the labels, '' for all. */
  const asked = new Map<string, { metric: string; labels: LabelPairs | null; at: Millis }>()
  const keyOf = (metric: string, labels: LabelPairs | undefined) => `${metric} ${labels ? labelsText(labels) : ''}`
  /** Where the next turn begins: a metric, and how many of its series had theirs. */
  let turn = { name: '', series: 0 }

  return {
    ask(metric, labels, at) {
      const key = keyOf(metric, labels)
      asked.delete(key)
      if (asked.size >= ASKED_MAX) asked.delete(asked.keys().next().value!)
      asked.set(key, { metric, labels: labels ?? null, at })
    },
    isAsked: ({ metric, labels }) => asked.has(keyOf(metric, undefined)) || asked.has(keyOf(metric, labels)),
    async next(now) {
      for (const [key, { at }] of asked) if (now - at > ASKED_MS) asked.delete(key)
      const stored = new Map((await list.names()).map((name) => [apiName(name), name]))
      const chosen = new Map<string, SeriesId>()
      const take = (metric: string, labels: LabelPairs) => {
        if (chosen.size < OTHERS_MAX) chosen.set(keyOf(metric, labels), { metric, labels })
      }
      for (const { metric, labels } of [...asked.values()].reverse()) {
        const name = stored.get(metric)
        if (name === undefined || chosen.size >= OTHERS_MAX) continue
        // The platform's own of a metric is forecast anyway; another service's series of that name has to be asked for.
        if (labels) take(metric, labels)
        else if (!own.has(metric)) for (const each of await list.of(name, ASKED_SERIES_MAX)) take(metric, each)
      }
      const names = [...stored]
        .filter(([metric]) => !own.has(metric) && !PARTS.test(metric))
        .sort(([a], [b]) => (a < b ? -1 : 1))
      const begin = Math.max(
        0,
        names.findIndex(([metric]) => metric >= turn.name),
      )
      for (let k = 0; k < names.length && chosen.size < OTHERS_MAX; k++) {
        const [metric, name] = names[(begin + k) % names.length]!
        const series = await list.of(name, TURN_SERIES_MAX)
        let at = metric === turn.name ? turn.series : 0
        while (at < series.length && chosen.size < OTHERS_MAX) take(metric, series[at++]!)
        turn =
          at < series.length
            ? { name: metric, series: at }
            : { name: names[(begin + k + 1) % names.length]![0], series: 0 }
      }
      return [...chosen.values()]
    },
  }
}
