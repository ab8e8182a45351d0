/**
 * The rules in ops.db: each change is a new version, none is ever overwritten. Kept in memory as well, for they are
 * asked for with every change of an alert.
 *
 *   draft ──complete──▶ Rule ──checked──▶ alert_rules, alert_rule_versions      one transaction with what it ends
 */
import { AppError, conflict, type FieldError, invalid, messageOf, notFound } from '../../base/errors.ts'
import { MINUTE, type Millis } from '../../base/time.ts'
import { canonicalName } from '../../metrics/index.ts'
import { audit } from '../../storage/audit.ts'
import type { Database } from '../../storage/database.ts'
import type { Rule } from '../rule.ts'
import { labelTest } from '../series.ts'

/** What a person has to say of a rule; the rest has defaults. */
export type RuleDraft = Pick<Rule, 'id' | 'name' | 'description' | 'severity'> & Partial<Omit<Rule, 'version'>>

/** What a change may hold. */
export type RulePatch = Partial<Omit<Rule, 'id' | 'version' | 'createdAt'>>

export interface RuleVersion {
  readonly version: number
  readonly at: Millis
  readonly by: string
  /** Null: deleted. */
  readonly rule: Rule | null
}

/** Fills in what a draft leaves out. */
export function complete(draft: RuleDraft, now: Millis): Rule {
  const threshold = draft.threshold ?? 0
  return {
    source: { kind: 'threshold' },
    metricName: '',
    labels: [],
    condition: 'gt',
    channels: [],
    enabled: true,
    cooldownMs: 5 * MINUTE,
    forMs: 0,
    recoveryThreshold: threshold,
    recoverForMs: 0,
    noData: 'keep',
    windowMs: 5 * MINUTE,
    tags: [],
    suppressedBy: [],
    runbookUrl: null,
    owner: null,
    provenance: 'api',
    extraLabels: {},
    annotations: {},
    createdAt: now,
    ...draft,
    threshold,
    ...(draft.metricName === undefined ? {} : { metricName: canonicalName(draft.metricName) }),
    version: 1,
  }
}

export class Rules {
  readonly #db: Database
  readonly #rules = new Map<string, Rule>()
  /** By id of an inhibiting rule: the rules that it inhibits. */
  #inhibits = new Map<string, string[]>()

  constructor(db: Database) {
    this.#db = db
    this.reload()
  }

  /** Reads all anew; after a transaction that was rolled back. */
  reload(): void {
    this.#rules.clear()
    const rows = this.#db.prepare('SELECT rule FROM alert_rules ORDER BY id').all() as { rule: string }[]
    for (const { rule } of rows) {
      const read = JSON.parse(rule) as Rule
      this.#rules.set(read.id, read)
    }
    this.#index()
  }

  get(id: string): Rule | null {
    return this.#rules.get(id) ?? null
  }

