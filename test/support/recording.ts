/** An appender that keeps what it was given, as lines of text: for tests of what collectors send. */
import { isStale } from '../../src/metrics/columns.ts'
import { decodeLabels } from '../../src/metrics/labels.ts'
import type { Appender } from '../../src/metrics/metrics.ts'

export interface RecordingAppender extends Appender {
  /** `source name{label="value"} value @time`. */
  readonly lines: string[]
}

export function recordingAppender(): RecordingAppender {
  const lines: string[] = []
  return {
    lines,
    async append(columns, { source }) {
      for (let e = 0; e < columns.entryCount; e++) {
        const labels = decodeLabels(columns.labelBytes, columns.labelStart[e]!, columns.labelEnd[e]!)
        const name = labels.find(([n]) => n === '__name__')?.[1]
        const rest = labels.filter(([n]) => n !== '__name__').map(([n, v]) => `${n}=${JSON.stringify(v)}`)
        for (let i = columns.sampleStart[e]!; i < columns.sampleStart[e + 1]!; i++) {
          const value = isStale(columns.values[i]!) ? 'stale' : String(columns.values[i])
          lines.push(`${source} ${name}{${rest.join(',')}} ${value} @${columns.times[i]}`)
        }
      }
      const accepted = columns.sampleCount
      return { kind: 'appended', report: { accepted, duplicates: 0, late: 0, refused: {}, problems: [] } }
    },
  }
}
