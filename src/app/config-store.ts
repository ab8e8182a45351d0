/**
 * Versions of configuration, in ops.db: append-only, each with who, when and why, and with all values that were set
 * through the API at that version, so that any of them can be taken again. Secret values are sealed.
 */
import { AppError, conflict, messageOf, notFound } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Millis } from '../base/time.ts'
import { toIso } from '../base/time.ts'
import type { Config, Override, Problem } from '../config/index.ts'
import { keys } from '../config/index.ts'
import { audit } from '../storage/audit.ts'
import type { Database } from '../storage/database.ts'
import type { Claim } from '../storage/idempotency.ts'
import { once } from '../storage/idempotency.ts'
import type { SecretBox } from '../storage/secrets.ts'

export const configVersionsTable = `
  CREATE TABLE config_versions (
    version INTEGER PRIMARY KEY, at INTEGER NOT NULL, who TEXT NOT NULL, comment TEXT NOT NULL,
    overrides TEXT NOT NULL
  ) STRICT;`

/** One change of one key; "***" stands for secrets, null for "not set through the API". */
export interface Difference {
  readonly path: string
  readonly from: unknown
  readonly to: unknown
}

export interface VersionView {
  readonly version: number
  readonly at: string
  readonly by: string
  readonly comment: string
  readonly changes: Difference[]
}

export interface ChangeOptions {
  readonly by: string
  readonly comment: string
  readonly now: Millis
  /** The version the change was made from; another one is a 412. */
  readonly ifMatch: number | null
  readonly claim: Claim | null
}

export interface ConfigStore {
  change(changes: Readonly<Record<string, unknown>>, options: ChangeOptions): VersionView
  /** Takes the values of an earlier version (0: none) again, as a new version. */
  rollback(version: number, options: ChangeOptions): VersionView
  /** Newest first, those before `before`. */
  versions(limit: number, before?: number): VersionView[]
  /** Stored values that no longer hold, and are not in effect. */
  leftOut(): readonly Problem[]
}

interface Row {
  version: number
  at: number
  who: string
  comment: string
  overrides: string
}

/** Takes the stored values over into `config` at once. One that no longer holds is logged and left out. */
export function openConfigStore(db: Database, config: Config, box: SecretBox, log: Log): ConfigStore {
  const row = db.prepare<[number], Row>('SELECT * FROM config_versions WHERE version = ?')
  const latest = () => db.prepare<[], Row>('SELECT * FROM config_versions ORDER BY version DESC LIMIT 1').get()

  let leftOut: readonly Problem[] = []
  const stored = latest()
  if (stored) take(stored.version, readOverrides(stored.overrides))

  function take(version: number, overrides: readonly Override[]) {
    leftOut = config.apply(version, overrides)
    for (const problem of leftOut) {
      log.warn('a value set through the API no longer holds and is left out', { ...problem })
    }
  }

  function readOverrides(text: string): Override[] {
    return (JSON.parse(text) as (Override & { sealed?: string })[]).flatMap(({ sealed, ...override }) => {
      if (sealed === undefined) return [override]
      try {
        return [{ ...override, value: JSON.parse(box.open(sealed, `config/${override.path}`)) }]
      } catch (error) {
        log.error('a stored secret cannot be opened and is left out', { key: override.path, why: messageOf(error) })
        return []
      }
    })
  }

  function writeOverrides(overrides: readonly Override[]): string {
    return JSON.stringify(
      overrides.map(({ path, value, version }) =>
        keys.get(path)?.secret
          ? { path, sealed: box.seal(JSON.stringify(value), `config/${path}`), version }
          : { path, value, version },
      ),
    )
  }

  function write(options: ChangeOptions, make: (version: number) => Override[]): VersionView {
    const view = once(db, options.claim, options.now, () => {
      const current = config.current.version
      if (options.ifMatch !== null && options.ifMatch !== current) {
        throw new AppError(412, 'version_stale', `The configuration is at version ${current} by now.`)
      }
      const version = current + 1
      const overrides = make(version)
      db.prepare('INSERT INTO config_versions (version, at, who, comment, overrides) VALUES (?, ?, ?, ?, ?)').run(
        version,
        options.now,
        options.by,
        options.comment,
        writeOverrides(overrides),
      )
      const made = viewOf(row.get(version)!)
      audit(db, options.now, {
        who: options.by,
        deed: 'config.changed',
        what: `version ${version}`,
        detail: { comment: options.comment, changes: made.changes },
      })
      return made
    })
    if (view.version > config.current.version) take(view.version, readOverrides(row.get(view.version)!.overrides))
    return view
  }

  function viewOf(of: Row): VersionView {
    const before = new Map(listOf(row.get(of.version - 1)).map((o) => [o.path, o]))
    const after = new Map(listOf(of).map((o) => [o.path, o]))
    const changes = [...new Set([...before.keys(), ...after.keys()])]
      .filter((path) => before.get(path)?.text !== after.get(path)?.text)
      .map((path) => ({ path, from: before.get(path)?.shown ?? null, to: after.get(path)?.shown ?? null }))
    return { version: of.version, at: toIso(of.at), by: of.who, comment: of.comment, changes }
  }

  return {
    leftOut: () => leftOut,
    change: (changes, options) => write(options, (version) => config.plan(changes, version)),
    rollback: (to, options) =>
      write(options, (version) => {
        const target = to === 0 ? '[]' : row.get(to)?.overrides
        if (target === undefined) throw notFound('version_not_found', `There is no version ${to}.`)
        const values = new Map(readOverrides(target).map((o) => [o.path, o.value]))
        const gone = config.overrides.filter((o) => !values.has(o.path)).map((o) => [o.path, null])
        const back = [...values].filter(([path, value]) => {
          const now = config.overrides.find((o) => o.path === path)
          return now === undefined || JSON.stringify(now.value) !== JSON.stringify(value)
        })
        if (gone.length + back.length === 0) {
          throw conflict('nothing_to_change', `The values of version ${to} are in effect already.`)
        }
        return config.plan(Object.fromEntries([...gone, ...back]), version)
      }),
    versions: (limit, before = Number.MAX_SAFE_INTEGER) =>
      db
        .prepare<[number, number], Row>('SELECT * FROM config_versions WHERE version < ? ORDER BY version DESC LIMIT ?')
        .all(before, limit)
        .map(viewOf),
  }
}

/** `text` compares; `shown` may be seen. A secret is sealed anew each time, so its own version stands for it. */
function listOf(of: Row | undefined): { path: string; text: string; shown: unknown }[] {
  if (!of) return []
  return (JSON.parse(of.overrides) as (Override & { sealed?: string })[]).map((o) =>
    o.sealed === undefined
      ? { path: o.path, text: JSON.stringify(o.value), shown: o.value }
      : { path: o.path, text: `sealed ${o.version}`, shown: '***' },
  )
}
