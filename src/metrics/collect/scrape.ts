/**
 * Scraping: asks services for their metrics in text form, as Prometheus does, and appends what they say.
 *
 *   configuration, file_sd lists ──▶ targets ──every interval──▶ GET ──▶ text ──▶ columns ──append──▶ pipeline
 *
 * Each target has its own timer, started at an offset made from its address, so that targets spread over the interval
 * and keep their place. A target holds the label bytes of every series it has seen, by the text of the series: a
 * known one costs one look-up. A series that is gone from an answer, or whose target fails or goes away, ends with a
 * stale marker. Beside its samples each target writes `up`, `scrape_duration_seconds`, `scrape_samples_scraped`.
 */
import { createHash } from 'node:crypto'
import { glob, readFile } from 'node:fs/promises'
import http from 'node:http'
import https from 'node:https'
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib'
import { messageOf } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { Cancel, Scheduler } from '../../base/scheduler.ts'
import { ColumnBuilder, staleMarker, writeStale } from '../columns.ts'
import { parseSeries, scanText, type TextFormat, textOf } from '../ingest/text.ts'
import { encodeLabels, type Labels, labelsOf, METRIC_NAME } from '../labels.ts'
import type { Appender } from '../metrics.ts'
import { parseFileSd, type ScrapeJob } from './scrape-config.ts'

export interface ScraperOptions {
  readonly appender: Appender
  readonly scheduler: Scheduler
  readonly log: Log
}

/** A target as people see it; no secret is in it. */
export interface TargetStatus {
  readonly job: string
  readonly url: string
  readonly labels: Readonly<Record<string, string>>
  readonly health: 'unknown' | 'up' | 'down'
  readonly lastScrape: number | null
  readonly durationMs: number | null
  readonly samples: number | null
  readonly error: string | null
}

/** How often lists of targets are read again. */
const FILES_EVERY_MS = 30_000

export class Scraper {
  readonly #options: ScraperOptions
  #jobs: readonly ScrapeJob[] = []
  readonly #targets = new Map<string, Target>()
  readonly #files: Cancel
  #updating: Promise<void> = Promise.resolve()

  constructor(options: ScraperOptions) {
    this.#options = options
    this.#files = options.scheduler.every(FILES_EVERY_MS, () => this.#update())
  }

  /** Takes over a new list. Targets that stay keep their place in the interval; those that left end with stale markers. */
  configure(jobs: readonly ScrapeJob[]): Promise<void> {
    this.#jobs = jobs
    return this.#update()
  }

