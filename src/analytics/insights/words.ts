/** Numbers and times as sentences say them: three significant figures, narrow no-break space, true minus, UTC. */
import { DAY, HOUR, MINUTE, type Millis } from '../../base/time.ts'

/** `82.6 %`, `1,180 req/s`, `60`. */
export function quantity(value: number, unit: string): string {
  const text = significant(value)
  return unit === '' ? text : `${text}\u202f${unit}`
}

export function significant(value: number): string {
  if (value === 0) return '0'
  const size = Math.abs(value)
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : Math.min(12, 2 - Math.floor(Math.log10(size)))
  const rounded = Number(value.toFixed(digits))
  const text = Math.abs(rounded).toLocaleString('en-US', { maximumFractionDigits: digits })
  return rounded < 0 ? `\u2212${text}` : text
}

/** `12 min`, `3.5 h`, `4 days`. */
export function span(ms: number): string {
  if (ms < 90 * MINUTE) return `${Math.max(1, Math.round(ms / MINUTE))} min`
  if (ms < 2 * DAY) return `${significant(Math.round(ms / (HOUR / 2)) / 2)} h`
  return `${Math.round(ms / DAY)} days`
}

/** `09:40`, with the date when it is not within the day of `now`. */
export function clockTime(at: Millis, now: Millis): string {
  const iso = new Date(at).toISOString()
  const time = iso.slice(11, 16)
  return Math.abs(at - now) < 18 * HOUR ? time : `${iso.slice(0, 10)} ${time}`
}

/** `system.cpu_usage` → `CPU usage`; other names stay. */
export function plainName(name: string): string {
  return Object.hasOwn(plain, name) ? plain[name]! : name
}

const plain: Readonly<Record<string, string>> = {
  'system.cpu_usage': 'CPU usage',
  'system.memory_usage': 'Memory usage',
  'system.disk_usage': 'Disk usage',
  'system.memory_available': 'Available memory',
  'system.disk_free': 'Free disk space',
  'application.api_response_time': 'Response time (p95)',
  'application.requests_per_second': 'Throughput',
  'application.error_rate': 'Error rate',
  'application.active_connections': 'Open connections',
  'cache.hit_rate': 'Cache hit rate',
  'cache.memory_usage': 'Cache memory',
  'runtime.event_loop_lag': 'Event-loop lag',
  'runtime.gc_frequency': 'Collections per minute',
  performance_score: 'Health score',
}
