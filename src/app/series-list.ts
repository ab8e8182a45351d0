/** Which series the store has, for analytics: names of metrics, and the labels of one metric's series. */
import type { SeriesList } from '../analytics/index.ts'
import type { Clock } from '../base/clock.ts'
import { HOUR } from '../base/time.ts'
import { METRIC_NAME, type QueryService } from '../metrics/index.ts'

const NAMES_MAX = 10_000
/** No person waits for it. */
const BACKGROUND = { background: true } as const
/** A series without a sample in this time has no future to tell. */
const LATELY_MS = HOUR

export function seriesList(queries: Pick<QueryService, 'call'>, clock: Clock): SeriesList {
  return {
    names: async () =>
      (await queries.call('top', NAMES_MAX, BACKGROUND)).names.flatMap((n) => (n.series > 0 ? [n.name] : [])),
    async of(name, limit) {
      const now = clock.now()
      const matches = [`{${METRIC_NAME}=${JSON.stringify(name)}}`]
      const { status, body } = await queries.call(
        'series',
        { matches, start: now - LATELY_MS, end: now, limit },
        BACKGROUND,
      )
      if (status !== 200) return []
      const { data } = JSON.parse(new TextDecoder().decode(body)) as { data: Record<string, string>[] }
      return data.map(({ [METRIC_NAME]: _name, ...labels }) => labels)
    },
  }
}