  all(): Rule[] {
    return [...this.#rules.values()]
  }

  inhibitedBy(id: string): readonly string[] {
    return this.#inhibits.get(id) ?? []
  }

  /** Newest first. */
  versions(id: string): RuleVersion[] {
    const rows = this.#db
      .prepare('SELECT version, at, who, rule FROM alert_rule_versions WHERE id = ? ORDER BY version DESC')
      .all(id) as { version: number; at: number; who: string; rule: string | null }[]
    return rows.map((row) => ({
      version: row.version,
      at: row.at,
      by: row.who,
      rule: row.rule === null ? null : (JSON.parse(row.rule) as Rule),
    }))
  }

  /** Within a transaction. Throws 409 where the id exists, 422 for what is wrong. */
  create(draft: RuleDraft, by: string, now: Millis, channels: (id: string) => boolean): Rule {
    if (this.#rules.has(draft.id)) throw conflict('rule_exists', `There is a rule ${draft.id} already.`)
    const last = this.versions(draft.id)[0]?.version ?? 0
    const rule = { ...complete(draft, now), version: last + 1 }
    this.check(rule, channels)
    return this.#write(rule, by, now, 'rule.created')
  }

  /** Within a transaction; the same rule when nothing changes. Throws 404, 412, 422. */
  change(id: string, patch: RulePatch, by: string, now: Millis, more: ChangeOptions): Rule {
    const rule = this.#current(id, more.ifMatch)
    const next: Rule = {
      ...rule,
      ...patch,
      // A recovery threshold that was never given goes along with the threshold.
      ...(patch.threshold !== undefined &&
      patch.recoveryThreshold === undefined &&
      rule.recoveryThreshold === rule.threshold
        ? { recoveryThreshold: patch.threshold }
        : {}),
      ...(patch.metricName === undefined ? {} : { metricName: canonicalName(patch.metricName) }),
    }
    if (JSON.stringify(next) === JSON.stringify(rule)) return rule
    this.check(next, more.channels)
    return this.#write({ ...next, version: rule.version + 1 }, by, now, 'rule.changed')
  }

  /** Within a transaction. Throws 404, 412. */
  delete(id: string, by: string, now: Millis, ifMatch: number | null): Rule {
    const rule = this.#current(id, ifMatch)
    this.#db.prepare('DELETE FROM alert_rules WHERE id = ?').run(id)
    this.#version(id, rule.version + 1, null, by, now)
    audit(this.#db, now, { who: by, deed: 'rule.deleted', what: id, detail: { version: rule.version } })
    this.#rules.delete(id)
    this.#index()
    return rule
  }

  #current(id: string, ifMatch: number | null): Rule {
    const rule = this.#rules.get(id)
    if (!rule) throw notFound('rule_not_found', `There is no rule ${id}.`)
    if (ifMatch !== null && ifMatch !== rule.version) {
      throw new AppError(412, 'version_stale', `The rule is at version ${rule.version} by now.`)
    }
    return rule
  }

  #write(rule: Rule, by: string, now: Millis, deed: string): Rule {
    this.#db
      .prepare('INSERT OR REPLACE INTO alert_rules (id, version, rule) VALUES (?, ?, ?)')
      .run(rule.id, rule.version, JSON.stringify(rule))
    this.#version(rule.id, rule.version, rule, by, now)
    audit(this.#db, now, { who: by, deed, what: rule.id, detail: { version: rule.version } })
    this.#rules.set(rule.id, rule)
    this.#index()
    return rule
  }

  #version(id: string, version: number, rule: Rule | null, by: string, now: Millis): void {
    this.#db
      .prepare('INSERT INTO alert_rule_versions (id, version, at, who, rule) VALUES (?, ?, ?, ?, ?)')
      .run(id, version, now, by, rule && JSON.stringify(rule))
  }

  #index(): void {
    this.#inhibits = new Map()
    for (const rule of this.#rules.values()) {
      for (const by of rule.suppressedBy) this.#inhibits.set(by, [...(this.#inhibits.get(by) ?? []), rule.id])
    }
  }

  /** Throws 422 for what a schema cannot say. */
  check(rule: Rule, channelExists: (id: string) => boolean): void {
    const problems: FieldError[] = []
    const wrong = (path: string, message: string) => problems.push({ path, message })
    rule.channels.forEach((id, i) => {
      if (!channelExists(id)) wrong(`notification_channels.${i}`, `there is no channel ${id}`)
    })
    rule.suppressedBy.forEach((id, i) => {
      if (id === rule.id) wrong(`suppression_rules.${i}`, 'a rule cannot inhibit itself')
    })
    try {
      labelTest(rule.labels)
    } catch (error) {
      wrong('labels', `a pattern cannot be read: ${messageOf(error)}`)
    }
    if (rule.source.kind === 'expr') {
      if (rule.metricName !== '') wrong('metric_name', 'an expression names its own metrics')
    } else if (rule.metricName === '') wrong('metric_name', 'must be given')
    const { condition, threshold, recoveryThreshold } = rule
    const above = condition === 'gt' || condition === 'gte' || (condition === 'change_rate' && threshold >= 0)
    const below = condition === 'lt' || condition === 'lte' || (condition === 'change_rate' && threshold < 0)
    if ((above && recoveryThreshold > threshold) || (below && recoveryThreshold < threshold)) {
      wrong('recovery_threshold', `must be on the good side of the threshold ${threshold}`)
    }
    if (condition === 'eq' && recoveryThreshold !== threshold) {
      wrong('recovery_threshold', 'has no meaning for the condition eq')
    }
    if (problems.length > 0) throw invalid(problems)
  }
}

export interface ChangeOptions {
  readonly ifMatch: number | null
  readonly channels: (id: string) => boolean
}
