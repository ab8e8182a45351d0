/** Detection as a consumer of the WAL, on a real database: crashes, repeated feeding, verdicts. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Log, silentLog } from '../base/log.ts'
import { seededRandom } from '../base/random.ts'
import { type FakeScheduler, fakeScheduler } from '../base/scheduler.ts'
import { DAY, HOUR } from '../base/time.ts'
import { type AppliedBatch, type Labels, labelsOf } from '../metrics/index.ts'
import type { Database } from '../storage/database.ts'
import { type Anomalies, openAnomalies } from './anomalies.ts'
import { openAnalytics } from './database.ts'
import { SEASON_BYTES } from './detectors/seasons.ts'
import { type AnalyticsNote, LiveDetector, WRITE_MS } from './live.ts'
import { readState } from './state-file.ts'
import { openSwitch } from './switch.ts'

const START = Date.UTC(2026, 0, 5)
const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 1e9))
const STEP = 60_000
const SERIES = 6
const labels: Labels[] = Array.from({ length: SERIES }, (_, i) =>
  labelsOf(i === 5 ? 'requests_total' : 'load', { instance: `h${i % 2}`, n: String(i) }),
)

let dir: string
let db: Database
let scheduler: FakeScheduler
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'om-live-'))
  db = openAnalytics(join(dir, 'analytics.db'))
  scheduler = fakeScheduler(START)
})
afterEach(() => {
  db.close()
  rmSync(dir, { recursive: true })
})

/** Ten days of noise, a batch a minute; on day 8 four series jump one after the other within five minutes. */
function batches(): AppliedBatch[] {
  const random = seededRandom(seed)
  const made: AppliedBatch[] = []
  let total = 0
  for (let k = 0; k < (10 * DAY) / STEP; k++) {
    const values = Float64Array.from({ length: SERIES }, (_, i) => {
      const noise = random.next() + random.next() + random.next()
      if (i === 5) {
        total += 10 + noise
        return total
      }
      const jumped = k * STEP > 8 * DAY + i * 90_000 && k * STEP < 8 * DAY + 2 * HOUR && i < 4
      return 50 + noise + (jumped ? 60 : 0)
    })
    made.push({
      position: k,
      count: SERIES,
      series: Uint32Array.from({ length: SERIES }, (_, i) => i),
      times: new Float64Array(SERIES).fill(START + k * STEP),
      values,
      fresh: new Uint8Array(SERIES).fill(1),
    })
  }
  return made
}

function start(notes: AnalyticsNote[] = [], log: Log = silentLog): LiveDetector {
  return new LiveDetector({
    db,
    stateFile: join(dir, 'detector.state'),
    detector: {},
    log,
    scheduler,
    labelsOf: (id) => labels[id]!,
    tell: (note) => void notes.push(note),
  })
}

const rows = () => db.prepare('SELECT id, event, at, deviations FROM anomalies ORDER BY id').all()

