/** The rules that every platform begins with, bound to its own series. */
import { PLATFORM_LABEL } from '../../metrics/index.ts'
import type { Condition, Severity } from '../rule.ts'
import type { RuleDraft } from './rules.ts'

const rule = (
  id: string,
  name: string,
  description: string,
  metricName: string,
  [condition, threshold]: [Condition, number],
  severity: Severity,
  channels: string[],
  tags: string[],
): RuleDraft => ({
  id,
  name,
  description,
  metricName,
  labels: [{ name: PLATFORM_LABEL[0], equals: PLATFORM_LABEL[1] }],
  condition,
  threshold,
  severity,
  channels,
  tags,
})

const some = ['email', 'webhook']
const all = ['email', 'webhook', 'slack']

export const defaultRules: readonly RuleDraft[] = [
  {
    ...rule(
      'cpu_high',
      'High CPU Usage',
      'The platform uses more than 80 % of its processors.',
      'system.cpu_usage',
      ['gt', 80],
      'warning',
      some,
      ['system', 'performance'],
    ),
    suppressedBy: ['cpu_critical'],
  },
  rule(
    'cpu_critical',
    'Critical CPU Usage',
    'The platform uses more than 95 % of its processors.',
    'system.cpu_usage',
    ['gt', 95],
    'critical',
    all,
    ['system', 'performance', 'critical'],
  ),
  rule(
    'memory_high',
    'High Memory Usage',
    'The platform uses more than 85 % of its memory.',
    'system.memory_usage',
    ['gt', 85],
    'warning',
    some,
    ['system', 'memory'],
  ),
  {
    ...rule(
      'response_time_slow',
      'Slow Response Time',
      'One request in twenty takes longer than 200 ms.',
      'application.api_response_time',
      ['gt', 200],
      'warning',
      some,
      ['application', 'performance'],
    ),
    // The plain series is p95; p50 and p99 stand beside it with a label of their own.
    labels: [
      { name: PLATFORM_LABEL[0], equals: PLATFORM_LABEL[1] },
      { name: 'quantile', equals: '' },
    ],
  },
  rule(
    'cache_hit_rate_low',
    'Low Cache Hit Rate',
    'Fewer than 70 % of look-ups find what they seek in the cache.',
    'cache.hit_rate',
    ['lt', 70],
    'warning',
    ['email'],
    ['cache', 'performance'],
  ),
  rule(
    'disk_space_low',
    'Low Disk Space',
    'The volume of the data directory is more than 90 % full.',
    'system.disk_usage',
    ['gt', 90],
    'critical',
    all,
    ['system', 'storage', 'critical'],
  ),
]
