/**
 * The channels of the platform: who can be told, stored in ops.db with their secrets sealed.
 *
 *   default channels     email, webhook, slack: always there; until somebody changes one, its name, switch and filter
 *                        come from the configuration, and so does every setting that was not given through the API
 *   others               as they were made
 *
 * A read never gives a secret away: `view` shows the settings that the type lists as shown, and "***" for the rest. A
 * change holds at once: the outbox hears of it, open connections of the old settings end.
 */
import type { TObject } from 'typebox'
import { Compile } from 'typebox/schema'
import type { FieldError } from '../../base/errors.ts'
import { AppError, conflict, invalid, messageOf, notFound } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { Millis } from '../../base/time.ts'
import { toIso } from '../../base/time.ts'
import { audit } from '../../storage/audit.ts'
import type { Database } from '../../storage/database.ts'
import { tx } from '../../storage/database.ts'
import type { SecretBox } from '../../storage/secrets.ts'
import type { AlertingConfig } from '../config.ts'
import type { Severity } from '../rule.ts'
import {
  CHANNEL_TYPES,
  type ChannelKind,
  type ChannelRecord,
  type ChannelSource,
  type ChannelTools,
  type ChannelType,
  type ReadyChannel,
} from './channel.ts'
import { emailKind } from './email.ts'
import { slackKind } from './slack.ts'
import { smsKind } from './sms.ts'
import { webhookKind } from './webhook.ts'

export const channelKinds: Readonly<Record<ChannelType, ChannelKind>> = {
  email: emailKind,
  webhook: webhookKind,
  slack: slackKind,
  sms: smsKind,
}

/** What a person gives for a new channel. `config` is checked by type. */
export interface ChannelInput {
  readonly id: string
  readonly name: string
  readonly type: ChannelType
  readonly config: Readonly<Record<string, unknown>>
  readonly enabled: boolean
  readonly severityFilter: readonly Severity[]
}

/** What may change; `config` field by field: null takes a setting away, "***" keeps a secret. */
export type ChannelChange = Partial<Omit<ChannelInput, 'id'>>

/** Who does it. */
export interface ChannelDeed {
  readonly who: string
  readonly now: Millis
  readonly ifMatch: number | null
}

/** As the API shows it; no secret is in it. */
export interface ChannelView {
  readonly id: string
  readonly name: string
  readonly type: ChannelType
  readonly config: Readonly<Record<string, unknown>>
  readonly enabled: boolean
  readonly configured: boolean
  /** Settings that are needed and missing. */
  readonly missing: readonly string[]
  readonly severity_filter: readonly Severity[]
  readonly last_success_at: string | null
  readonly last_error: string | null
  readonly version: number
}

export interface Channels extends ChannelSource {
  list(): ChannelRecord[]
  record(id: string): ChannelRecord | null
  view(record: ChannelRecord): ChannelView
  /** 409 when the id exists, 422 where a field is wrong. */
  create(input: ChannelInput, deed: ChannelDeed): ChannelRecord
  /** 404, 409 for another type, 412 when `ifMatch` is stale, 422. */
  update(id: string, change: ChannelChange, deed: ChannelDeed): ChannelRecord
  /** 404, 409 for a default channel, 412. What waited for it is cancelled by the outbox. */
  remove(id: string, deed: ChannelDeed): void
  /** The configuration has changed: settings of default channels, or networks that are allowed. */
  configurationChanged(): void
  close(): void
}

export interface ChannelsOptions {
  readonly db: Database
  readonly box: SecretBox
  readonly config: () => AlertingConfig
  readonly tools: ChannelTools
  readonly log: Log
}

const HIDDEN = '***'

interface Row {
  readonly id: string
  readonly version: number
  readonly name: string
  readonly type: ChannelType
  readonly enabled: number
  readonly config: string
  readonly severity_filter: string
  readonly last_success_at: number | null
  readonly last_error: string | null
}

interface Default {
  readonly name: string
  readonly type: ChannelType
  readonly severityFilter: readonly Severity[]
  readonly enabled: (config: AlertingConfig) => boolean
  /** Null: not given. */
  readonly settings: (config: AlertingConfig) => Readonly<Record<string, unknown>>
}

/** A default channel that nobody has changed. */
const UNTOUCHED = 1

