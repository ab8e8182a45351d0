/**
 * Alertmanager's API v2, so that what speaks to an Alertmanager speaks to us: a Prometheus sends its alerts here, and
 * `amtool` and the dashboards made for it read alerts and silences, and write silences. Alerts of both kinds stand in
 * one list. Bodies, statuses and errors (a JSON text) are Alertmanager's own.
 *
 *   prometheus.yml   alerting: {alertmanagers: [{authorization: {credentials: …}, static_configs: [{targets: [host:8000]}]}]}
 *
 * Beside it `/api/v1/rules` and `/api/v1/alerts` in the form of Prometheus, for Grafana's list of rules.
 */
import Type from 'typebox'
import { AppError, messageOf } from '../../base/errors.ts'
import { newId } from '../../base/id.ts'
import type { Scheduler } from '../../base/scheduler.ts'
import { fromIso, type Millis, SECOND, toIso } from '../../base/time.ts'
import type { ForeignShape, RawReply, Route } from '../../http/route.ts'
import { foreignRoute } from '../../http/route.ts'
import { checkOf } from '../../http/schema.ts'
import { storedName, toObject } from '../../metrics/index.ts'
import type { Engine } from '../engine.ts'
import type { Delivery } from '../index.ts'
import type { Alert } from '../record.ts'
import type { Condition, Rule } from '../rule.ts'
import type { Rules } from '../rules/rules.ts'
import { type AlertCursor, type AlertStore, cursorOf } from '../store.ts'
import type { CompiledSilence, Silence, SilenceMatcher } from '../suppress/silence.ts'
import { MatcherError, parseMatcher, testOf } from './matcher.ts'
import { fingerprint, labelsOfPost, POSTED, type PostedAlert, type PostedAlerts } from './posted.ts'

export interface AlertmanagerRoutesDeps {
  readonly engine: Engine
  readonly store: AlertStore
  readonly rules: Rules
  readonly delivery: Pick<Delivery, 'channels'>
  readonly posted: PostedAlerts
  readonly scheduler: Scheduler
  readonly version: string
  readonly startedAt: Millis
  readonly evaluationMs: () => number
}

type Request = Parameters<ForeignShape['foreign']>[0]
type Handler = (request: Request) => RawReply | Promise<RawReply>

/** The Alertmanager whose API this is. */
const COMPATIBLE = '0.25.0'
const POST_BYTES = 16 * 1024 * 1024
/** Most alerts of one post, and of one answer. */
const ALERTS_MAX = 20_000
const PAGE = 500
/** Most alerts beside the rules. */
const LISTED_MAX = 2000
const OPEN = { statuses: ['active', 'acknowledged', 'suppressed'], sort: 'needs_attention' } as const
const JSON_TYPE = { 'content-type': 'application/json' }

export function alertmanagerRoutes(deps: AlertmanagerRoutesDeps): Route[] {
  const v2 = (method: ForeignShape['method'], path: string, summary: string, handler: Handler): Route =>
    foreignRoute({
      method,
      path: `/api/v2${path}`,
      access: method === 'GET' ? 'viewer' : 'operator',
      tag: 'alertmanager',
      summary,
      ...(method === 'POST' ? { consumes: ['application/json'], bodyLimitBytes: POST_BYTES } : {}),
      foreign: handler,
      onError: alertmanagerError,
    })
  return [
    v2('GET', '/status', 'Version and state, as an Alertmanager without a cluster', () => status(deps)),
    v2('GET', '/receivers', 'The channels', () => json(receivers(deps))),
    v2('GET', '/alerts', 'Alerts that are not resolved', (request) => alerts(deps, request)),
    v2('POST', '/alerts', 'Takes alerts that another system judges', (request) => postAlerts(deps, request)),
    v2('GET', '/alerts/groups', 'The same alerts, by channel and name', (request) => groups(deps, request)),
    v2('GET', '/silences', 'Silences', (request) => silences(deps, request)),
    v2('POST', '/silences', 'Makes or changes a silence', (request) => postSilence(deps, request)),
    v2('GET', '/silence/:id', 'One silence', ({ params }) => json(silenceJson(find(deps, params.id!), now(deps)))),
    v2('DELETE', '/silence/:id', 'Ends a silence', (request) => expire(deps, request)),
    ...prometheusRoutes(deps),
  ]
}