describe(`detection in the pipeline (seed ${seed})`, () => {
  test('a jump of several series is one event, told once, the first mover first', () => {
    const notes: AnalyticsNote[] = []
    const live = start(notes)
    for (const batch of batches()) live.apply(batch)
    live.close()
    const anomalies = openAnomalies(db)
    const jump = anomalies.events(START + 8 * DAY - HOUR, 10).find((e) => e.startedAt < START + 8 * DAY + HOUR)!
    expect(new Set(jump.members.map((m) => m.labels.n))).toEqual(new Set(['0', '1', '2', '3']))
    expect(jump.members[0]!.labels.n).toBe('0')
    expect(notes.flatMap((n) => (n.kind === 'anomalies' ? n.ids : []))).toHaveLength(rows().length)
  })

  test('while analytics is off nothing is said, also when it is fed again; learning goes on', () => {
    const from = START + 8 * DAY - HOUR
    const until = START + 8 * DAY + 12 * HOUR
    const power = openSwitch(db)
    power.set(false, from)
    power.set(true, until)
    const live = start()
    for (const batch of batches()) live.apply(batch)
    live.close()
    const told = db.prepare('SELECT at FROM anomalies').pluck().all() as number[]
    expect(told.filter((at) => at >= from && at < until)).toEqual([])
    expect(power.on()).toBe(true)
    power.set(false, until + DAY)
    power.set(false, until + 2 * DAY)
    expect([power.on(), power.wasOff()(until + DAY), power.wasOff()(until)]).toEqual([false, true, false])
  })

  test('an onset is written half a second later, with what else was raised until then', async () => {
    const live = start()
    for (const batch of batches()) live.apply(batch)
    expect(rows()).toHaveLength(0)
    await scheduler.run(WRITE_MS)
    expect(rows().length).toBeGreaterThanOrEqual(4)
    live.close()
  })

  test('killed at any moment and fed again from its position: the same rows, none twice', async () => {
    const all = batches()
    const whole = start()
    for (const batch of all) whole.apply(batch)
    whole.close()
    const expected = rows()
    expect(expected.length).toBeGreaterThanOrEqual(4)
    db.exec('DELETE FROM anomalies')
    rmSync(join(dir, 'detector.state'))

    const random = seededRandom(seed + 1)
    let live = start()
    let next = 0
    while (next < all.length) {
      live.apply(all[next++]!)
      if (next % 700 === 0) {
        scheduler.clock.advance(20 * 60_000)
        live.checkpoint()
      }
      if (next % 150 === 0) await scheduler.run(WRITE_MS)
      if (random.next() < 0.0004) {
        // Killed, its timers with it: what was not saved is gone, the WAL feeds it again.
        scheduler = fakeScheduler(scheduler.clock.now())
        live = start()
        next = live.resumeAfter() + 1
      }
    }
    live.close()
    expect(rows()).toEqual(expected)
  })

  test('a damaged state is said, and learning starts anew', () => {
    const live = start()
    for (const batch of batches().slice(0, 100)) live.apply(batch)
    live.close()
    const file = join(dir, 'detector.state')
    const bytes = readFileSync(file)
    bytes[bytes.length - 3]! ^= 1
    writeFileSync(file, bytes)
    expect(() => readState(file)).toThrow('damaged')
    expect(start().resumeAfter()).toBe(-1)
  })

  test('the state of a clean stop covers everything', () => {
    const all = batches().slice(0, 500)
    const live = start()
    for (const batch of all) live.apply(batch)
    live.close()
    expect(live.checkpoint()).toBe(499)
    expect(start().resumeAfter()).toBe(499)
  })

  test('a state that was lost: what is fed again judges no sample twice, however much of it is left', () => {
    const all = batches()
    const live = start()
    for (const batch of all) live.apply(batch)
    live.close()
    const before = rows() as { id: string }[]
    rmSync(join(dir, 'detector.state'))
    const anew = start()
    for (const batch of all.slice(3000)) anew.apply(batch)
    anew.close()
    const after = db.prepare('SELECT id, series, at FROM anomalies').all() as {
      id: string
      series: number
      at: number
    }[]
    expect(after.map((r) => r.id)).toEqual(expect.arrayContaining(before.map((r) => r.id)))
    expect(db.prepare('SELECT 1 FROM anomalies GROUP BY series, at HAVING count(*) > 1').all()).toEqual([])
    // Only what came after the last row of its series can be new.
    const newest = db.prepare(
      'SELECT max(at) FROM anomalies WHERE series = ? AND id IN (SELECT value FROM json_each(?))',
    )
    const old = JSON.stringify(before.map((r) => r.id))
    for (const { id, series, at } of after)
      if (!old.includes(`"${id}"`)) expect(at).toBeGreaterThan((newest.pluck().get(series, old) as number) ?? 0)
  })

  test('what the database refuses waits, and no state covers it', async () => {
    const all = batches()
    const errors: string[] = []
    const live = start([], { ...silentLog, error: (message) => void errors.push(message) })
    const jump = (8 * DAY) / STEP
    for (const batch of all.slice(0, jump)) live.apply(batch)
    await scheduler.run(WRITE_MS)
    const before = rows().length
    db.pragma('query_only = true')
    for (const batch of all.slice(jump, jump + 30)) live.apply(batch)
    await scheduler.run(WRITE_MS)
    expect(errors).toHaveLength(1)
    scheduler.clock.advance(HOUR)
    expect(() => live.checkpoint()).toThrow()
    expect(readState(join(dir, 'detector.state'))).toBeNull()
    db.pragma('query_only = false')
    expect(live.checkpoint()).toBe(jump + 29)
    expect(rows().length).toBeGreaterThanOrEqual(before + 4)
    live.close()
  })

  test('an absence is told once, also when the process is killed after it; a clock that is set is none', async () => {
    const all = batches().slice(0, 2000)
    const absent = () => db.prepare("SELECT count(*) FROM anomalies WHERE view = 'absent'").pluck().get()
    const first = start()
    for (const batch of all) first.apply(batch)
    scheduler.clock.jumpTo(START + 2000 * STEP)
    await scheduler.run(9 * 60_000)
    expect(absent()).toBe(0)
    scheduler.clock.jumpTo(START + 10 * DAY)
    await scheduler.run(9 * 60_000)
    expect(absent()).toBe(0)
    await scheduler.run(5 * 60_000)
    expect(absent()).toBe(SERIES)

    const second = start() // the first was killed: nothing of its state is left
    for (const batch of all) second.apply(batch)
    await scheduler.run(HOUR)
    expect(absent()).toBe(SERIES)
    second.close()
  })

  test('a deleted series is not absent', async () => {
    const known = labels[2]!
    const live = start()
    for (const batch of batches().slice(0, 2000)) live.apply(batch)
    scheduler.clock.jumpTo(START + 2000 * STEP)
    labels[2] = []
    await scheduler.run(2 * HOUR)
    labels[2] = known
    const series = db.prepare("SELECT series FROM anomalies WHERE view = 'absent' ORDER BY series").pluck().all()
    expect(series).toEqual([0, 1, 3, 4, 5])
    live.close()
  })

  test('rates by host count the series with an onset', async () => {
    const notes: AnalyticsNote[] = []
    const live = start(notes)
    for (const batch of batches()) {
      if (batch.times[0]! > START + 8 * DAY + 600_000) break
      live.apply(batch)
    }
    scheduler.clock.jumpTo(START + 8 * DAY + 600_000)
    await scheduler.run(60_000)
    const rates = notes.find((n) => n.kind === 'rates')!
    expect(rates.kind === 'rates' && rates.hosts).toEqual([
      { host: '', series: 6, anomalous: 4 },
      { host: 'h0', series: 3, anomalous: 2 },
      { host: 'h1', series: 3, anomalous: 2 },
    ])
    live.close()
  })
})

