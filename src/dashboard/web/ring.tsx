/** The mark of an anomaly. Not in the colours of severity: unusual is not bad. */
import type { Level } from '../protocol.ts'

const RADIUS = { low: 3, medium: 4, high: 5 } as const

/** Low, medium, high: small, larger, larger with a core. */
export function Ring({ level }: { level: Level }) {
  return (
    <svg class="i" viewBox="0 0 16 16" aria-hidden="true">
      <circle cx="8" cy="8" r={RADIUS[level]} class="c-anomaly" />
      {level === 'high' && <circle cx="8" cy="8" r="1.75" class="c-anomaly-core" />}
    </svg>
  )
}
