/**
 * Keys that are part of the platform's contract and whose rooms come later: they are read and checked from the first
 * version on, so that a configuration written today holds tomorrow. A room that comes takes its keys with it.
 */
import { bool, oneOf } from '../base/config-key.ts'

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