const now = ({ scheduler }: AlertmanagerRoutesDeps) => scheduler.clock.now()
const json = (body: unknown, status = 200): RawReply => ({ status, headers: JSON_TYPE, body: JSON.stringify(body) })
const bad = (message: string) => new AppError(400, 'bad_request', message)

/** Alertmanager answers an error with its sentence, as a JSON text. */
function alertmanagerError(error: unknown): RawReply {
  if (error instanceof AppError) return json(error.message, error.status === 422 ? 400 : error.status)
  return json('The platform made a mistake.', 500)
}

function status(deps: AlertmanagerRoutesDeps): RawReply {
  return json({
    cluster: { status: 'disabled', peers: [] },
    config: { original: '' },
    uptime: toIso(deps.startedAt),
    versionInfo: {
      branch: '',
      buildDate: '',
      buildUser: '',
      goVersion: '',
      revision: `opinion-market-${deps.version}`,
      version: COMPATIBLE,
    },
  })
}

const receivers = ({ delivery }: AlertmanagerRoutesDeps) => delivery.channels.list().map(({ id }) => ({ name: id }))

// --------------------------------------------------------------------------------------------------- alerts

interface Gettable {
  readonly annotations: Readonly<Record<string, string>>
  readonly endsAt: string
  readonly fingerprint: string
  readonly receivers: readonly { readonly name: string }[]
  readonly startsAt: string
  readonly status: {
    readonly state: 'active' | 'suppressed'
    readonly silencedBy: readonly string[]
    readonly inhibitedBy: readonly string[]
    readonly mutedBy: readonly string[]
  }
  readonly updatedAt: string
  readonly generatorURL: string
  readonly labels: Readonly<Record<string, string>>
}

/** Labels under which an alert is known to Alertmanager's friends; a silence over them matches it here as well. */
function labelsOf(alert: Alert): Record<string, string> {
  const own = toObject(alert.labels)
  if (alert.ruleId.startsWith(POSTED)) return own
  return {
    ...own,
    ...alert.facts.extraLabels,
    alertname: alert.facts.ruleName,
    severity: alert.facts.extraLabels.severity ?? alert.facts.baseSeverity,
    rule_id: alert.ruleId,
    ...(alert.metricName === '' ? {} : { metric_name: alert.metricName }),
  }
}

function gettable(deps: AlertmanagerRoutesDeps, alert: Alert): Gettable {
  const facts = deps.posted.facts(alert)
  const labels = labelsOf(alert)
  const at = now(deps)
  const [by, id = ''] = alert.suppressedBy?.split(/:(.*)/s) ?? []
  return {
    annotations: { summary: alert.title, description: alert.message, ...alert.facts.annotations },
    endsAt: toIso(facts?.endsAt ?? at + 4 * deps.evaluationMs()),
    fingerprint: fingerprint(labels),
    receivers: alert.facts.channels.map((name) => ({ name })),
    startsAt: toIso(alert.since),
    status: {
      state: alert.status === 'suppressed' ? 'suppressed' : 'active',
      silencedBy: by === 'silence' ? [id] : [],
      inhibitedBy: by === 'rule' ? [id] : [],
      mutedBy: [],
    },
    updatedAt: toIso(facts?.updatedAt ?? at),
    generatorURL: facts?.generatorUrl ?? '',
    labels,
  }
}

