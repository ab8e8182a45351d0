/**
 * The finders: each looks at the metrics in one way and says what it found. `findInsights` runs them in order; what a
 * finder needs and does not have (too little history, no data) makes it silent, never wrong.
 */
import { DAY, HOUR, type Millis, toIso } from '../../base/time.ts'
import { findPeriod } from '../forecasters/index.ts'
import { BIN_MS, type Evidence, type Finding, type MetricView } from './insight.ts'
import {
  autocorrelation,
  mean,
  quantileOfSorted,
  robustDeviation,
  type Shift,
  strongestShift,
  theilSen,
} from './statistics.ts'
import { clockTime, plainName, quantity, significant, span } from './words.ts'

export type Views = ReadonlyMap<string, MetricView>
type Finder = (views: Views, now: Millis) => Finding[]

export function findInsights(views: Views, now: Millis): Finding[] {
  return finders.flatMap((find) => find(views, now))
}

const finders: readonly Finder[] = [
  performance,
  cache,
  resources,
  timeToLimit,
  changes,
  patterns,
  breaches,
  unforecastable,
]

// ------------------------------------------------------------------------------- means of the last 10 points

function recentMean(views: Views, name: string): number | null {
  const view = views.get(name)
  return view && view.recent.length > 0 ? mean(view.recent) : null
}

const recentEvidence = (values: Record<string, number>): Evidence => ({ window_points: 10, ...values })

function performance(views: Views): Finding[] {
  const score = recentMean(views, 'performance_score')
  if (score === null) return []
  const evidence = (threshold: number) => recentEvidence({ performance_score: score, threshold })
  if (score > 90) {
    return [
      {
        key: 'performance:excellent',
        type: 'performance',
        title: 'Excellent System Performance',
        description: `The health score was ${significant(score)} of 100 over the last 10 points, above 90.`,
        confidence: 0.95,
        impact: 'high',
        recommendations: ['No action: nothing takes points from the score.'],
        evidence: evidence(90),
      },
    ]
  }
  if (score < 70) {
    return [
      {
        key: 'performance:attention',
        type: 'performance',
        title: 'Performance Needs Attention',
        description: `The health score was ${significant(score)} of 100 over the last 10 points, below 70.`,
        confidence: 0.9,
        impact: 'high',
        recommendations: ['Look at the parts of the score: the metric that takes most points decides it.'],
        evidence: evidence(70),
      },
    ]
  }
  return []
}

function cache(views: Views): Finding[] {
  const rate = recentMean(views, 'cache.hit_rate')
  if (rate === null) return []
  const said = quantity(rate, '%')
  if (rate > 85) {
    return [
      {
        key: 'cache:optimal',
        type: 'cache',
        title: 'Optimal Cache Performance',
        description: `The cache answered ${said} of look-ups over the last 10 points, above 85\u202f%.`,
        confidence: 0.9,
        impact: 'medium',
        recommendations: ['No action: the cache fits its load.'],
        evidence: recentEvidence({ hit_rate: rate, threshold: 85 }),
      },
    ]
  }
  if (rate < 60) {
    const size = recentMean(views, 'cache.memory_usage')
    return [
      {
        key: 'cache:poor',
        type: 'cache',
        title: 'Cache Optimization Needed',
        description:
          `The cache answered only ${said} of look-ups over the last 10 points, below 60\u202f%` +
          `${size === null ? '' : `, while it held ${quantity(size, 'MiB')}`}.`,
        confidence: 0.85,
        impact: 'medium',
        recommendations: ['Raise the memory limit of the cache, or lengthen the life of its entries.'],
        evidence: recentEvidence({ hit_rate: rate, threshold: 60 }),
      },
    ]
  }
  return []
}

function resources(views: Views): Finding[] {
  const cpu = recentMean(views, 'system.cpu_usage')
  const memory = recentMean(views, 'system.memory_usage')
  if (cpu === null || memory === null) return []
  const said = `CPU usage was ${quantity(cpu, '%')} and memory usage ${quantity(memory, '%')} over the last 10 points`
  const evidence = recentEvidence({ cpu_usage: cpu, memory_usage: memory })
  if (cpu > 80 && memory > 80) {
    return [
      {
        key: 'resources:high',
        type: 'resources',
        title: 'High Resource Utilization',
        description: `${said}, both above 80\u202f%.`,
        confidence: 0.9,
        impact: 'high',
        recommendations: ['Add an instance, or move load away from this machine.'],
        evidence,
      },
    ]
  }
  if (cpu < 30 && memory < 50) {
    return [
      {
        key: 'resources:low',
        type: 'resources',
        title: 'Low Resource Utilization',
        description: `${said}: below 30\u202f% and 50\u202f%.`,
        confidence: 0.8,
        impact: 'low',
        recommendations: ['If this lasts through the busy hours, a smaller machine or fewer instances would do.'],
        evidence,
      },
    ]
  }
  return []
}

