import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { readRuleFile } from './prometheus.ts'

const read = (text: string, taken = new Set<string>()) => readRuleFile('hosts.yaml', parse(text), taken)

const FILE = `
groups:
  - name: Hosts
    interval: 30s
    labels: { team: ops }
    rules:
      - record: job:up:sum
        expr: sum by (job) (up)
      - alert: HostDown
        expr: up == 0
        for: 1h30m
        keep_firing_for: 10m
        labels: { severity: page }
        annotations:
          summary: '{{ $labels.instance }} is down'
          runbook_url: https://runbooks.example/host
      - alert: HostDown
        expr: up{env="dev"} == 0
`

describe('rule files of Prometheus', () => {
  test('become rules with expressions', () => {
    const { drafts, problems, recording } = read(FILE)
    expect(problems).toEqual([])
    expect(recording).toEqual(['job:up:sum'])
    expect(drafts).toMatchObject([
      {
        id: 'hosts_hostdown',
        name: 'HostDown',
        source: { kind: 'expr', expr: 'up == 0' },
        severity: 'critical',
        forMs: 5_400_000,
        recoverForMs: 600_000,
        extraLabels: { team: 'ops', severity: 'page' },
        runbookUrl: 'https://runbooks.example/host',
        owner: 'ops',
        provenance: 'file',
        noData: 'resolve',
      },
      { id: 'hosts_hostdown_2', source: { kind: 'expr', expr: 'up{env="dev"} == 0' }, severity: 'warning', forMs: 0 },
    ])
  })

  test('an id that is taken gets a number, and stays short', () => {
    expect(read(FILE, new Set(['hosts_hostdown'])).drafts.map((d) => d.id)).toEqual([
      'hosts_hostdown_2',
      'hosts_hostdown_3',
    ])
    const long = read(`groups: [{ name: ${'g'.repeat(100)}, rules: [{ alert: A, expr: up }, { alert: A, expr: up }] }]`)
    expect(long.drafts.map((d) => d.id.length)).toEqual([64, 64])
    expect(new Set(long.drafts.map((d) => d.id)).size).toBe(2)
  })

  test.each([
    ['[]', 'hosts.yaml', 'expected groups'],
    ['grups: []', 'hosts.yaml', 'grups is not known'],
    ['groups: 3', 'hosts.yaml: groups', 'expected a list'],
    ['groups: [{ rules: [] }]', 'hosts.yaml: group 1', 'expected a name'],
    ['groups: [{ name: a }, { name: a }]', 'hosts.yaml: group a', 'two groups'],
    ['groups: [{ name: a, rules: [{ expr: up }] }]', 'hosts.yaml: group a: rule 1', 'expected alert'],
    ['groups: [{ name: a, rules: [{ alert: X }] }]', 'hosts.yaml: group a: X', 'expected expr'],
    ['groups: [{ name: a, rules: [{ alert: X, expr: up, fro: 5m }] }]', 'hosts.yaml: group a: X', 'fro is not known'],
    ['groups: [{ name: a, rules: [{ alert: X, expr: up, for: 5x }] }]', 'hosts.yaml: group a: X: for', 'such as 5m'],
    [
      'groups: [{ name: a, rules: [{ alert: X, expr: up, annotations: { summary: "{{ bad $value }}" } }] }]',
      'hosts.yaml: group a: X: summary',
      'no function bad',
    ],
  ])('%s is refused at its place', (text, where, message) => {
    expect(read(text).problems).toContainEqual({ where, message: expect.stringContaining(message) })
  })

  test('an empty file holds nothing', () => {
    expect(read('')).toEqual({ drafts: [], problems: [], recording: [] })
  })
})