/** What the query of a list asks for, page by page: nothing else waits for a long list. */
async function* selected(deps: AlertmanagerRoutesDeps, { query }: Request) {
  const flag = (name: string) => {
    const text = query.get(name)
    if (text === null || text === '') return true
    if (text === 'true' || text === '1') return true
    if (text === 'false' || text === '0') return false
    throw bad(`${name} in query must be of type boolean: ${JSON.stringify(text)}`)
  }
  const wanted = { active: flag('active'), silenced: flag('silenced'), inhibited: flag('inhibited') }
  const matchers = query.getAll('filter').map(readMatcher)
  const tests = matchers.map((matcher) => ({ name: matcher.name, test: testOf(matcher) }))
  const receiver = query.get('receiver')
  const ofReceiver = receiver === null || receiver === '' ? null : readTest(receiver)
  let after: AlertCursor | undefined
  for (let left = ALERTS_MAX; left > 0; left -= PAGE) {
    const page = deps.store.list({ ...OPEN, limit: PAGE, ...(after ? { after } : {}) })
    const found: { alert: Alert; shown: Gettable }[] = []
    for (const alert of page) {
      const silenced = alert.suppressedBy?.startsWith('silence:') ?? false
      const inhibited = alert.suppressedBy !== null && !silenced
      if (silenced ? !wanted.silenced : inhibited ? !wanted.inhibited : !wanted.active) continue
      const labels = labelsOf(alert)
      if (!tests.every(({ name, test }) => test(labels[name] ?? ''))) continue
      if (ofReceiver && !alert.facts.channels.some(ofReceiver)) continue
      found.push({ alert, shown: gettable(deps, alert) })
    }
    yield found
    if (page.length < PAGE) return
    after = cursorOf(page.at(-1)!)
    await new Promise<void>((resolve) => deps.scheduler.after(0, resolve))
  }
}

function readMatcher(text: string): SilenceMatcher {
  try {
    return parseMatcher(text)
  } catch (error) {
    if (error instanceof MatcherError) throw bad(error.message)
    throw error
  }
}

function readTest(pattern: string): (text: string) => boolean {
  try {
    return testOf({ name: 'receiver', value: pattern, isRegex: true, isEqual: true })
  } catch (error) {
    throw bad(`failed to parse receiver param: ${messageOf(error)}`)
  }
}

async function alerts(deps: AlertmanagerRoutesDeps, request: Request): Promise<RawReply> {
  const parts: string[] = []
  for await (const page of selected(deps, request)) for (const { shown } of page) parts.push(JSON.stringify(shown))
  return { status: 200, headers: JSON_TYPE, body: `[${parts.join(',')}]` }
}

async function groups(deps: AlertmanagerRoutesDeps, request: Request): Promise<RawReply> {
  const all = new Map<string, { labels: Record<string, string>; receiver: { name: string }; alerts: Gettable[] }>()
  for await (const page of selected(deps, request)) {
    for (const { alert, shown } of page) {
      const alertname = shown.labels.alertname ?? ''
      for (const name of alert.facts.channels) {
        const key = JSON.stringify([alertname, name])
        const group = all.get(key) ?? { labels: { alertname }, receiver: { name }, alerts: [] }
        group.alerts.push(shown)
        all.set(key, group)
      }
    }
  }
  return json([...all.values()])
}

const Texts = Type.Record(Type.String(), Type.String())
const postable = checkOf({
  type: 'array',
  maxItems: ALERTS_MAX,
  items: {
    type: 'object',
    required: ['labels'],
    // Fields that we do not know are of a later version: they are no fault.
    additionalProperties: true,
    properties: {
      labels: Texts,
      annotations: Texts,
      startsAt: { type: 'string' },
      endsAt: { type: 'string' },
      generatorURL: { type: 'string' },
    },
  },
})

interface Postable {
  readonly labels: Record<string, string>
  readonly annotations?: Record<string, string>
  readonly startsAt?: string
  readonly endsAt?: string
  readonly generatorURL?: string
}

/** Good alerts of a batch are taken; when others were bad, the answer is 400 and says which. */
async function postAlerts(deps: AlertmanagerRoutesDeps, { body }: Request): Promise<RawReply> {
  const batch = readJson<Postable[]>(body, postable)
  const good: PostedAlert[] = []
  const wrong: string[] = []
  for (const [i, one] of batch.entries()) {
    const read = readPosted(one)
    if (typeof read === 'string') wrong.push(`${i}: ${read}`)
    else good.push(read)
  }
  await deps.posted.post(good)
  if (wrong.length > 0) {
    const more = wrong.length > 5 ? `; and ${wrong.length - 5} more` : ''
    throw bad(`${good.length} alerts were taken, ${wrong.length} were not: ${wrong.slice(0, 5).join('; ')}${more}`)
  }
  return { status: 200, headers: {}, body: null }
}

