/**
 * Rule files of Prometheus as they are:
 *
 *   groups:
 *     - name: hosts
 *       rules:
 *         - alert: HostDown
 *           expr: up == 0
 *           for: 5m
 *           keep_firing_for: 10m
 *           labels: { severity: critical }
 *           annotations: { summary: '{{ $labels.instance }} is down', runbook_url: https://… }
 *
 * Each alerting rule becomes a rule of the platform with an expression; recording rules are left out, and said. Pure: a
 * text goes in, drafts and problems come out.
 */
import type { Severity } from '../rule.ts'
import { durationMs } from './duration.ts'
import type { RuleDraft } from './rules.ts'
import { templateProblem } from './template.ts'

export interface FileProblem {
  /** `hosts.yaml: group hosts: HostDown`. */
  readonly where: string
  readonly message: string
}

export interface RuleFile {
  readonly drafts: readonly RuleDraft[]
  /** What is wrong; nothing of a file with problems is applied. */
  readonly problems: readonly FileProblem[]
  /** Names of recording rules, which the platform does not run. */
  readonly recording: readonly string[]
}

/** Who is told of the alerts of files; each channel's filter chooses among them. */
const CHANNELS = ['email', 'webhook', 'slack']
const GROUP_KEYS = ['name', 'interval', 'query_offset', 'limit', 'labels', 'rules', 'partial_response_strategy']
const RULE_KEYS = ['alert', 'record', 'expr', 'for', 'keep_firing_for', 'labels', 'annotations']
const LABEL_NAME = /^[a-zA-Z_][a-zA-Z0-9_]*$/
const ID_MAX = 64

type Json = Readonly<Record<string, unknown>>

/** Reads what a YAML parser made of a file. `taken` holds ids of files read before, and is added to. */
export function readRuleFile(file: string, document: unknown, taken: Set<string>): RuleFile {
  const problems: FileProblem[] = []
  const drafts: RuleDraft[] = []
  const recording: string[] = []
  const wrong = (where: string, message: string) => void problems.push({ where, message })
  if (document === null || document === undefined) return { drafts, problems, recording }
  if (!isObject(document)) {
    wrong(file, 'expected groups: with a list of groups')
    return { drafts, problems, recording }
  }
  unknownKeys(document, ['groups'], file, wrong)
  const names = new Set<string>()
  for (const [i, group] of listOf(document.groups, `${file}: groups`, wrong).entries()) {
    const name = isObject(group) && typeof group.name === 'string' && group.name !== '' ? group.name : null
    const at = `${file}: group ${name ?? i + 1}`
    if (!isObject(group) || name === null) {
      wrong(at, 'expected a name and a list of rules')
      continue
    }
    if (names.has(name)) wrong(at, 'there are two groups of this name')
    names.add(name)
    unknownKeys(group, GROUP_KEYS, at, wrong)
    const everyMs = durationOf(group.interval, `${at}: interval`, wrong)
    const shared = textsOf(group.labels, `${at}: labels`, wrong)
    for (const [j, rule] of listOf(group.rules, `${at}: rules`, wrong).entries()) {
      if (!isObject(rule)) {
        wrong(`${at}: rule ${j + 1}`, 'expected alert: and expr:')
        continue
      }
      const called = typeof rule.alert === 'string' && rule.alert !== '' ? rule.alert : null
      const here = `${at}: ${called ?? `rule ${j + 1}`}`
      unknownKeys(rule, RULE_KEYS, here, wrong)
      if (typeof rule.record === 'string' && called === null) recording.push(rule.record)
      else if (called === null) wrong(here, 'expected alert: with a name')
      else drafts.push(draftOf(rule, called, { name, shared, everyMs }, here, taken, wrong))
    }
  }
  return { drafts, problems, recording }
}

type Wrong = (where: string, message: string) => void

