/** What the dashboard takes from analytics: over a real analytics.db, with forecasts and insights as given. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Analytics, Insight, Prediction, QualityRow } from '../analytics/index.ts'
import { openAnalytics, openAnomalies } from '../analytics/index.ts'
import { MINUTE, toIso } from '../base/time.ts'
import type { Database } from '../storage/database.ts'
import { dashboardSources } from './dashboard-sources.ts'

const NOW = Date.UTC(2026, 0, 30, 9, 42)
let dir: string
let db: Database

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'om-sources-'))
  db = openAnalytics(join(dir, 'analytics.db'))
})
afterEach(() => {
  db.close()
  rmSync(dir, { recursive: true })
})

const prediction = (horizon: number, standing: Prediction['standing']): Prediction => ({
  metricName: 'system.cpu_usage',
  labels: { service: 'opinion-market' },
  horizon,
  madeAt: NOW - MINUTE,
  target: NOW + horizon * MINUTE,
  value: 50,
  lower80: 45,
  upper80: 55,
  lower95: 40,
  upper95: 60,
  trend: 'stable',
  factors: {},
  confidence: 0.8,
  model: 'regression',
  samples: 100,
  standing,
})

function sources(parts: { latest?: Prediction[]; quality?: Partial<QualityRow>[]; insights?: Partial<Insight>[] }) {
  const analytics = {
    active: true,
    lastActivity: NOW - MINUTE,
    anomalies: openAnomalies(db),
    forecasts: {
      latest: (name: string) => (parts.latest ?? []).filter((one) => one.metricName === name),
      quality: () => parts.quality ?? [],
    },
    insights: () => parts.insights ?? [],
  } as unknown as Analytics
  const unused = {} as never
  return dashboardSources({
    metrics: unused,
    queries: unused,
    health: unused,
    events: unused,
    clock: { now: () => NOW, monotonic: () => 0 },
    analytics,
    alerting: null,
    scaling: null,
    intervalMs: () => 5000,
  })
}

test('a forecast comes with its 80 % interval, a withdrawn one with the reason of its horizon', () => {
  const latest = [prediction(15, 'in_use'), prediction(30, 'withdrawn'), prediction(60, 'unproven')]
  const quality = [
    { horizon: 15, why: 'it is best' },
    { horizon: 30, why: 'naive did better by 4 %' },
  ]
  const found = sources({ latest, quality }).forecasts!(['system.cpu_usage', 'system.memory_usage'])
  expect(found.map((one) => [one.horizon, one.withdrawn])).toEqual([
    [15, null],
    [30, 'naive did better by 4 %'],
    [60, null],
  ])
  expect(found[0]).toMatchObject({
    metric: 'system.cpu_usage',
    madeAt: NOW - MINUTE,
    target_time: toIso(NOW + 15 * MINUTE),
    lower: 45,
    upper: 55,
    coverage: 0.8,
  })
})

test('only what a recent cycle saw is an insight of now', () => {
  const insight = (id: string, minutesAgo: number) => ({
    id,
    type: 'capacity' as const,
    title: id,
    description: 'words',
    confidence: 0.9,
    impact: 'high' as const,
    recommendations: ['No action.'],
    lastSeenAt: NOW - minutesAgo * MINUTE,
  })
  const found = sources({ insights: [insight('a', 1), insight('b', 16)] }).insights!()
  expect(found.map((one) => [one.id, one.evidence_url, one.found_by])).toEqual([['a', '/ops/insights/a', 'analytics']])
})

test('anomalies are those of the figures themselves: other services, quantiles and hidden ones are not among them', () => {
  const insert = db.prepare("INSERT INTO anomalies VALUES (?, 'e', ?, ?, ?, ?, 'jump', 'none', 90, 50, 40, 60, 6, 0.7)")
  const own = { service: 'opinion-market' }
  const add = (id: string, series: number, metric: string, labels: object, at: number) =>
    insert.run(id, series, metric, JSON.stringify({ __name__: metric, ...labels }), at)
  add('mine', 1, 'system_cpu_usage', own, NOW - 3 * MINUTE)
  add('p99', 2, 'application_api_response_time', { ...own, quantile: '0.99' }, NOW - 2 * MINUTE)
  add('p95', 3, 'application_api_response_time', own, NOW - MINUTE)
  add('customer', 4, 'system_cpu_usage', { service: 'shop' }, NOW - MINUTE)
  add('hidden', 5, 'system_memory_usage', own, NOW - MINUTE)
  add('old', 1, 'system_cpu_usage', own, NOW - 100 * MINUTE)
  openAnomalies(db).judge('hidden', { verdict: 'noise', note: null, who: 'mk', at: NOW })
  openAnomalies(db).judge('mine', { verdict: 'real', note: null, who: 'mk', at: NOW })
  const names = ['system.cpu_usage', 'system.memory_usage', 'application.api_response_time']
  const found = sources({}).anomalies!(names, NOW - 60 * MINUTE, NOW, 10)
  expect(found.map((one) => one.id)).toEqual(['p95', 'mine'])
  expect(found[1]).toMatchObject({
    metric_name: 'system.cpu_usage',
    severity: 'high',
    actual_value: 90,
    feedback: { verdict: 'real', by: 'mk', at: toIso(NOW) },
  })
  expect(sources({}).anomalies!(names, NOW - 60 * MINUTE, NOW, 1).map((one) => one.id)).toEqual(['p95'])
})