describe('what detection says as metrics', () => {
  const before = [...labels]
  afterEach(() => {
    labels.splice(0, labels.length, ...before)
  })

  test('the scores of the platform’s own metrics; what it says itself is not judged again', async () => {
    labels[0] = labelsOf('system_cpu_usage', { service: 'opinion-market' })
    labels[1] = labelsOf('analytics_anomaly_rate', { service: 'opinion-market' })
    labels[2] = labelsOf('system_cpu_usage', { service: 'another' })
    const notes: AnalyticsNote[] = []
    const live = start(notes)
    for (const batch of batches()) {
      if (batch.times[0]! > START + 8 * DAY + 600_000) break
      live.apply(batch)
    }
    await scheduler.run(WRITE_MS)
    const names = new Set(
      openAnomalies(db)
        .list({ limit: 1000, since: START + 8 * DAY })
        .map((a) => a.metricName),
    )
    expect(names.has('system.cpu_usage')).toBe(true)
    expect(names.has('analytics_anomaly_rate')).toBe(false)
    scheduler.clock.jumpTo(START + 8 * DAY + 600_000)
    await scheduler.run(60_000)
    const note = notes.find((n) => n.kind === 'scores')!
    expect(note.kind === 'scores' && note.scores.map((s) => s.metric)).toEqual(['system.cpu_usage'])
    const score = note.kind === 'scores' ? note.scores[0]!.score : 0
    expect(score).toBeGreaterThan(0.5)
    expect(score).toBeLessThanOrEqual(1)
    live.close()
  })

  test('the place of a deleted series goes to the next one that waits', async () => {
    const live = new LiveDetector({
      db,
      stateFile: join(dir, 'detector.state'),
      detector: { seasonBytesMax: 2 * SEASON_BYTES },
      log: silentLog,
      scheduler,
      labelsOf: (id) => labels[id]!,
      tell: () => {},
    })
    const all = batches()
    for (const batch of all.slice(0, 100)) live.apply(batch)
    expect(live.memory().withSeasons).toBe(2)
    labels[0] = []
    await scheduler.run(60_000)
    expect(live.memory().withSeasons).toBe(2)
    labels[1] = []
    labels[2] = []
    labels[3] = []
    labels[4] = []
    labels[5] = []
    await scheduler.run(60_000)
    expect(live.memory().withSeasons).toBe(0)
    live.close()
  })
})