// ------------------------------------------------------------------------------------------ time to a limit

const HORIZON_MS = 14 * DAY

/** Values move towards their limit on a line that is surely not flat: when do they reach it, and how sure is that? */
function timeToLimit(views: Views, now: Millis): Finding[] {
  const found: Finding[] = []
  for (const view of views.values()) {
    if (!view.limit) continue
    const trend = theilSen(...lastOf(view, DAY))
    if (!trend) continue
    const sign = view.limit.side === 'above' ? 1 : -1
    const room = (view.limit.value - trend.level) * sign
    const [slow, fast] = sign > 0 ? [trend.slopeLow, trend.slopeHigh] : [-trend.slopeHigh, -trend.slopeLow]
    const likely = trend.slope * sign
    if (room <= 0 || slow <= 0 || room / likely > HORIZON_MS) continue
    const at = now + room / likely
    const name = plainName(view.name)
    const limit = quantity(view.limit.value, view.unit)
    found.push({
      key: `limit:${view.name}`,
      type: 'capacity',
      title: `${name} reaches ${limit} in about ${span(room / likely)}`,
      description:
        `${name} is ${quantity(trend.level, view.unit)} and ${sign > 0 ? 'grows' : 'falls'} by ` +
        `${quantity(Math.abs(trend.slope) * HOUR, view.unit)} an hour. On that line it reaches ${limit} at ` +
        `${clockTime(at, now)} UTC${span(room / fast) === span(room / slow) ? '' : `; the slope allows ${span(room / fast)} to ${span(room / slow)}`}.`,
      // One where the interval is narrow, less as its far end moves away from the estimate.
      confidence: Math.max(0, Math.min(0.98, 1 - (0.3 * (room / slow - room / fast)) / (room / likely))),
      impact: room / likely < 6 * HOUR ? 'high' : room / likely < 2 * DAY ? 'medium' : 'low',
      recommendations: [limitAdvice[view.name] ?? `Find what makes ${name} ${sign > 0 ? 'grow' : 'fall'} before then.`],
      evidence: {
        now: trend.level,
        limit: view.limit.value,
        per_hour: trend.slope * HOUR,
        reached_at: toIso(at),
        earliest: toIso(now + room / fast),
        latest: toIso(now + room / slow),
        chart: chartOf(...lastOf(view, DAY)),
      },
    })
  }
  return found
}

const limitAdvice: Readonly<Record<string, string>> = {
  'system.disk_usage': 'Free disk space, shorten the retention of metrics, or give the volume more room.',
  'system.disk_free': 'Free disk space, shorten the retention of metrics, or give the volume more room.',
  'system.memory_usage': 'Look for the process that grows, and restart or resize before memory ends.',
  'system.memory_available': 'Look for the process that grows, and restart or resize before memory ends.',
}

// -------------------------------------------------------------------------------------------- level changes

/** How close in time two shifts must be to be told together. */
const TOGETHER_MS = 3 * BIN_MS

interface Moved {
  readonly view: MetricView
  readonly shift: Shift
  readonly at: Millis
  readonly times: Float64Array
  readonly values: Float64Array
}

