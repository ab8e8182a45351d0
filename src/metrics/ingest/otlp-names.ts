/**
 * OpenTelemetry names in Prometheus' form (opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics):
 * words joined by underscores, the unit as a suffix unless the name says it already.
 */

/** UCUM units as words. */
const UNITS: Readonly<Record<string, string>> = {
  d: 'days',
  h: 'hours',
  min: 'minutes',
  s: 'seconds',
  ms: 'milliseconds',
  us: 'microseconds',
  ns: 'nanoseconds',
  By: 'bytes',
  KiBy: 'kibibytes',
  MiBy: 'mebibytes',
  GiBy: 'gibibytes',
  TiBy: 'tibibytes',
  KBy: 'kilobytes',
  MBy: 'megabytes',
  GBy: 'gigabytes',
  TBy: 'terabytes',
  m: 'meters',
  V: 'volts',
  A: 'amperes',
  J: 'joules',
  W: 'watts',
  g: 'grams',
  Cel: 'celsius',
  Hz: 'hertz',
  '%': 'percent',
  '1': '',
}

/** After "per". */
const PER: Readonly<Record<string, string>> = {
  s: 'second',
  m: 'minute',
  min: 'minute',
  h: 'hour',
  d: 'day',
  w: 'week',
  mo: 'month',
  y: 'year',
}

const cache = new Map<string, string>()
const CACHE_MAX = 10_000

/** `ending` is the word that stands last, `total` or `ratio`, after the unit. */
export function metricName(name: string, unit: string, ending: 'total' | 'ratio' | null): string {
  const key = `${name}\n${unit}\n${ending}`
  const known = cache.get(key)
  if (known !== undefined) return known
  let words = name.split(/[^a-zA-Z0-9:]+/).filter((word) => word !== '')
  const [main, per] = unitWords(unit)
  if (main !== '' && !words.includes(main)) words.push(main)
  if (per !== '' && !words.includes(per)) words.push('per', per)
  if (ending) words = [...words.filter((word) => word !== ending), ending]
  let result = words.join('_')
  if (/^\d/.test(result)) result = `_${result}`
  if (cache.size >= CACHE_MAX) cache.clear()
  cache.set(key, result)
  return result
}

function unitWords(unit: string): [main: string, per: string] {
  const slash = unit.indexOf('/')
  const word = (text: string, table: Readonly<Record<string, string>>) => {
    // Units in braces are remarks: {request}.
    const trimmed = text.trim()
    if (trimmed.includes('{') || trimmed.includes('}')) return ''
    const known = Object.hasOwn(table, trimmed) ? table[trimmed]! : trimmed
    return known.replace(/[^a-zA-Z0-9:]+/g, '_').replace(/^_+|_+$/g, '')
  }
  if (slash < 0) return [word(unit, UNITS), '']
  return [word(unit.slice(0, slash), UNITS), word(unit.slice(slash + 1), PER)]
}

/** An attribute's name as a label's: `k8s.pod.name` → `k8s_pod_name`. Empty stays empty. */
export function labelName(key: string): string {
  const name = key.replace(/[^a-zA-Z0-9_]/g, '_')
  if (/^\d/.test(name)) return `key_${name}`
  // Names that begin with two underscores are the database's own.
  return name.startsWith('__') ? `key${name}` : name
}
