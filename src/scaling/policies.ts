/**
 * Policies as they are kept: four by default, versions append-only, each change with who made it. What a policy may say
 * is checked here, whoever says it.
 */
import { AppError, conflict, type FieldError, invalid, notFound } from '../base/errors.ts'
import type { Millis } from '../base/time.ts'
import { canonicalName } from '../metrics/index.ts'
import { audit } from '../storage/audit.ts'
import { type Database, tx } from '../storage/database.ts'
import type { Policy, Step } from './model.ts'
import { MARKET } from './targets.ts'

export interface PolicyVersion {
  readonly version: number
  readonly at: Millis
  readonly by: string
  /** Null: deleted. */
  readonly policy: Policy | null
}

export interface Policies {
  all(): readonly Policy[]
  get(name: string): Policy | null
  /** Newest first. */
  versions(name: string): PolicyVersion[]
  create(policy: Policy, by: string, now: Millis): Policy
  /** `ifMatch`: the version that was read; null: whatever there is. */
  change(name: string, patch: Partial<Policy>, ifMatch: number | null, by: string, now: Millis): Policy
  remove(name: string, ifMatch: number | null, by: string, now: Millis): void
}

const POLICIES_MAX = 1000

export function policyDefaults(
  cooldownPeriod: number,
): Omit<Policy, 'name' | 'metricName' | 'scaleUpThreshold' | 'scaleDownThreshold'> {
  return {
    target: MARKET,
    minInstances: 1,
    maxInstances: 10,
    cooldownPeriod,
    enabled: true,
    breachFor: 0,
    clearFor: 300,
    maxStepUp: '50%',
    maxStepDown: '50%',
    predictive: 'forecast_only',
    onMissingMetric: 'hold',
    fallbackInstances: null,
    version: 1,
  }
}

const DEFAULTS = [
  ['cpu_scaling', 'system.cpu_usage', 80, 30],
  ['memory_scaling', 'system.memory_usage', 85, 40],
  ['response_time_scaling', 'application.api_response_time', 100, 50],
  ['throughput_scaling', 'application.requests_per_second', 1000, 500],
] as const

/** What is wrong with a policy as a whole; empty when it is right. `targets`: names of those that are there. */
export function policyProblems(policy: Policy, targets: readonly string[]): FieldError[] {
  const problems: FieldError[] = []
  const wrong = (path: string, message: string) => void problems.push({ path, message })
  if (!(policy.scaleUpThreshold > policy.scaleDownThreshold)) {
    wrong('scale_up_threshold', 'must be greater than scale_down_threshold')
  }
  if (policy.maxInstances < policy.minInstances) wrong('max_instances', 'must not be smaller than min_instances')
  if (!targets.includes(policy.target)) wrong('target', `must be one of ${targets.join(', ')}`)
  for (const [path, step] of [
    ['max_step_up', policy.maxStepUp],
    ['max_step_down', policy.maxStepDown],
  ] as const) {
    if (!isStep(step)) wrong(path, 'must be a whole number from 1, or a share such as "50%"')
  }
  if (policy.onMissingMetric === 'fallback' && policy.fallbackInstances === null) {
    wrong('fallback_instances', 'is needed with on_missing_metric "fallback"')
  }
  return problems
}

function isStep(step: Step): boolean {
  if (typeof step === 'number') return Number.isInteger(step) && step >= 1 && step <= 1000
  const share = /^(\d{1,4}(?:\.\d{1,3})?)%$/.exec(step)?.[1]
  return share !== undefined && Number(share) > 0 && Number(share) <= 1000
}

