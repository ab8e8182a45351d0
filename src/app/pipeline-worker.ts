/** The pipeline thread of control: decode, WAL, head, flush, and the consumers of the WAL, which are composed here. */
import { Watcher } from '../alerting/index.ts'
import { type AnalyticsNote, LiveDetector, openAnalytics, zoneOffset } from '../analytics/index.ts'
import { type ConsumerContext, runPipeline, type WalConsumer } from '../metrics/index.ts'
import type { ConsumersData } from './consumers.ts'

runPipeline((context) => {
  const data = context.data as ConsumersData | undefined
  return data ? [...detection(context, data.analytics), watcher(context, data.alerting)] : []
})

function detection(context: ConsumerContext, data: ConsumersData['analytics']): WalConsumer[] {
  const { log, scheduler } = context
  try {
    const options = {
      threshold: data.threshold,
      seasonBytesMax: data.seasonBytesMax,
      offsetOf: zoneOffset(data.timeZone),
    }
    const tell = (note: AnalyticsNote) => data.notes.postMessage(note)
    const db = openAnalytics(data.database)
    const { stateFile } = data
    return [new LiveDetector({ db, stateFile, detector: options, log, scheduler, labelsOf: context.labelsOf, tell })]
  } catch (error) {
    // Samples are stored all the same; what was missed is fed again once the database can be opened.
    log.error('Detection cannot start; samples are stored without it.', { error })
    return []
  }
}

function watcher(series: ConsumerContext, { start, port }: ConsumersData['alerting']): WalConsumer {
  const { log, scheduler } = series
  return new Watcher({ start, port, series, scheduler, log })
}