const DEFAULTS: Readonly<Record<string, Default>> = {
  email: {
    name: 'E-mail',
    type: 'email',
    severityFilter: ['warning', 'critical', 'emergency'],
    enabled: (config) => config.emailEnabled,
    settings: (config) => ({
      smtp_server: config.smtpServer,
      smtp_port: config.smtpPort,
      username: config.smtpUsername,
      password: config.smtpPassword,
      from_email: config.emailFrom ?? (config.smtpUsername?.includes('@') ? config.smtpUsername : null),
      to_emails: config.emailTo.length > 0 ? config.emailTo : null,
    }),
  },
  webhook: {
    name: 'Webhook',
    type: 'webhook',
    severityFilter: ['critical', 'emergency'],
    enabled: () => false,
    settings: () => ({}),
  },
  slack: {
    name: 'Slack',
    type: 'slack',
    severityFilter: ['critical', 'emergency'],
    enabled: (config) => config.slackEnabled,
    settings: (config) => ({ webhook_url: config.slackWebhookUrl }),
  },
}

export function openChannels({ db, box, config, tools, log }: ChannelsOptions): Channels {
  const rowOf = db.prepare<[string], Row>('SELECT * FROM alert_channels WHERE id = ?')
  const all = db.prepare<[], Row>('SELECT * FROM alert_channels ORDER BY id')
  const allIds = db.prepare<[], { id: string }>('SELECT id FROM alert_channels ORDER BY id')
  const insert = db.prepare(
    'INSERT INTO alert_channels (id, version, name, type, enabled, config, severity_filter) VALUES (?, ?, ?, ?, ?, ?, ?)',
  )
  const write = db.prepare(
    'UPDATE alert_channels SET version = ?, name = ?, enabled = ?, config = ?, severity_filter = ? WHERE id = ?',
  )
  const success = db.prepare('UPDATE alert_channels SET last_success_at = ?, last_error = NULL WHERE id = ?')
  const failure = db.prepare('UPDATE alert_channels SET last_error = ? WHERE id = ?')
  const listeners: ((id: string) => void)[] = []
  const open = new Map<string, { readonly ready: ReadyChannel; readonly made: string }>()

  tx(db, () => {
    for (const [id, { name, type, severityFilter }] of Object.entries(DEFAULTS)) {
      if (!rowOf.get(id)) insert.run(id, UNTOUCHED, name, type, 0, '{}', JSON.stringify(severityFilter))
    }
  })

  /** What was given through the API, secrets opened. One that cannot be opened counts as missing. */
  function givenOf(row: Row): Record<string, unknown> {
    const given: Record<string, unknown> = {}
    for (const [field, value] of Object.entries(JSON.parse(row.config) as Record<string, unknown>)) {
      if (!isSealed(value)) given[field] = value
      else {
        try {
          given[field] = JSON.parse(box.open(value.sealed, `channel/${row.id}/${field}`))
        } catch (error) {
          log.error('a secret of a channel cannot be opened; give it again', { channel: row.id, why: messageOf(error) })
        }
      }
    }
    return given
  }

  function sealedOf(id: string, type: ChannelType, given: Readonly<Record<string, unknown>>): string {
    const { shown } = channelKinds[type]
    return JSON.stringify(
      Object.fromEntries(
        Object.entries(given).map(([field, value]) => [
          field,
          shown.includes(field) ? value : { sealed: box.seal(JSON.stringify(value), `channel/${id}/${field}`) },
        ]),
      ),
    )
  }

  function recordOf(row: Row): ChannelRecord {
    const standard = DEFAULTS[row.id]
    const untouched = standard && row.version === UNTOUCHED
    const settings = standard?.settings(config()) ?? {}
    const effective = {
      ...Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== null)),
      ...givenOf(row),
    }
    const configured = channelKinds[row.type].missing(effective).length === 0
    return {
      id: row.id,
      name: row.name,
      type: row.type,
      config: effective,
      enabled: untouched ? standard.enabled(config()) : row.enabled === 1,
      configured,
      severityFilter: JSON.parse(row.severity_filter) as Severity[],
      lastSuccessAt: row.last_success_at,
      lastError: row.last_error,
      version: row.version,
    }
  }

  function mustFind(id: string, deed: ChannelDeed): Row {
    const row = rowOf.get(id)
    if (!row) throw notFound('channel_not_found', `There is no channel ${id}.`)
    if (deed.ifMatch !== null && deed.ifMatch !== row.version) {
      throw new AppError(412, 'version_stale', `The channel ${id} is at version ${row.version} by now.`)
    }
    return row
  }

  /** All that an open channel was made from. */
  function makingOf({ config: settings, enabled, configured }: ChannelRecord): string {
    return JSON.stringify([settings, enabled, configured, config().allowNetworks])
  }

  function changed(id: string): void {
    open.get(id)?.ready.channel.close?.()
    open.delete(id)
    for (const listener of listeners) listener(id)
  }

  return {
    list: () => all.all().map(recordOf),
    record(id) {
      const row = rowOf.get(id)
      return row ? recordOf(row) : null
    },
    view: viewOf,

    create(input, deed) {
      check(input.type, input.config)
      const row = tx(db, () => {
        if (rowOf.get(input.id)) throw conflict('channel_exists', `There is a channel ${input.id} already.`)
        const { id, name, type, enabled, severityFilter } = input
        const sealed = sealedOf(id, type, givenTo(input.config, type))
        insert.run(id, UNTOUCHED, name, type, enabled ? 1 : 0, sealed, JSON.stringify(severityFilter))
        audit(db, deed.now, { who: deed.who, deed: 'channel.created', what: id, detail: { type } })
        return rowOf.get(id)!
      })
      changed(input.id)
      return recordOf(row)
    },

    update(id, change, deed) {
      const row = tx(db, () => {
        const before = mustFind(id, deed)
        if (change.type !== undefined && change.type !== before.type) {
          throw conflict('channel_type_fixed', `The channel ${id} is of type ${before.type}; make another one instead.`)
        }
        const given = merged(givenOf(before), change.config ?? {}, before.type)
        check(before.type, given)
        const now = recordOf(before)
        write.run(
          before.version + 1,
          change.name ?? before.name,
          (change.enabled ?? now.enabled) ? 1 : 0,
          sealedOf(id, before.type, given),
          JSON.stringify(change.severityFilter ?? now.severityFilter),
          id,
        )
        const fields = [...Object.keys(change), ...Object.keys(change.config ?? {}).map((name) => `config.${name}`)]
        audit(db, deed.now, { who: deed.who, deed: 'channel.changed', what: id, detail: { fields } })
        return rowOf.get(id)!
      })
      changed(id)
      return recordOf(row)
    },

    remove(id, deed) {
      tx(db, () => {
        mustFind(id, deed)
        if (DEFAULTS[id]) {
          throw conflict('channel_is_default', `The channel ${id} comes with the platform; it can be disabled.`)
        }
        db.prepare('DELETE FROM alert_channels WHERE id = ?').run(id)
        audit(db, deed.now, { who: deed.who, deed: 'channel.deleted', what: id })
      })
      changed(id)
    },

    configurationChanged() {
      for (const [id, { made }] of [...open]) {
        const row = rowOf.get(id)
        if (!row || makingOf(recordOf(row)) !== made) changed(id)
      }
    },

    ids: () => allIds.all().map(({ id }) => id),
    get(id) {
      const known = open.get(id)
      if (known) return known.ready
      const row = rowOf.get(id)
      if (!row) return null
      const record = recordOf(row)
      const kind = channelKinds[record.type]
      const ready: ReadyChannel = {
        id,
        enabled: record.enabled,
        configured: record.configured,
        severityFilter: record.severityFilter,
        parallel: kind.parallel,
        tries: kind.tries?.(record.config) ?? null,
        channel: record.configured ? kind.open(record.config, tools) : unfinished(kind.missing(record.config)),
        scrub: scrubber(secretsOf(record)),
      }
      open.set(id, { ready, made: makingOf(record) })
      return ready
    },
    onChange: (listener) => void listeners.push(listener),
    noteSuccess: (id, at) => void success.run(at, id),
    noteError: (id, answer) => void failure.run(answer, id),
    close() {
      for (const { ready } of open.values()) ready.channel.close?.()
      open.clear()
    },
  }
}