/** `cooldown`: of the four that are made at the first start. */
export function openPolicies(db: Database, targets: readonly string[], cooldown: number, now: Millis): Policies {
  const all = new Map<string, Policy>()
  const insertVersion = db.prepare(
    'INSERT INTO scaling_policy_versions (name, version, at, who, policy) VALUES (?, ?, ?, ?, ?)',
  )
  const upsert = db.prepare('INSERT OR REPLACE INTO scaling_policies (name, version, policy) VALUES (?, ?, ?)')
  const drop = db.prepare('DELETE FROM scaling_policies WHERE name = ?')
  const last = db.prepare<[string], { version: number }>(
    'SELECT max(version) AS version FROM scaling_policy_versions WHERE name = ?',
  )

  const rows = db.prepare<[], { policy: string }>('SELECT policy FROM scaling_policies').all()
  for (const row of rows) {
    const policy = JSON.parse(row.policy) as Policy
    all.set(policy.name, policy)
  }
  const ever = db.prepare<[], { n: number }>('SELECT count(*) AS n FROM scaling_policy_versions').get()
  if (ever?.n === 0) {
    tx(db, () => {
      for (const [name, metricName, scaleUpThreshold, scaleDownThreshold] of DEFAULTS) {
        write({ ...policyDefaults(cooldown), name, metricName, scaleUpThreshold, scaleDownThreshold }, 'default', now)
      }
    })
  }

  function write(policy: Policy, by: string, at: Millis): Policy {
    const text = JSON.stringify(policy)
    insertVersion.run(policy.name, policy.version, at, by, text)
    upsert.run(policy.name, policy.version, text)
    all.set(policy.name, policy)
    return policy
  }

  /** In one transaction; what was held in memory follows only when it commits. */
  function changing<T>(work: () => T): T {
    const before = new Map(all)
    try {
      return tx(db, work)
    } catch (error) {
      all.clear()
      for (const [name, policy] of before) all.set(name, policy)
      throw error
    }
  }

  function must(name: string, ifMatch: number | null): Policy {
    const policy = all.get(name)
    if (!policy) throw notFound('policy_not_found', `There is no policy ${name}.`)
    if (ifMatch !== null && ifMatch !== policy.version) {
      const detail = `The policy ${name} was changed in the meantime: it has version ${policy.version}, not ${ifMatch}.`
      throw new AppError(412, 'version_stale', detail)
    }
    return policy
  }

  function check(policy: Policy): Policy {
    const problems = policyProblems(policy, targets)
    if (problems.length > 0) throw invalid(problems)
    return policy
  }

  return {
    all: () => [...all.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
    get: (name) => all.get(name) ?? null,
    versions(name) {
      const found = db
        .prepare<[string], { version: number; at: number; who: string; policy: string | null }>(
          'SELECT version, at, who, policy FROM scaling_policy_versions WHERE name = ? ORDER BY version DESC LIMIT 200',
        )
        .all(name)
      return found.map(({ version, at, who, policy }) => {
        return { version, at, by: who, policy: policy === null ? null : (JSON.parse(policy) as Policy) }
      })
    },
    create(policy, by, at) {
      return changing(() => {
        if (all.has(policy.name)) throw conflict('policy_exists', `There is a policy ${policy.name} already.`)
        if (all.size >= POLICIES_MAX) throw conflict('too_many_policies', `There are ${POLICIES_MAX} policies already.`)
        const metricName = canonicalName(policy.metricName)
        // A name that was used before goes on counting its versions: a stale If-Match never fits a new policy.
        const version = (last.get(policy.name)?.version ?? 0) + 1
        const made = write(check({ ...policy, metricName, version }), by, at)
        audit(db, at, { who: by, deed: 'policy.created', what: policy.name, detail: { policy: made } })
        return made
      })
    },
    change(name, patch, ifMatch, by, at) {
      return changing(() => {
        const before = must(name, ifMatch)
        const metricName = canonicalName(patch.metricName ?? before.metricName)
        const after = check({ ...before, ...patch, name, metricName, version: before.version + 1 })
        write(after, by, at)
        audit(db, at, { who: by, deed: 'policy.changed', what: name, detail: { from: before, to: after } })
        return after
      })
    },
    remove(name, ifMatch, by, at) {
      changing(() => {
        const before = must(name, ifMatch)
        insertVersion.run(name, before.version + 1, at, by, null)
        drop.run(name)
        all.delete(name)
        audit(db, at, { who: by, deed: 'policy.deleted', what: name, detail: { policy: before } })
      })
    },
  }
}