test('the platform’s own metrics have seasons, however many series came before them', async () => {
  const all = batches()[0]!
  const live = new LiveDetector({
    db,
    stateFile: join(dir, 'detector.state'),
    detector: { seasonBytesMax: 2 * SEASON_BYTES },
    log: silentLog,
    scheduler,
    labelsOf: (id) => (id === 5 ? labelsOf('system_cpu_usage', { service: 'opinion-market' }) : labelsOf('x', {})),
    tell: () => {},
  })
  live.apply(all)
  expect(live.memory().withSeasons).toBe(3)
  live.close()
})

describe('verdicts', () => {
  let anomalies: Anomalies
  const put = (id: string, at: number, deviations: number, more: Partial<{ value: number; season: string }> = {}) =>
    db
      .prepare(
        "INSERT INTO anomalies VALUES (?, ?, 1, 'system_cpu_usage', '{\"service\":\"x\"}', ?, 'level', ?, ?, 50, 40, 60, ?, 0.6)",
      )
      .run(id, id, at, more.season ?? 'none', more.value ?? 90, deviations)
  const verdict = (v: 'real' | 'noise') => ({ verdict: v, note: 'n', who: 'mira', at: START + DAY })
  const listed = (hidden = false) => anomalies.list({ limit: 10, hidden }).map((a) => a.id)

  beforeEach(() => {
    anomalies = openAnomalies(db)
    put('a', START, 3)
    put('b', START + HOUR, 4.4)
    put('c', START + 2 * HOUR, 9)
    put('d', START + 3 * HOUR, 3, { value: 10 })
  })

  test('noise hides the pattern: not what is much stronger, nor the other direction', () => {
    expect(anomalies.judge('a', verdict('noise'))).toMatchObject({ hides: ['b', 'a'] })
    expect(listed()).toEqual(['d', 'c'])
    expect(listed(true)).toEqual(['d', 'c', 'b', 'a'])
    expect(anomalies.get('b')).toMatchObject({ hiddenBy: 'a', metricName: 'system.cpu_usage', severity: 'high' })
  })

  test('it survives a restart and can be taken back', () => {
    anomalies.judge('a', verdict('noise'))
    anomalies = openAnomalies(db)
    expect(listed()).toEqual(['d', 'c'])
    expect(anomalies.unjudge('a')).toBe(true)
    expect(anomalies.unjudge('a')).toBe(false)
    expect(listed()).toHaveLength(4)
  })

  test('what was called real is never hidden', () => {
    anomalies.judge('b', verdict('real'))
    expect(anomalies.judge('a', verdict('noise'))).toMatchObject({ hides: ['a'] })
    expect(listed()).toContain('b')
  })

  test('with a season the pattern holds around its hour', () => {
    put('day1', START + 9 * HOUR, 3, { season: 'day' })
    put('day2', START + DAY + 10 * HOUR, 3, { season: 'day' })
    put('evening', START + DAY + 20 * HOUR, 3, { season: 'day' })
    anomalies.judge('day1', verdict('noise'))
    expect(listed()).toContain('evening')
    expect(listed()).not.toContain('day2')
  })

  test('filters', () => {
    expect(anomalies.list({ limit: 10, severity: 'low' }).map((a) => a.id)).toEqual(['d', 'a'])
    expect(anomalies.list({ limit: 10, severity: 'high' }).map((a) => a.id)).toEqual(['c', 'b'])
    expect(anomalies.list({ limit: 10, metricName: 'cpu_usage', since: START + HOUR }).map((a) => a.id)).toEqual([
      'd',
      'c',
      'b',
    ])
    expect(anomalies.list({ limit: 1 })).toHaveLength(1)
    expect(anomalies.judge('none', verdict('real'))).toBeNull()
  })
})