const LABEL = /^[a-zA-Z_][a-zA-Z0-9_]{0,199}$/
const LABELS_MAX = 64
const VALUE_MAX = 4096
const ANNOTATIONS_BYTES = 64 * 1024

function readPosted({ labels, annotations = {}, startsAt, endsAt, generatorURL = '' }: Postable): PostedAlert | string {
  const read = labelsOfPost(labels)
  if (read.length === 0) return 'at least one label pair required'
  if (read.length > LABELS_MAX) return `at most ${LABELS_MAX} labels`
  for (const [name, value] of read) {
    if (!LABEL.test(name)) return `invalid label name ${JSON.stringify(name.slice(0, 100))}`
    if (value.length > VALUE_MAX || !value.isWellFormed()) return `invalid value of the label ${name}`
  }
  const kept = Object.entries(annotations).filter(([, value]) => value !== '')
  let size = 0
  for (const [name, value] of kept) {
    if (!LABEL.test(name)) return `invalid annotation name ${JSON.stringify(name.slice(0, 100))}`
    size += value.length
  }
  if (size > ANNOTATIONS_BYTES) return 'the annotations are too large'
  const begins = readTime(startsAt)
  const ends = readTime(endsAt)
  if (begins === undefined) return `startsAt is not a time: ${JSON.stringify(startsAt?.slice(0, 50))}`
  if (ends === undefined) return `endsAt is not a time: ${JSON.stringify(endsAt?.slice(0, 50))}`
  if (begins !== null && ends !== null && ends < begins) return 'start time must be before end time'
  return {
    labels: read,
    annotations: Object.fromEntries(kept),
    startsAt: begins,
    endsAt: ends,
    generatorUrl: generatorURL.slice(0, 4096),
  }
}

/** Null: none is given (also as Go's zero time); undefined: it is no time. */
function readTime(text: string | undefined): Millis | null | undefined {
  if (text === undefined || text === '' || text.startsWith('0001-01-01T00:00:00')) return null
  return fromIso(text) ?? undefined
}

function readJson<T>(body: Uint8Array, check: ReturnType<typeof checkOf>): T {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
  } catch {
    throw bad('parsing body failed: it is not JSON')
  }
  const problem = check.problems(value)[0]
  if (problem) throw bad(`${problem.path || 'body'}: ${problem.message}`)
  return value as T
}

// ------------------------------------------------------------------------------------------------- silences

/** Where no end is set: a time that every client can read. */
const NEVER = Date.UTC(2999, 11, 31)

function silenceJson(compiled: CompiledSilence, at: Millis) {
  const { silence } = compiled
  return {
    id: silence.id,
    status: { state: compiled.state(at) },
    updatedAt: toIso(silence.updatedAt),
    comment: silence.comment,
    createdBy: silence.createdBy,
    startsAt: toIso(silence.startsAt),
    endsAt: toIso(silence.endedAt ?? silence.endsAt ?? NEVER),
    matchers: silence.matchers,
  }
}

function find({ engine }: AlertmanagerRoutesDeps, id: string): CompiledSilence {
  const compiled = engine.silence(id)
  if (!compiled) throw new AppError(404, 'silence_not_found', `silence ${id} not found`)
  return compiled
}

const STATE_ORDER = { active: 0, pending: 1, expired: 2 }

/** A filter chooses silences that have each of its matchers. */
function silences(deps: AlertmanagerRoutesDeps, { query }: Request): RawReply {
  const at = now(deps)
  const matchers = query.getAll('filter').map(readMatcher)
  const has = (silence: Silence) =>
    matchers.every((wanted) => {
      const test = testOf(wanted)
      const own = silence.matchers.filter((m) => m.name === wanted.name)
      return own.length === 0 ? test('') : own.some((m) => test(m.value))
    })
  const end = ({ silence }: CompiledSilence) => silence.endsAt ?? NEVER
  const found = deps.engine
    .silences()
    .filter(has)
    .map((silence) => deps.engine.silence(silence.id)!)
    .sort((a, b) => STATE_ORDER[a.state(at)] - STATE_ORDER[b.state(at)] || end(a) - end(b))
  return json(found.map((compiled) => silenceJson(compiled, at)))
}