/** Levels that changed within the last day, those that moved together in one finding, the strongest first. */
function changes(views: Views, now: Millis): Finding[] {
  const shifts: Moved[] = []
  for (const view of views.values()) {
    const [times, values] = lastOf(view, DAY)
    const shift = strongestShift(values)
    if (!shift || shift.size < 3 || shift.confidence < 0.95) continue
    // A ramp or a daily wave also has a best split; a change of level has most of its step at the split itself.
    const near = Math.abs(
      mean(values.slice(shift.index, shift.index + 6)) - mean(values.slice(shift.index - 6, shift.index)),
    )
    if (near < 0.6 * Math.abs(shift.after - shift.before)) continue
    shifts.push({ view, shift, at: times[shift.index]!, times, values })
  }
  shifts.sort((a, b) => b.shift.size - a.shift.size)
  const told = new Set<string>()
  const found: Finding[] = []
  for (const lead of shifts) {
    if (told.has(lead.view.name)) continue
    const group = shifts.filter((s) => !told.has(s.view.name) && Math.abs(s.at - lead.at) <= TOGETHER_MS)
    for (const s of group) told.add(s.view.name)
    const others = group.filter((s) => s !== lead).sort((a, b) => a.at - b.at)
    const { view, shift } = lead
    const name = plainName(view.name)
    const sentence = (s: Moved) =>
      `${plainName(s.view.name)} from ${quantity(s.shift.before, s.view.unit)} to ${quantity(s.shift.after, s.view.unit)}`
    found.push({
      key: `change:${view.name}:${Math.round(lead.at / HOUR)}`,
      type: 'change',
      title: `${name} changed its level at ${clockTime(lead.at, now)}`,
      description:
        `Since ${clockTime(lead.at, now)} UTC: ${sentence(lead)}.` +
        (others.length === 0
          ? ' No other metric changed with it.'
          : ` Within 15 min of it: ${others.slice(0, 4).map(sentence).join('; ')}.`),
      confidence: Math.min(0.99, shift.confidence),
      impact: others.length >= 2 || shift.size >= 10 ? 'high' : 'medium',
      recommendations:
        others.length === 0
          ? [`Check what was deployed or reconfigured around ${clockTime(lead.at, now)} UTC.`]
          : [`Start with ${plainName(group.toSorted((a, b) => a.at - b.at)[0]!.view.name)}: it moved first.`],
      evidence: {
        at: toIso(lead.at),
        before: shift.before,
        after: shift.after,
        deviations: Number.isFinite(shift.size) ? shift.size : 999,
        together: others.map((s) => s.view.name).join(', '),
        chart: chartOf(lead.times, lead.values),
      },
    })
  }
  return found
}

// ----------------------------------------------------------------------------------------- periodic patterns

const BINS_A_DAY = DAY / BIN_MS

/** What comes again: days, days of the week, and whatever other period there is in a series. */
function patterns(views: Views): Finding[] {
  return [...views.values()].flatMap((view) => {
    const values = regular(view)
    const last = Math.round(view.binTimes[view.binTimes.length - 1]! / BIN_MS)
    const rhythm: Rhythm = { view, values, first: last - values.length + 1 }
    const day = daily(rhythm)
    return [...day, ...weekly(rhythm), ...otherPeriod(rhythm, day.length > 0)]
  })
}

interface Rhythm {
  readonly view: MetricView
  /** One value a bin, without gaps. */
  readonly values: Float64Array
  /** Number of the first bin since the epoch. */
  readonly first: number
}

/** Means of the bins that fall into each of `parts` parts of a period; NaN where none does. */
function profileOf({ values, first }: Rhythm, period: number, parts: number): Float64Array {
  const sums = new Float64Array(parts)
  const counts = new Float64Array(parts)
  for (let i = 0; i < values.length; i++) {
    const part = Math.floor((((first + i) % period) * parts) / period)
    sums[part]! += values[i]!
    counts[part]!++
  }
  return sums.map((sum, part) => sum / counts[part]!)
}

const ends = (profile: Float64Array) => {
  const known = profile.filter((value) => !Number.isNaN(value))
  return { high: profile.indexOf(Math.max(...known)), low: profile.indexOf(Math.min(...known)) }
}

/** The resemblance of values `lag` apart, over the pairs there are. */
const resemblance = (values: Float64Array, lag: number) =>
  (autocorrelation(values, lag) * values.length) / (values.length - lag)

/** A day that repeats: correlation with the same time of the day before, over at least three days. */
function daily(rhythm: Rhythm): Finding[] {
  const { view, values } = rhythm
  if (values.length < 3 * BINS_A_DAY) return []
  const day = autocorrelation(values, BINS_A_DAY)
  // Slow wandering also correlates at a day; half a day away a true daily wave correlates less.
  const half = autocorrelation(values, BINS_A_DAY / 2)
  if (day < 0.5 || day - half < 0.2) return []
  const profile = profileOf(rhythm, BINS_A_DAY, 24)
  const { high, low } = ends(profile)
  const name = plainName(view.name)
  return [
    {
      key: `pattern:day:${view.name}`,
      type: 'pattern',
      title: `${name} repeats every day`,
      description:
        `Over ${Math.floor(values.length / BINS_A_DAY)} days the same time of day explains the value well (correlation ` +
        `${day.toFixed(2)}): highest around ${pad(high)}:00 UTC with ${quantity(profile[high]!, view.unit)}, lowest ` +
        `around ${pad(low)}:00 UTC with ${quantity(profile[low]!, view.unit)}.`,
      confidence: Math.min(0.98, day),
      impact: 'low',
      recommendations: [`Plan work that can wait for around ${pad(low)}:00 UTC, and capacity for ${pad(high)}:00 UTC.`],
      evidence: {
        correlation: day,
        days: Math.floor(values.length / BINS_A_DAY),
        profile: [...profile].map((value, hour) => [hour * HOUR, value] as const),
      },
    },
  ]
}

