/**
 * Names of metrics. The platform's API speaks dotted names (`system.cpu_usage`) and short aliases (`cpu_usage`);
 * stored, and in PromQL and `/metrics`, a name has underscores (`system_cpu_usage`).
 *
 *   alias ──canonicalName──▶ system.cpu_usage ──storedName──▶ system_cpu_usage ──apiName──▶ system.cpu_usage
 *
 * Aliases serve the platform's own API alone. They are never applied to names that come in by remote write, scrape
 * or OTLP.
 */

/** The label that the platform's own series carry; default rules, cards and policies are bound to it. */
export const PLATFORM_LABEL = ['service', 'opinion-market'] as const

export interface KnownMetric {
  readonly name: string
  readonly aliases: readonly string[]
  /** As shown beside a number. */
  readonly unit: string
  readonly worse: 'higher' | 'lower' | 'none'
  /** Ends that the value cannot pass, for forecasts and axes. */
  readonly min?: number
  readonly max?: number
}

const m = (name: string, aliases: string[], unit: string, worse: KnownMetric['worse'], min?: number, max?: number) =>
  ({
    name,
    aliases,
    unit,
    worse,
    ...(min === undefined ? {} : { min }),
    ...(max === undefined ? {} : { max }),
  }) as const

export const knownMetrics: readonly KnownMetric[] = [
  m('system.cpu_usage', ['cpu_usage'], '%', 'higher', 0, 100),
  m('system.memory_usage', ['memory_usage'], '%', 'higher', 0, 100),
  m('system.disk_usage', ['disk_usage'], '%', 'higher', 0, 100),
  m('system.memory_available', ['memory_available_gb'], 'GiB', 'lower', 0),
  m('system.disk_free', ['disk_free_gb'], 'GiB', 'lower', 0),
  m('system.network_bytes_sent', ['network_bytes_sent'], 'bytes', 'none', 0),
  m('system.network_bytes_recv', ['network_bytes_recv'], 'bytes', 'none', 0),
  m('application.api_response_time', ['response_time'], 'ms', 'higher', 0),
  m('application.requests_per_second', ['throughput'], 'req/s', 'none', 0),
  m('application.error_rate', ['error_rate'], '%', 'higher', 0, 100),
  m('application.active_connections', ['active_connections'], '', 'none', 0),
  m('cache.hit_rate', ['cache_hit_rate'], '%', 'lower', 0, 100),
  m('cache.entry_count', ['cache_size'], '', 'none', 0),
  m('cache.memory_usage', ['cache_memory_mb'], 'MiB', 'higher', 0),
  m('database.pool_size', ['db_pool_size'], '', 'none', 0),
  m('database.checked_out', ['db_checked_out'], '', 'none', 0),
  m('database.query_time', ['db_query_time'], 'ms', 'none', 0),
  m('database.transaction_rate', ['db_transaction_rate'], '1/s', 'none', 0),
  m('runtime.gc_frequency', ['gc_frequency'], '1/min', 'higher', 0),
  m('runtime.event_loop_lag', [], 'ms', 'higher', 0),
  m('performance_score', ['health_score'], '', 'lower', 0, 100),
]

const byAlias = new Map<string, KnownMetric>()
const byStored = new Map<string, KnownMetric>()
for (const metric of knownMetrics) {
  for (const alias of metric.aliases) byAlias.set(alias, metric)
  byAlias.set(metric.name, metric)
  byStored.set(storedName(metric.name), metric)
}

/** `cpu_usage` → `system.cpu_usage`; the stored form of a known metric too; any other name stays as it is. */
export function canonicalName(name: string): string {
  return (byAlias.get(name) ?? byStored.get(name))?.name ?? name
}

/** The form in which a name of the API is stored: dots become underscores. Applies aliases first. */
export function storedName(name: string): string {
  const canonical = byAlias.get(name)?.name ?? name
  return canonical.replaceAll('.', '_')
}

/** From the stored form to the one the API shows. */
export function apiName(stored: string): string {
  return byStored.get(stored)?.name ?? stored
}

export function knownMetric(name: string): KnownMetric | null {
  return byAlias.get(name) ?? byStored.get(name) ?? null
}
