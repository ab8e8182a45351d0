/**
 * Data points that clients push: from JSON to samples, and what became of each.
 *
 *   body ──check──▶ Point ──batch──▶ append ──report──▶ stored · conflict · too old · …
 *
 * A repeated request (same Idempotency-Key) is appended once more with the times of the first: equal duplicates are
 * accepted, so the outcome is the first one again, whatever happened in between.
 */
import { AppError, conflict, type FieldError } from '../base/errors.ts'
import { fromIso, type Millis } from '../base/time.ts'
import {
  type Appender,
  type AppendOptions,
  ColumnBuilder,
  encodeLabels,
  type Labels,
  labelsOf,
  type Refusal,
  storedName,
} from '../metrics/index.ts'
import type { PointNote, PointNotes } from './point-notes.ts'

/** As it came, checked against the schema of 3.6. */
export interface DataPointBody {
  readonly metric_name: string
  readonly value: number
  readonly metadata?: Readonly<Record<string, unknown>>
  readonly timestamp?: string
  readonly labels?: Readonly<Record<string, string>>
}

export interface Point {
  readonly labels: Labels
  readonly value: number
  /** Null: now. */
  readonly at: Millis | null
  readonly metadata: Readonly<Record<string, unknown>> | null
}

const METADATA_BYTES_MAX = 4096
const LABEL_NAME = /^(?!__)[a-zA-Z_][a-zA-Z0-9_.-]{0,127}$/

/** What the schema cannot say. `Point` when all is well. */
export function checkPoint(body: DataPointBody): { point: Point } | { problems: FieldError[] } {
  const problems: FieldError[] = []
  let at: Millis | null = null
  if (body.timestamp !== undefined) {
    at = fromIso(body.timestamp)
    if (at === null) problems.push({ path: 'timestamp', message: 'expected an ISO 8601 time with its zone' })
  }
  for (const name in body.labels) {
    if (!LABEL_NAME.test(name)) {
      problems.push({
        path: `labels.${name}`,
        message: 'expected a name of letters, digits, _ . and -, not begun by __',
      })
    }
  }
  const metadata = body.metadata && Object.keys(body.metadata).length > 0 ? body.metadata : null
  if (metadata && Buffer.byteLength(JSON.stringify(metadata)) > METADATA_BYTES_MAX) {
    problems.push({ path: 'metadata', message: `must have at most ${METADATA_BYTES_MAX} bytes as JSON` })
  }
  if (problems.length > 0) return { problems }
  const labels = labelsOf(storedName(body.metric_name), body.labels)
  return { point: { labels, value: body.value, at, metadata } }
}

export interface PointSinks {
  readonly appender: Appender
  readonly notes: PointNotes
}

export interface PushedPoints {
  /** The time of points that brought none. */
  readonly now: Millis
  /** By index of the point. */
  readonly refused: ReadonlyMap<number, Refusal>
}

/** The appender reports at most this many problems of one batch. */
const BATCH = 1000

/** Stores `points`; resolves when they, and their metadata, are durable. Throws `AppError` 409 on a clash of claims. */
export async function pushPoints(
  sinks: PointSinks,
  points: readonly Point[],
  now: Millis,
  claim: { readonly key: string; readonly principalId: string; readonly fingerprint: string } | null,
): Promise<PushedPoints> {
  let at = now
  const refused = new Map<number, Refusal>()
  for (let first = 0; first < points.length; first += BATCH) {
    const batch = points.slice(first, first + BATCH)
    const options: AppendOptions = { source: 'api' }
    // The claim holds the time of the request; it goes with the first batch, before which nothing is stored.
    const claimed: AppendOptions =
      claim === null || first > 0
        ? options
        : {
            ...options,
            claim: { key: `${claim.principalId} ${claim.key}`, fingerprint: claim.fingerprint, answer: String(at) },
          }
    let outcome = await sinks.appender.append(columnsOf(batch, at), claimed)
    if (outcome.kind === 'clash') {
      throw conflict('idempotency_clash', 'This Idempotency-Key was used for another request.')
    }
    if (outcome.kind === 'repeated') {
      at = Number(outcome.answer)
      outcome = await sinks.appender.append(columnsOf(batch, at), options)
    }
    if (outcome.kind !== 'appended') throw new Error('a batch without a claim cannot be a repetition')
    for (const { sample, reason } of outcome.report.problems) refused.set(first + sample, reason)
  }
  const notes: PointNote[] = []
  for (const [i, point] of points.entries()) {
    if (point.metadata && !refused.has(i)) {
      notes.push({ labels: point.labels, at: point.at ?? at, metadata: point.metadata })
    }
  }
  sinks.notes.put(notes)
  return { now: at, refused }
}

function columnsOf(points: readonly Point[], now: Millis) {
  const builder = new ColumnBuilder()
  const keys = new Map<string, Uint8Array>()
  for (const point of points) {
    const text = JSON.stringify(point.labels)
    let bytes = keys.get(text)
    if (!bytes) {
      bytes = encodeLabels(point.labels)
      keys.set(text, bytes)
    }
    builder.seriesBytes(bytes).sample(point.at ?? now, point.value)
  }
  return builder.finish()
}

/** What to tell the sender of a refused point. */
export function refusal(reason: Refusal): AppError {
  switch (reason) {
    case 'conflict':
      return conflict('sample_conflict', 'Another value is stored for this series at this time.')
    case 'too_old':
      return field('timestamp', 'is older than what is kept')
    case 'too_far_ahead':
      return field('timestamp', 'is more than 10 minutes ahead')
    case 'cardinality':
      return new AppError(422, 'too_many_series', 'The limit of series is reached; no new series is taken.')
    case 'labels':
      return field('labels', 'are too many or too long')
  }
}

const field = (path: string, message: string) =>
  new AppError(422, 'validation_failed', `${path}: ${message}`, { fields: [{ path, message }] })