function draftOf(
  rule: Json,
  name: string,
  group: { readonly name: string; readonly shared: Readonly<Record<string, string>>; readonly everyMs: number },
  here: string,
  taken: Set<string>,
  wrong: Wrong,
): RuleDraft {
  const expr = typeof rule.expr === 'number' ? String(rule.expr) : rule.expr
  if (typeof expr !== 'string' || expr.trim() === '') wrong(here, 'expected expr: with a PromQL expression')
  const labels = { ...group.shared, ...textsOf(rule.labels, `${here}: labels`, wrong) }
  const annotations = textsOf(rule.annotations, `${here}: annotations`, wrong)
  for (const [key, text] of Object.entries({ ...labels, ...annotations })) {
    const problem = templateProblem(text)
    if (problem !== null) wrong(`${here}: ${key}`, `the template cannot be read: ${problem}`)
  }
  for (const key of Object.keys(labels)) if (!LABEL_NAME.test(key)) wrong(here, `${key} is no name of a label`)
  return {
    id: idOf(`${group.name}_${name}`, taken),
    name,
    description: annotations.description ?? annotations.summary ?? '',
    source: { kind: 'expr', expr: String(expr ?? ''), ...(group.everyMs > 0 ? { everyMs: group.everyMs } : {}) },
    severity: severityOf(labels.severity),
    channels: CHANNELS,
    cooldownMs: 0,
    // As in Prometheus: what an expression does not name any more is over.
    noData: 'resolve',
    forMs: durationOf(rule.for, `${here}: for`, wrong),
    recoverForMs: durationOf(rule.keep_firing_for, `${here}: keep_firing_for`, wrong),
    extraLabels: labels,
    annotations,
    // With a template in it the address is known when the alert opens.
    runbookUrl: annotations.runbook_url?.includes('{{') ? null : (annotations.runbook_url ?? null),
    owner: labels.team ?? labels.owner ?? null,
    tags: [group.name],
    provenance: 'file',
  }
}

/** Of a name, within the rules for ids, and not twice. */
function idOf(name: string, taken: Set<string>): string {
  const slug = name.toLowerCase().replace(/[^a-z0-9_-]+/g, '_')
  for (let n = 1; ; n++) {
    const end = n === 1 ? '' : `_${n}`
    const id = slug.slice(0, ID_MAX - end.length) + end
    if (taken.has(id)) continue
    taken.add(id)
    return id
  }
}

/** What teams call their severities, in the platform's words. */
function severityOf(label: string | undefined): Severity {
  switch (label?.toLowerCase()) {
    case 'emergency':
    case 'disaster':
      return 'emergency'
    case 'critical':
    case 'page':
    case 'error':
    case 'high':
      return 'critical'
    case 'info':
    case 'none':
    case 'low':
      return 'info'
    default:
      return 'warning'
  }
}

function durationOf(raw: unknown, where: string, wrong: Wrong): number {
  if (raw === undefined || raw === null) return 0
  const ms = durationMs(String(raw))
  if (ms === null) wrong(where, `expected a duration such as 5m, not ${JSON.stringify(raw)}`)
  return ms ?? 0
}

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value)

function listOf(value: unknown, where: string, wrong: Wrong): readonly unknown[] {
  if (value === undefined || value === null) return []
  if (Array.isArray(value)) return value
  wrong(where, 'expected a list')
  return []
}

function textsOf(value: unknown, where: string, wrong: Wrong): Record<string, string> {
  if (value === undefined || value === null) return {}
  if (!isObject(value)) {
    wrong(where, 'expected names with texts')
    return {}
  }
  const texts: Record<string, string> = {}
  for (const [name, text] of Object.entries(value)) {
    if (text === null || typeof text === 'object') wrong(`${where}.${name}`, 'expected a text')
    else texts[name] = String(text)
  }
  return texts
}

function unknownKeys(object: Json, known: readonly string[], where: string, wrong: Wrong): void {
  for (const key of Object.keys(object)) if (!known.includes(key)) wrong(where, `${key} is not known`)
}
