/** What control hands to the pipeline thread, so that it can build the consumers of the WAL. */
import type { MessagePort } from 'node:worker_threads'
import type { Alerting } from '../alerting/index.ts'

export interface ConsumersData {
  readonly analytics: {
    /** Path of analytics.db. */
    readonly database: string
    /** Path of the file of the detector's state. */
    readonly stateFile: string
    /** Robust deviations at which an onset is raised. */
    readonly threshold: number
    /** Minutes to add to UTC for the operator's wall clock is asked of this time zone. */
    readonly timeZone: string
    /** Memory for seasons; series beyond it keep the first stage alone. */
    readonly seasonBytesMax: number
    /** `AnalyticsNote`s go here. */
    readonly notes: MessagePort
  }
  readonly alerting: Alerting['forPipeline']
}
