/**
 * Keys that are part of the platform's contract and whose rooms come later: they are read and checked from the first
 * version on, so that a configuration written today holds tomorrow. A room that comes takes its keys with it.
 */
import { bool, integer, oneOf, seconds } from '../base/config-key.ts'

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
} as const

const performance = { file: 'performance.yaml', live: true } as const
export const optimizerKeys = {
  strategy: oneOf('optimization.strategy', 'balanced', ['aggressive', 'balanced', 'conservative'], {
    ...performance,
    env: 'PERFORMANCE_OPTIMIZATION_STRATEGY',
    help: 'How eagerly the optimizer acts.',
  }),
  enabled: bool('optimization.enabled', true, {
    ...performance,
    env: 'PERFORMANCE_OPTIMIZATION_ENABLED',
    help: 'Whether the optimizer acts at all.',
  }),
} as const