  status(): TargetStatus[] {
    return [...this.#targets.values()].map((target) => target.status)
  }

  /** Ends the timers and requests under way. Writes no stale markers: the platform stops, not the targets. */
  async stop(): Promise<void> {
    this.#files.cancel()
    this.#jobs = []
    for (const target of this.#targets.values()) target.stop()
    await Promise.all([...this.#targets.values()].map((target) => target.idle()))
    this.#targets.clear()
  }

  #update(): Promise<void> {
    this.#updating = this.#updating.then(async () => {
      const wanted = new Map<string, () => Target>()
      for (const job of this.#jobs) {
        for (const { url, labels } of [...targetsOfUrls(job), ...(await this.#targetsOfFiles(job))]) {
          const key = JSON.stringify([url, labels, job])
          wanted.set(key, () => new Target(job, url, labels, this.#options))
        }
      }
      for (const [key, target] of this.#targets) {
        if (wanted.has(key)) continue
        this.#targets.delete(key)
        target.stop()
        await target.idle()
        await target.end()
      }
      for (const [key, make] of wanted) if (!this.#targets.has(key)) this.#targets.set(key, make())
    })
    return this.#updating
  }

  /** What the last good reading of each file said: a half-written file loses no targets. */
  readonly #lists = new Map<string, FoundTarget[]>()

  async #targetsOfFiles(job: ScrapeJob): Promise<FoundTarget[]> {
    const found: FoundTarget[] = []
    for (const pattern of job.files) {
      for await (const file of glob(pattern)) {
        const key = `${job.name}\n${file}`
        try {
          // Loaded where files are watched, and not before: 32 ms of a start and 3 MB.
          const yaml = await import('yaml')
          const lists = parseFileSd(yaml.parse(await readFile(file, 'utf8')))
          this.#lists.set(
            key,
            lists.flatMap((list) => list.targets.map((address) => targetOfAddress(job, address, list.labels))),
          )
        } catch (error) {
          this.#options.log.warn('A list of scrape targets cannot be read.', { file, reason: messageOf(error) })
        }
        found.push(...(this.#lists.get(key) ?? []))
      }
    }
    return found
  }
}

interface FoundTarget {
  readonly url: string
  readonly labels: Readonly<Record<string, string>>
}

const targetsOfUrls = (job: ScrapeJob): FoundTarget[] =>
  job.urls.map((url) => ({ url, labels: { job: job.name, instance: new URL(url).host, ...job.labels } }))

/** `host:port`, with the labels `__scheme__` and `__metrics_path__` meaning what they mean to Prometheus. */
function targetOfAddress(job: ScrapeJob, address: string, own: Readonly<Record<string, string>>): FoundTarget {
  const url = new URL(`${own.__scheme__ ?? job.scheme}://${address}`)
  if (!/^https?:$/.test(url.protocol)) throw new Error(`${address}: expected http or https`)
  url.pathname = own.__metrics_path__ ?? job.path
  const labels: Record<string, string> = { job: job.name, instance: address, ...job.labels }
  for (const name in own) if (!name.startsWith('__')) labels[name] = own[name]!
  return { url: url.href, labels }
}

// --------------------------------------------------------------------------------------------------- target

interface Seen {
  readonly bytes: Uint8Array
  /** The round in which it came up first, and last. */
  readonly since: number
  round: number
  /** Brings its own times: its end cannot be told from a pause. */
  ownTime: boolean
}

class Target {
  status: TargetStatus
  readonly #job: ScrapeJob
  readonly #labels: Readonly<Record<string, string>>
  readonly #options: ScraperOptions
  readonly #agent: http.Agent
  readonly #series = new Map<string, Seen>()
  readonly #reports: readonly Uint8Array[]
  readonly #abort = new AbortController()
  #timer: Cancel
  #open: Promise<void> | null = null
  #round = 0

  constructor(job: ScrapeJob, url: string, labels: Readonly<Record<string, string>>, options: ScraperOptions) {
    this.#job = job
    this.#labels = labels
    this.#options = options
    this.status = {
      job: job.name,
      url,
      labels,
      health: 'unknown',
      lastScrape: null,
      durationMs: null,
      samples: null,
      error: null,
    }
    this.#agent = url.startsWith('https:')
      ? new https.Agent({ keepAlive: true, maxSockets: 1 })
      : new http.Agent({ keepAlive: true, maxSockets: 1 })
    this.#reports = ['up', 'scrape_duration_seconds', 'scrape_samples_scraped'].map((name) =>
      encodeLabels(labelsOf(name, labels)),
    )
    const { scheduler } = options
    const digest = createHash('sha256')
      .update(JSON.stringify([url, labels]))
      .digest()
    const place = digest.readUInt32LE() % job.intervalMs
    const wait = (((place - scheduler.clock.now()) % job.intervalMs) + job.intervalMs) % job.intervalMs
    const start = () => {
      this.#open ??= this.#scrape().finally(() => {
        this.#open = null
      })
    }
    this.#timer = scheduler.after(wait, () => {
      this.#timer = scheduler.every(job.intervalMs, start)
      start()
    })
  }

  stop(): void {
    this.#timer.cancel()
    this.#abort.abort()
    this.#agent.destroy()
  }

  /** When nothing is under way any more. */
  async idle(): Promise<void> {
    await this.#open
  }

  /** Ends all series of the target: it is not watched any more. */
  async end(): Promise<void> {
    this.#round++
    const batch = this.#stale(new ColumnBuilder(), this.#options.scheduler.clock.now())
    for (const bytes of this.#reports) batch.add(bytes)
    await this.#append(batch.finish())
  }

  async #scrape(): Promise<void> {
    const { scheduler, log } = this.#options
    const at = Math.floor(scheduler.clock.now())
    const started = scheduler.clock.monotonic()
    this.#round++
    let builder = new ColumnBuilder()
    let samples = 0
    let error: string | null = null
    try {
      const answer = await this.#fetch()
      samples = this.#read(answer, at, builder)
    } catch (failure) {
      if (this.#abort.signal.aborted) return
      error = messageOf(failure)
      samples = 0
      builder = new ColumnBuilder()
      // Nothing of it is stored: what it brought first never began, and all else was not seen.
      for (const [text, series] of this.#series) if (series.since === this.#round) this.#series.delete(text)
      this.#round++
    }
    const durationMs = scheduler.clock.monotonic() - started
    const up = error === null
    if (up !== (this.status.health !== 'down')) {
      const fields = { job: this.#job.name, instance: this.#labels.instance, reason: error }
      if (up) log.info('A scrape target is up again.', fields)
      else log.warn('A scrape target is down.', fields)
    }
    this.status = { ...this.status, health: up ? 'up' : 'down', lastScrape: at, durationMs, samples, error }
    const reports = [up ? 1 : 0, durationMs / 1000, samples]
    for (const [i, bytes] of this.#reports.entries()) builder.seriesBytes(bytes).sample(at, reports[i]!)
    await this.#append(this.#stale(builder, at).finish())
  }

  /** Puts the samples of an answer into `builder`; answers how many. Throws where the text breaks its format. */
  #read(answer: Answer, at: number, builder: ColumnBuilder): number {
    const job = this.#job
    let samples = 0
    scanText(textOf(answer.body), answer.format, { samplesMax: job.sampleLimit }, (text, value, time, line) => {
      let series = this.#series.get(text)
      if (!series) {
        const labels = withTarget(parseSeries(text, line), this.#labels, job.honorLabels)
        series = { bytes: encodeLabels(labels), since: this.#round, round: this.#round, ownTime: false }
        // A copy: a piece of the text would keep all of it in memory.
        this.#series.set(Buffer.from(text).toString(), series)
      }
      series.round = this.#round
      series.ownTime = time !== null && job.honorTimestamps
      builder.seriesBytes(series.bytes).sample(time !== null && job.honorTimestamps ? time : at, value)
      samples++
    })
    return samples
  }

  /** Adds a stale marker for each series that was there before and is not now; forgets it. */
  #stale(builder: ColumnBuilder, at: number): StaleBatch {
    const batch = new StaleBatch(builder, at)
    for (const [text, series] of this.#series) {
      if (series.round === this.#round) continue
      this.#series.delete(text)
      if (!series.ownTime) batch.add(series.bytes)
    }
    return batch
  }

  async #append(columns: ReturnType<ColumnBuilder['finish']>): Promise<void> {
    try {
      await this.#options.appender.append(columns, { source: 'scrape' })
    } catch (error) {
      this.#options.log.warn('A scrape could not be stored.', { job: this.#job.name, reason: messageOf(error) })
    }
  }

  async #fetch(): Promise<Answer> {
    const job = this.#job
    const headers: Record<string, string> = {
      accept: 'application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1',
      'accept-encoding': 'gzip',
      'user-agent': 'opinion-market',
      'x-prometheus-scrape-timeout-seconds': String(job.timeoutMs / 1000),
    }
    const file = async (path: string | null) => (path === null ? undefined : await readFile(path))
    const secret = async (value: string | null, path: string | null) => value ?? (await file(path))?.toString().trim()
    const bearer = await secret(job.bearerToken, job.bearerTokenFile)
    if (bearer !== undefined) headers.authorization = `Bearer ${bearer}`
    if (job.basicAuth) {
      const password = (await secret(job.basicAuth.password, job.basicAuth.passwordFile)) ?? ''
      headers.authorization = `Basic ${Buffer.from(`${job.basicAuth.username}:${password}`).toString('base64')}`
    }
    const url = new URL(this.status.url)
    const options: https.RequestOptions = { agent: this.#agent, headers, signal: this.#abort.signal }
    if (url.protocol === 'https:') {
      const { caFile, certFile, keyFile, serverName, insecureSkipVerify } = job.tls
      const [ca, cert, key] = [await file(caFile), await file(certFile), await file(keyFile)]
      options.rejectUnauthorized = !insecureSkipVerify
      if (ca) options.ca = ca
      if (cert) options.cert = cert
      if (key) options.key = key
      if (serverName !== null) options.servername = serverName
    }
    return fetchText(url, options, job.timeoutMs, job.sizeLimit, this.#options.scheduler)
  }
}

/** Collects stale markers behind the samples of a batch; writes them bit by bit. */
class StaleBatch {
  readonly #builder: ColumnBuilder
  readonly #at: number
  readonly #first: number

  constructor(builder: ColumnBuilder, at: number) {
    this.#builder = builder
    this.#at = Math.floor(at)
    this.#first = builder.sampleCount
  }

  add(bytes: Uint8Array): void {
    this.#builder.seriesBytes(bytes).sample(this.#at, staleMarker)
  }

  finish() {
    const columns = this.#builder.finish()
    for (let i = this.#first; i < columns.sampleCount; i++) writeStale(columns.values, i)
    return columns
  }
}

/** Labels of a target over those of a series; a clash is renamed to `exported_…`, unless the series' own are honoured. */
export function withTarget(series: Labels, target: Readonly<Record<string, string>>, honorLabels: boolean): Labels {
  const merged: Record<string, string> = { ...target }
  let name = ''
  const own = Object.fromEntries(series)
  for (const [key, value] of series) {
    if (key === METRIC_NAME) name = value
    else if (!Object.hasOwn(target, key) || honorLabels) merged[key] = value
    else {
      let renamed = `exported_${key}`
      while (Object.hasOwn(target, renamed) || Object.hasOwn(own, renamed)) renamed = `exported_${renamed}`
      merged[renamed] = value
    }
  }
  return labelsOf(name, merged)
}

// ------------------------------------------------------------------------------------------------------ HTTP

interface Answer {
  readonly body: Uint8Array
  readonly format: TextFormat
}

/** One GET within `timeoutMs` from start to last byte, of at most `sizeLimit` bytes unpacked. Throws an Error. */
function fetchText(
  url: URL,
  options: https.RequestOptions,
  timeoutMs: number,
  sizeLimit: number,
  scheduler: Scheduler,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'https:' ? https : http).get(url, options)
    const fail = (why: Error) => {
      limit.cancel()
      request.destroy()
      reject(why)
    }
    const limit = scheduler.after(timeoutMs, () => fail(new Error(`no whole answer within ${timeoutMs / 1000} s`)))
    request.on('error', fail)
    request.on('response', (response) => {
      if (response.statusCode !== 200) return fail(new Error(`the answer has status ${response.statusCode}`))
      const unpack = decompressor(response.headers['content-encoding'])
      if (unpack === null) return fail(new Error('the answer has an encoding that was not asked for'))
      const body = unpack ? response.pipe(unpack) : response
      const chunks: Buffer[] = []
      let size = 0
      body.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size > sizeLimit) fail(new Error(`the answer has more than ${sizeLimit} bytes`))
        else chunks.push(chunk)
      })
      response.on('aborted', () => fail(new Error('the answer is cut off')))
      response.on('error', fail)
      body.on('error', fail)
      body.on('end', () => {
        if (!response.complete) return fail(new Error('the answer is cut off'))
        limit.cancel()
        const type = response.headers['content-type'] ?? ''
        const format = /^application\/openmetrics-text\b/i.test(type) ? 'openmetrics' : 'prometheus'
        resolve({ body: Buffer.concat(chunks), format })
      })
    })
  })
}

/** Undefined for none, null for one that is unknown. */
function decompressor(encoding: string | undefined) {
  switch (encoding?.toLowerCase()) {
    case undefined:
    case 'identity':
      return undefined
    case 'gzip':
      return createGunzip()
    case 'deflate':
      return createInflate()
    case 'br':
      return createBrotliDecompress()
    default:
      return null
  }
}
