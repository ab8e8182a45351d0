/**
 * Which services are scraped, as `scrape.targets` of config/platform.yaml says it:
 *
 *   scrape:
 *     targets:
 *       - name: checkout                       the label `job`
 *         urls: [http://10.0.0.5:9100/metrics]
 *         files: [targets/*.json]              Prometheus' file_sd lists, JSON or YAML, looked at again every 30 s
 *         interval: 15                         seconds; so is timeout
 *         labels: { env: prod }
 *         bearer_token_file: /run/secrets/t    or bearer_token, or basic_auth: { username, password | password_file }
 */
export interface ScrapeJob {
  readonly name: string
  readonly urls: readonly string[]
  readonly files: readonly string[]
  /** For targets that come as `host:port` from files. */
  readonly scheme: 'http' | 'https'
  readonly path: string
  readonly intervalMs: number
  readonly timeoutMs: number
  readonly labels: Readonly<Record<string, string>>
  /** Most bytes of an answer, unpacked. */
  readonly sizeLimit: number
  readonly sampleLimit: number
  /** The service's own `job`, `instance` and so on win over ours, instead of being renamed to `exported_…`. */
  readonly honorLabels: boolean
  readonly honorTimestamps: boolean
  readonly bearerToken: string | null
  readonly bearerTokenFile: string | null
  readonly basicAuth: {
    readonly username: string
    readonly password: string | null
    readonly passwordFile: string | null
  } | null
  readonly tls: TlsOptions
}

export interface TlsOptions {
  readonly caFile: string | null
  readonly certFile: string | null
  readonly keyFile: string | null
  readonly serverName: string | null
  readonly insecureSkipVerify: boolean
}

const LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/

/** Checks what stands in the file. Throws an Error that says where, and what would be right. */
export function parseScrapeJobs(raw: unknown): readonly ScrapeJob[] {
  if (raw === null) return []
  if (!Array.isArray(raw)) throw new Error('a list of targets')
  const jobs = raw.map((item, i) => parseJob(new Reader(item, `[${i}]`)))
  const names = jobs.map((job) => job.name)
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) throw new Error(`every name once; "${twice}" stands twice`)
  return jobs
}

function parseJob(job: Reader): ScrapeJob {
  const name = job.text('name')
  if (name === null) throw job.wrong('name', 'a text')
  const interval = job.number('interval', 15, 1, 3600)
  const timeout = job.number('timeout', Math.min(10, interval), 0.1, interval)
  const auth = job.object('basic_auth')
  const username = auth?.text('username') ?? null
  if (auth && username === null) throw auth.wrong('username', 'a text')
  const tls = job.object('tls')
  const scheme = job.text('scheme') ?? 'http'
  if (scheme !== 'http' && scheme !== 'https') throw job.wrong('scheme', 'http or https')
  const urls = job.texts('urls')
  for (const [i, url] of urls.entries()) {
    const parsed = URL.canParse(url) ? new URL(url) : null
    if (!parsed || !/^https?:$/.test(parsed.protocol)) throw job.wrong(`urls[${i}]`, 'an address with http or https')
    if (parsed.username || parsed.password) throw job.wrong(`urls[${i}]`, 'no password in it; use basic_auth')
  }
  const result: ScrapeJob = {
    name,
    urls,
    files: job.texts('files'),
    scheme,
    path: job.text('path') ?? '/metrics',
    intervalMs: interval * 1000,
    timeoutMs: timeout * 1000,
    labels: job.labels('labels'),
    sizeLimit: job.number('size_limit', 16 * 1024 * 1024, 1024, 1024 ** 3),
    sampleLimit: job.number('sample_limit', 200_000, 1, 10_000_000),
    honorLabels: job.bool('honor_labels', false),
    honorTimestamps: job.bool('honor_timestamps', true),
    bearerToken: job.text('bearer_token'),
    bearerTokenFile: job.text('bearer_token_file'),
    basicAuth:
      auth && username !== null
        ? { username, password: auth.text('password'), passwordFile: auth.text('password_file') }
        : null,
    tls: {
      caFile: tls?.text('ca_file') ?? null,
      certFile: tls?.text('cert_file') ?? null,
      keyFile: tls?.text('key_file') ?? null,
      serverName: tls?.text('server_name') ?? null,
      insecureSkipVerify: tls?.bool('insecure_skip_verify', false) ?? false,
    },
  }
  for (const part of [job, auth, tls]) part?.done()
  if (result.urls.length + result.files.length === 0) throw job.wrong('urls', 'at least one address, or files')
  return result
}

/** Takes known fields out of an object; `done` refuses what is left, so that a misspelt field cannot pass silently. */
class Reader {
  readonly #at: string
  readonly #rest: Map<string, unknown>

  constructor(raw: unknown, at: string) {
    if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) throw new Error(`${at}: an object`)
    this.#at = at
    this.#rest = new Map(Object.entries(raw))
  }

  wrong(field: string, right: string): Error {
    return new Error(`${this.#at}.${field}: ${right}`)
  }

  #take(field: string): unknown {
    const value = this.#rest.get(field) ?? null
    this.#rest.delete(field)
    return value
  }

  text(field: string): string | null {
    const value = this.#take(field)
    if (value !== null && (typeof value !== 'string' || value === '')) throw this.wrong(field, 'a text')
    return value as string | null
  }

  texts(field: string): string[] {
    const value = this.#take(field) ?? []
    if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) {
      throw this.wrong(field, 'a list of texts')
    }
    return value
  }

  number(field: string, fallback: number, min: number, max: number): number {
    const value = this.#take(field) ?? fallback
    if (typeof value !== 'number' || !(value >= min && value <= max)) {
      throw this.wrong(field, `a number from ${min} to ${max}`)
    }
    return value
  }

  bool(field: string, fallback: boolean): boolean {
    const value = this.#take(field) ?? fallback
    if (typeof value !== 'boolean') throw this.wrong(field, 'true or false')
    return value
  }

  object(field: string): Reader | null {
    const value = this.#take(field)
    return value === null ? null : new Reader(value, `${this.#at}.${field}`)
  }

  labels(field: string): Record<string, string> {
    const value = this.#take(field) ?? {}
    return checkLabels(value, `${this.#at}.${field}`)
  }

  done(): void {
    for (const field of this.#rest.keys()) throw this.wrong(field, 'no such setting')
  }
}

function checkLabels(raw: unknown, at: string): Record<string, string> {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) throw new Error(`${at}: names with texts`)
  for (const [name, value] of Object.entries(raw)) {
    if (!LABEL.test(name)) throw new Error(`${at}.${name}: a name of letters, digits and _`)
    if (typeof value !== 'string') throw new Error(`${at}.${name}: a text`)
  }
  return raw as Record<string, string>
}

export interface FoundTargets {
  readonly targets: readonly string[]
  readonly labels: Readonly<Record<string, string>>
}

/** One of Prometheus' file_sd lists: `[{targets: ["host:port"], labels: {…}}]`. Throws an Error. */
export function parseFileSd(raw: unknown): FoundTargets[] {
  if (!Array.isArray(raw)) throw new Error('expected a list')
  return raw.map((item: unknown, i) => {
    const { targets, labels = {} } = (item ?? {}) as { targets?: unknown; labels?: unknown }
    if (!Array.isArray(targets) || !targets.every((target) => typeof target === 'string')) {
      throw new Error(`[${i}].targets: expected a list of texts`)
    }
    return { targets, labels: checkLabels(labels ?? {}, `[${i}].labels`) }
  })
}
