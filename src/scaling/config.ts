/** What can be configured of scaling. */

import { wrongEntry } from '../base/address.ts'
import { bool, type ConfigOf, integer, number, optionalText, seconds, structure } from '../base/config-key.ts'
import { parseTargets, shownTargets, type TargetSettings } from './targets.ts'

const scaling = { file: 'scaling.yaml', live: true } as const

export const scalingKeys = {
  enabled: bool('scaling.enabled', true, {
    ...scaling,
    env: 'AUTO_SCALING_ENABLED',
    help: 'Whether scaling policies are evaluated.',
  }),
  minInstances: integer('scaling.min_instances', 1, {
    ...scaling,
    env: 'AUTO_SCALING_MIN_INSTANCES',
    min: 0,
    max: 1_000,
    unit: 'instances',
    help: 'Fewest instances that any policy may leave.',
  }),
  maxInstances: integer('scaling.max_instances', 10, {
    ...scaling,
    env: 'AUTO_SCALING_MAX_INSTANCES',
    min: 1,
    max: 1_000,
    unit: 'instances',
    help: 'Most instances that any policy may start.',
  }),
  cooldownPeriod: seconds('scaling.cooldown_period', 300, {
    ...scaling,
    env: 'AUTO_SCALING_COOLDOWN_PERIOD',
    min: 0,
    max: 86_400,
    help: 'Time after an action before the same policy acts again.',
  }),
  evaluationInterval: seconds('scaling.evaluation_interval', 60, {
    ...scaling,
    env: 'AUTO_SCALING_EVALUATION_INTERVAL',
    min: 0.2,
    max: 3_600,
    help: 'Time between two evaluations of all targets.',
  }),
  metricMaxAge: seconds('scaling.metric_max_age', 120, {
    ...scaling,
    min: 1,
    max: 3_600,
    help: 'A metric whose newest sample is older than this is missing: it scales nothing down.',
  }),
  retentionDays: integer('scaling.decision_retention_days', 90, {
    ...scaling,
    min: 1,
    max: 3_650,
    unit: 'days',
    help: 'How long decisions that changed something are kept; those that changed nothing are kept for 7 days.',
  }),
  pricePerInstanceHour: number('scaling.price_per_instance_hour', 0.1, {
    ...scaling,
    min: 0,
    max: 1e9,
    help: 'What an instance costs an hour; weighed against slow and lost requests.',
  }),
  slowPerMillion: number('scaling.slow_per_million', 5, {
    ...scaling,
    min: 0,
    max: 1e12,
    help: 'What a million requests that are slower than the limit cost.',
  }),
  lostPerMillion: number('scaling.lost_per_million', 50, {
    ...scaling,
    min: 0,
    max: 1e12,
    help: 'What a million requests that are not answered cost.',
  }),
  currency: optionalText('scaling.currency', {
    ...scaling,
    pattern: /^[A-Z]{3}$/,
    expected: 'three capital letters, such as EUR',
    help: 'The currency of these prices; without one, hours and per cent are shown instead of money.',
  }),
  allowNetworks: structure<readonly string[]>(
    'scaling.allow_networks',
    [],
    'a list of networks such as 10.1.0.0/16, addresses, or host names',
    (raw) => {
      const parts = typeof raw === 'string' ? raw.split(',').map((part) => part.trim()) : raw
      if (raw === null || raw === '') return []
      if (!Array.isArray(parts) || !parts.every((part) => typeof part === 'string')) {
        throw new Error('a list of networks such as 10.1.0.0/16, addresses, or host names')
      }
      const problem = parts.map(wrongEntry).find((text) => text !== null)
      if (problem) throw new Error(problem)
      return parts
    },
    {
      ...scaling,
      env: 'AUTO_SCALING_ALLOW_NETWORKS',
      help: 'Internal networks and hosts that webhooks of scaling may speak to; all others are refused.',
    },
  ),
  webhookSecret: optionalText('scaling.webhook_secret', {
    ...scaling,
    env: 'AUTO_SCALING_WEBHOOK_SECRET',
    secret: true,
    help: 'Signs the requests of webhook targets.',
  }),
  targets: structure<readonly TargetSettings[]>(
    'scaling.targets',
    [],
    'a list of targets',
    (raw) => parseTargets(raw),
    {
      file: 'scaling.yaml',
      live: false,
      shown: shownTargets,
      help: "What is scaled besides the platform's own instances: processes, objects of Kubernetes, webhooks; see docs/scaling.md.",
    },
  ),
} as const

export type ScalingConfig = ConfigOf<typeof scalingKeys>