const WEEKDAYS = ['Thursdays', 'Fridays', 'Saturdays', 'Sundays', 'Mondays', 'Tuesdays', 'Wednesdays']

/** The same day of the week resembles more than other days do: the fewest days that can tell are nearly two weeks. */
function weekly(rhythm: Rhythm): Finding[] {
  const { view, values } = rhythm
  if (values.length < 13 * BINS_A_DAY) return []
  const week = resemblance(values, 7 * BINS_A_DAY)
  const otherDays = Math.max(...[2, 3, 4, 5].map((days) => resemblance(values, days * BINS_A_DAY)))
  if (week < 0.6 || week - otherDays < 0.15) return []
  // The epoch was a Thursday.
  const profile = profileOf(rhythm, 7 * BINS_A_DAY, 7)
  const { high, low } = ends(profile)
  const name = plainName(view.name)
  return [
    {
      key: `pattern:week:${view.name}`,
      type: 'pattern',
      title: `${name} differs by the day of the week`,
      description:
        `The same day a week apart resembles (correlation ${week.toFixed(2)}), other days less (at most ` +
        `${otherDays.toFixed(2)}): highest on ${WEEKDAYS[high]} with ${quantity(profile[high]!, view.unit)} on average, ` +
        `lowest on ${WEEKDAYS[low]} with ${quantity(profile[low]!, view.unit)}.`,
      confidence: Math.min(0.98, week),
      impact: 'low',
      recommendations: [`Do work that can wait on ${WEEKDAYS[low]}, and compare a day with the same day of last week.`],
      evidence: {
        correlation: week,
        correlation_of_other_days: otherDays,
        days: Math.floor(values.length / BINS_A_DAY),
        chart: chartOf(view.binTimes, view.binValues),
      },
    },
  ]
}

/** A period that is neither day nor week: a job, a cache, a queue that comes round. */
function otherPeriod(rhythm: Rhythm, hasDay: boolean): Finding[] {
  const { view, values } = rhythm
  // Without a daily shape nothing has to be taken out first, and fractions of a day may be found as well.
  const period = findPeriod(values, hasDay ? BINS_A_DAY : values.length)
  if (period === null || period.steps % BINS_A_DAY === 0) return []
  const ms = period.round * BIN_MS
  const profile = profileOf(rhythm, period.steps, Math.min(period.steps, CHART_POINTS))
  const { high, low } = ends(profile)
  const name = plainName(view.name)
  return [
    {
      key: `pattern:period:${view.name}`,
      type: 'pattern',
      title: `${name} repeats every ${span(ms)}`,
      description:
        `Values ${span(ms)} apart resemble (correlation ${period.strength.toFixed(2)}), over ` +
        `${Math.floor(values.length / period.round)} rounds: on average from ${quantity(profile[low]!, view.unit)} to ` +
        `${quantity(profile[high]!, view.unit)} within a round.`,
      confidence: Math.min(0.98, period.strength),
      impact: 'low',
      recommendations: [`Look for a timed job that runs every ${span(ms)}; spread it if its peaks hurt.`],
      evidence: {
        correlation: period.strength,
        period_minutes: ms / 60_000,
        rounds: Math.floor(values.length / period.round),
        round: [...profile].map((value, part) => [(part * period.steps * BIN_MS) / profile.length, value] as const),
      },
    },
  ]
}

const pad = (hour: number) => String(hour).padStart(2, '0')

// ------------------------------------------------------------------------------------------------ forecasts