const postableSilence = checkOf({
  type: 'object',
  required: ['matchers', 'startsAt', 'endsAt', 'createdBy', 'comment'],
  additionalProperties: true,
  properties: {
    id: { type: 'string', maxLength: 64 },
    matchers: {
      type: 'array',
      minItems: 1,
      maxItems: 50,
      items: {
        type: 'object',
        required: ['name', 'value', 'isRegex'],
        additionalProperties: true,
        properties: {
          name: { type: 'string', pattern: '^[a-zA-Z_:][a-zA-Z0-9_:.]{0,199}$' },
          value: { type: 'string', maxLength: VALUE_MAX },
          isRegex: { type: 'boolean' },
          isEqual: { type: 'boolean', default: true },
        },
      },
    },
    startsAt: { type: 'string' },
    endsAt: { type: 'string' },
    createdBy: { type: 'string', maxLength: 200 },
    comment: { type: 'string', maxLength: 4000 },
  },
})

interface PostableSilence {
  readonly id?: string
  readonly matchers: readonly { name: string; value: string; isRegex: boolean; isEqual?: boolean }[]
  readonly startsAt: string
  readonly endsAt: string
  readonly createdBy: string
  readonly comment: string
}

/** With the id of one that has not ended, that one changes; when other alerts match then, it ends and a new one begins. */
function postSilence(deps: AlertmanagerRoutesDeps, { body, principal }: Request): RawReply {
  const at = now(deps)
  const sent = readJson<PostableSilence>(body, postableSilence)
  const startsAt = readTime(sent.startsAt)
  const endsAt = readTime(sent.endsAt)
  if (startsAt == null || endsAt == null) throw bad('invalid silence: startsAt and endsAt must be times')
  if (endsAt <= startsAt) throw bad('invalid silence: end time must be after start time')
  if (endsAt <= at) throw bad('invalid silence: end time must not be in the past')
  const matchers = sent.matchers.map(({ name, value, isRegex, isEqual = true }) => ({ name, value, isRegex, isEqual }))
  const matchesAll = matchers.every((m) => testSafely(m)(''))
  if (matchesAll) throw bad('invalid silence: at least one matcher must not match the empty string')

  const by = { by: principal!.name, claim: null }
  const before = sent.id ? find(deps, sent.id) : null
  const same = before !== null && JSON.stringify(before.silence.matchers) === JSON.stringify(matchers)
  const stays = same && before.state(at) !== 'expired'
  const shared = { matchers, endsAt, comment: sent.comment, createdBy: sent.createdBy || principal!.name }
  if (stays) {
    const { silence } = before
    const begins = before.state(at) === 'active' ? silence.startsAt : Math.max(startsAt, at)
    const next = { ...silence, ...shared, startsAt: begins, version: silence.version + 1, updatedAt: at }
    deps.engine.putSilence(next, 'silence.changed', by)
    return json({ silenceID: silence.id })
  }
  const made: Silence = {
    id: newId(at),
    version: 1,
    ...shared,
    startsAt: Math.max(startsAt, at),
    schedule: null,
    untilResolved: false,
    createdAt: at,
    updatedAt: at,
    endedAt: null,
  }
  deps.engine.putSilence(made, 'silence.created', by)
  if (before && before.state(at) !== 'expired') endSilence(deps, before, at, by)
  return json({ silenceID: made.id })
}

function testSafely(matcher: SilenceMatcher): (text: string) => boolean {
  try {
    return testOf(matcher)
  } catch (error) {
    throw bad(`invalid silence: invalid label matcher: ${messageOf(error)}`)
  }
}

function expire(deps: AlertmanagerRoutesDeps, { params, principal }: Request): RawReply {
  const at = now(deps)
  const compiled = find(deps, params.id!)
  if (compiled.state(at) === 'expired') throw new AppError(500, 'expired', `silence ${params.id} already expired`)
  endSilence(deps, compiled, at, { by: principal!.name, claim: null })
  return { status: 200, headers: {}, body: null }
}