/** Stands for a channel whose settings are not complete. */
function unfinished(missing: readonly string[]) {
  const answer = `the channel is not configured: ${missing.join(', ')} missing`
  return { send: async () => ({ kind: 'refused', answer }) as const }
}

const isSealed = (value: unknown): value is { sealed: string } =>
  typeof value === 'object' && value !== null && 'sealed' in value

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** `before` with the changes laid over it: null removes, "***" keeps what a secret was. */
function merged(
  before: Readonly<Record<string, unknown>>,
  change: Readonly<Record<string, unknown>>,
  type: ChannelType,
): Record<string, unknown> {
  const { shown } = channelKinds[type]
  const after: Record<string, unknown> = { ...before }
  for (const [field, value] of Object.entries(change)) {
    if (field.endsWith('_set') && shownFlag(field, type)) continue
    if (value === null) delete after[field]
    else if (shown.includes(field)) after[field] = value
    else if (isRecord(value)) {
      const kept = isRecord(before[field]) ? before[field] : {}
      const entries = Object.entries(value).map(([name, v]) => [name, v === HIDDEN ? (kept[name] ?? null) : v])
      after[field] = Object.fromEntries(entries.filter(([, v]) => v !== null))
    } else if (value !== HIDDEN) after[field] = value
  }
  return after
}

const givenTo = (config: Readonly<Record<string, unknown>>, type: ChannelType) => merged({}, config, type)

/** `password_set` and its like come with a view, and may come back with it. */
function shownFlag(field: string, type: ChannelType): boolean {
  const name = field.slice(0, -'_set'.length)
  const { schema, shown } = channelKinds[type]
  return name in schema.properties && !shown.includes(name)
}