/** The near edge of a forecast's 80 % band lies beyond the limit, while the value now does not. */
function breaches(views: Views, now: Millis): Finding[] {
  const found: Finding[] = []
  for (const view of views.values()) {
    const { limit } = view
    const current = view.recent.at(-1)
    if (!limit || current === undefined) continue
    const beyond = (value: number) => (limit.side === 'above' ? value > limit.value : value < limit.value)
    if (beyond(current)) continue
    const near = view.forecasts.find((f) => beyond(limit.side === 'above' ? f.lower80 : f.upper80))
    if (!near) continue
    const name = plainName(view.name)
    found.push({
      key: `breach:${view.name}`,
      type: 'forecast',
      title: `${name} is expected beyond ${quantity(limit.value, view.unit)} by ${clockTime(near.at, now)}`,
      description:
        `Now ${quantity(current, view.unit)}. In ${near.horizonMinutes} min the forecast is ` +
        `${quantity(near.value, view.unit)} (80\u202f% interval ${quantity(near.lower80, view.unit)} to ` +
        `${quantity(near.upper80, view.unit)}), all of it beyond the limit of ${quantity(limit.value, view.unit)}.`,
      confidence: 0.9,
      impact: near.horizonMinutes <= 30 ? 'high' : 'medium',
      recommendations: [`There are ${span(near.at - now)} to act: add capacity or shed load before then.`],
      evidence: {
        now: current,
        limit: limit.value,
        horizon_minutes: near.horizonMinutes,
        predicted: near.value,
        lower: near.lower80,
        upper: near.upper80,
        chart: chartOf(...lastOf(view, 6 * HOUR)),
      },
    })
  }
  return found
}

/** With a fair record, no horizon was forecast better than by "it stays as it is". */
function unforecastable(views: Views): Finding[] {
  const found: Finding[] = []
  for (const view of views.values()) {
    const judged = view.skill.filter((s) => s.origins >= 48)
    if (judged.length === 0 || judged.some((s) => s.relativeToNaive < 1)) continue
    const name = plainName(view.name)
    const best = judged.reduce((a, b) => (a.relativeToNaive <= b.relativeToNaive ? a : b))
    found.push({
      key: `unforecastable:${view.name}`,
      type: 'forecast',
      title: `${name} cannot be forecast so far`,
      description:
        `Over ${best.origins} forecasts no horizon beat the plain guess that the value stays as it is; the best, ` +
        `${best.horizonMinutes} min, had ${significant(best.relativeToNaive)} times its error. Its forecast is withdrawn.`,
      confidence: 0.85,
      impact: 'low',
      recommendations: ['Do not scale or alert on a forecast of this metric; rely on its present value.'],
      evidence: {
        origins: best.origins,
        relative_to_naive: best.relativeToNaive,
        horizon_minutes: best.horizonMinutes,
      },
    })
  }
  return found
}

// -------------------------------------------------------------------------------------------------- helpers

/** Bins of the last `ms` before the newest. */
function lastOf(view: MetricView, ms: number): [times: Float64Array, values: Float64Array] {
  const { binTimes, binValues } = view
  const n = binTimes.length
  let from = n
  while (from > 0 && binTimes[from - 1]! > binTimes[n - 1]! - ms) from--
  return [binTimes.subarray(from), binValues.subarray(from)]
}

/** On a regular grid up to the newest bin, short gaps filled by the last value; stops at a gap of over an hour. */
function regular(view: MetricView): Float64Array {
  const { binTimes, binValues } = view
  const filled: number[] = []
  for (let i = binTimes.length - 1; i >= 0; i--) {
    filled.push(binValues[i]!)
    const gap = i > 0 ? Math.round((binTimes[i]! - binTimes[i - 1]!) / BIN_MS) : 1
    if (gap > 12) break
    for (let k = 1; k < gap; k++) filled.push(binValues[i - 1]!)
  }
  const values = Float64Array.from(filled.reverse())
  // Far outliers would carry the correlation alone.
  const sorted = values.slice().sort()
  const reach = 5 * robustDeviation(values)
  const [low, high] = [quantileOfSorted(sorted, 0.5) - reach, quantileOfSorted(sorted, 0.5) + reach]
  return reach === 0 ? values : values.map((v) => Math.min(high, Math.max(low, v)))
}

const CHART_POINTS = 60

function chartOf(times: Float64Array, values: Float64Array): (readonly [Millis, number])[] {
  const n = Math.min(CHART_POINTS, times.length)
  return Array.from({ length: n }, (_, i) => {
    const at = n === 1 ? 0 : Math.round((i * (times.length - 1)) / (n - 1))
    return [times[at]!, values[at]!] as const
  })
}