function endSilence(
  { engine }: AlertmanagerRoutesDeps,
  { silence }: CompiledSilence,
  at: Millis,
  by: { by: string; claim: null },
) {
  engine.putSilence({ ...silence, version: silence.version + 1, updatedAt: at, endedAt: at }, 'silence.ended', by)
}

// ----------------------------------------------------------------------------------------------- prometheus

const OPERATORS: Readonly<Record<Condition, string>> = {
  gt: '>',
  gte: '>=',
  lt: '<',
  lte: '<=',
  eq: '==',
  change_rate: '>',
}

function prometheusRoutes(deps: AlertmanagerRoutesDeps): Route[] {
  const get = (path: string, summary: string, data: () => unknown): Route[] =>
    ['/api/v1', '/prometheus/api/v1'].map((prefix, i) =>
      foreignRoute({
        method: 'GET',
        path: prefix + path,
        access: 'viewer',
        tag: 'prometheus',
        summary,
        documented: i === 0,
        foreign: () => json({ status: 'success', data: data() }),
        onError: (error) => {
          const known =
            error instanceof AppError ? error : new AppError(500, 'internal', 'The platform made a mistake.')
          return json({ status: 'error', errorType: 'bad_data', error: known.message }, known.status)
        },
      }),
    )
  const open = () => deps.store.list({ ...OPEN, limit: LISTED_MAX })
  const shown = (alert: Alert) => ({
    labels: labelsOf(alert),
    annotations: { summary: alert.title, description: alert.message, ...alert.facts.annotations },
    state: 'firing',
    activeAt: toIso(alert.since),
    value: alert.value === null ? 'NaN' : String(alert.value),
  })
  return [
    ...get('/alerts', "Firing alerts, in Prometheus' form", () => ({ alerts: open().map(shown) })),
    ...get('/rules', "The rules with their alerts, in Prometheus' form", () => {
      const byRule = new Map<string, Alert[]>()
      for (const alert of open()) byRule.set(alert.ruleId, [...(byRule.get(alert.ruleId) ?? []), alert])
      const evaluated = toIso(deps.engine.lastEvaluation ?? deps.startedAt)
      const rules = deps.rules.all().filter((rule) => rule.enabled)
      return {
        groups: [
          {
            name: 'opinion-market',
            file: 'opinion-market',
            interval: deps.evaluationMs() / SECOND,
            limit: 0,
            evaluationTime: 0,
            lastEvaluation: evaluated,
            rules: rules.map((rule) => {
              const alerts = byRule.get(rule.id) ?? []
              return {
                state: alerts.length > 0 ? 'firing' : 'inactive',
                name: rule.name,
                query: queryOf(rule),
                duration: rule.forMs / SECOND,
                keepFiringFor: rule.recoverForMs / SECOND,
                labels: { severity: rule.severity, rule_id: rule.id, ...rule.extraLabels },
                annotations: { description: rule.description, ...rule.annotations },
                alerts: alerts.map(shown),
                health: 'ok',
                evaluationTime: 0,
                lastEvaluation: evaluated,
                type: 'alerting',
              }
            }),
          },
        ],
      }
    }),
  ]
}

/** The rule as PromQL would say it. */
function queryOf({ source, metricName, labels, condition, threshold, windowMs }: Rule): string {
  if (source.kind === 'expr') return source.expr
  const matchers = labels.map(({ name, equals, regex }) =>
    regex === undefined ? `${name}=${JSON.stringify(equals ?? '')}` : `${name}=~${JSON.stringify(regex)}`,
  )
  const selector = `${storedName(metricName)}${matchers.length === 0 ? '' : `{${matchers.join(', ')}}`}`
  if (condition !== 'change_rate') return `${selector} ${OPERATORS[condition]} ${threshold}`
  return `deriv(${selector}[${windowMs / SECOND}s]) * 60 ${threshold >= 0 ? '>' : '<'} ${threshold}`
}