function viewOf(record: ChannelRecord): ChannelView {
  const { schema, shown, missing } = channelKinds[record.type]
  const config: Record<string, unknown> = {}
  for (const [field, property] of Object.entries(schema.properties as Record<string, { default?: unknown }>)) {
    const value = record.config[field] ?? property.default ?? null
    if (shown.includes(field)) config[field] = value
    else {
      const set = record.config[field] !== undefined
      const names = set && isRecord(value) ? Object.keys(value) : null
      config[field] = names ? Object.fromEntries(names.map((name) => [name, HIDDEN])) : set ? HIDDEN : null
      config[`${field}_set`] = set
    }
  }
  return {
    id: record.id,
    name: record.name,
    type: record.type,
    config,
    enabled: record.enabled,
    configured: record.configured,
    missing: missing(record.config),
    severity_filter: record.severityFilter,
    last_success_at: record.lastSuccessAt === null ? null : toIso(record.lastSuccessAt),
    last_error: record.lastError,
    version: record.version,
  }
}

const checks = new Map<ChannelType, ReturnType<typeof Compile>>()

/** Throws the 422 that names each field. Missing settings are no fault: the channel is not configured then. */
function check(type: ChannelType, config: Readonly<Record<string, unknown>>): void {
  if (!CHANNEL_TYPES.includes(type)) {
    throw invalid([{ path: 'type', message: `expected one of ${CHANNEL_TYPES.join(', ')}` }])
  }
  const kind = channelKinds[type]
  const known = Object.keys(kind.schema.properties)
  const fields: FieldError[] = []
  for (const name of Object.keys(config)) {
    if (known.includes(name) || (name.endsWith('_set') && shownFlag(name, type))) continue
    fields.push({ path: `config.${name}`, message: `unknown; expected one of ${known.join(', ')}` })
  }
  if (fields.length > 0) throw invalid(fields)

  const value = givenTo(config, type)
  const compiled = checks.get(type) ?? Compile(closed(kind.schema))
  checks.set(type, compiled)
  if (!compiled.Check(value)) {
    const wrong = new Set(compiled.Errors(value)[1].map((error) => error.instancePath.split('/')[1] ?? ''))
    for (const name of [...wrong].filter((name) => known.includes(name))) {
      const property = kind.schema.properties[name] as { description?: string }
      fields.push({ path: `config.${name}`, message: `expected ${property.description ?? 'another value'}` })
    }
    throw invalid(fields.length > 0 ? fields : [{ path: 'config', message: 'expected the settings of the type' }])
  }
  for (const [name, text] of Object.entries(value)) {
    if (/url$/.test(name) && typeof text === 'string' && !URL.canParse(text)) {
      throw invalid([{ path: `config.${name}`, message: 'expected an address that begins with https:// or http://' }])
    }
  }
  const wrong = kind.wrong?.(value)
  if (wrong) throw invalid([{ path: `config.${wrong.field}`, message: wrong.message }])
}

/** Records check their names by a pattern, which says nothing of other names. */
function closed(schema: TObject): object {
  const properties = Object.entries(schema.properties as Record<string, Record<string, unknown>>)
  return {
    ...schema,
    additionalProperties: false,
    properties: Object.fromEntries(
      properties.map(([name, inner]) => [
        name,
        inner.type === 'object' ? { ...inner, additionalProperties: false } : inner,
      ]),
    ),
  }
}

/** Everything of a channel that must not be shown, longest first. */
function secretsOf(record: ChannelRecord): string[] {
  const { shown } = channelKinds[record.type]
  const found: string[] = []
  for (const [field, value] of Object.entries(record.config)) {
    if (shown.includes(field)) continue
    for (const text of isRecord(value) ? Object.values(value) : [value]) {
      if (typeof text !== 'string') continue
      found.push(text, encodeURIComponent(text), Buffer.from(text).toString('base64'))
      if (!URL.canParse(text)) continue
      const { pathname, search, username, password } = new URL(text)
      found.push(pathname + search, pathname, search, username, password)
    }
  }
  return found.filter((text) => text.length >= 4).sort((a, b) => b.length - a.length)
}

const ANSWER_MAX = 300

/** Takes secrets and addresses out of a text, makes it one line, and shortens it. */
function scrubber(secrets: readonly string[]): (answer: string) => string {
  return (answer) => {
    let text = answer.slice(0, 10 * ANSWER_MAX)
    for (const secret of secrets) text = text.replaceAll(secret, HIDDEN)
    text = text
      .replace(/\bhttps?:\/\/[^\s"'<>]+/gi, '(address)')
      .replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ')
      .trim()
    return text.length > ANSWER_MAX ? `${text.slice(0, ANSWER_MAX - 1)}…` : text
  }
}
