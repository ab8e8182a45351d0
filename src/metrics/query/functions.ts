/**
 * The functions of PromQL and what they take: the table that the parser checks calls with. How they are computed
 * stands in `vector-functions.ts` and `range-functions.ts`.
 */
export type ValueType = 'scalar' | 'vector' | 'matrix' | 'string'

export interface FunctionSignature {
  readonly name: string
  readonly args: readonly ValueType[]
  /** How many of the last argument may be added beyond the others; -1 for any number; 0 for a fixed list. */
  readonly variadic: number
  readonly returns: ValueType
}

const table = new Map<string, FunctionSignature>()

function define(names: string, args: readonly ValueType[], returns: ValueType = 'vector', variadic = 0): void {
  for (const name of names.split(' ')) table.set(name, { name, args, returns, variadic })
}

define(
  'abs absent ceil floor exp sqrt ln log2 log10 sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh rad deg sgn ' +
    'timestamp sort sort_desc',
  ['vector'],
)
define('histogram_avg histogram_count histogram_sum histogram_stddev histogram_stdvar', ['vector'])
define('days_in_month day_of_month day_of_week day_of_year hour minute month year', ['vector'], 'vector', 1)
define(
  'rate increase delta irate idelta deriv resets changes absent_over_time avg_over_time count_over_time ' +
    'first_over_time last_over_time mad_over_time max_over_time min_over_time present_over_time stddev_over_time ' +
    'stdvar_over_time sum_over_time ts_of_first_over_time ts_of_last_over_time ts_of_max_over_time ts_of_min_over_time',
  ['matrix'],
)
define('quantile_over_time', ['scalar', 'matrix'])
define('predict_linear', ['matrix', 'scalar'])
define('holt_winters double_exponential_smoothing', ['matrix', 'scalar', 'scalar'])
define('clamp', ['vector', 'scalar', 'scalar'])
define('clamp_max clamp_min', ['vector', 'scalar'])
define('round', ['vector', 'scalar'], 'vector', 1)
define('histogram_quantile', ['scalar', 'vector'])
define('histogram_quantiles', ['vector', 'string', 'scalar', 'scalar'], 'vector', 9)
define('histogram_fraction', ['scalar', 'scalar', 'vector'])
define('label_replace', ['vector', 'string', 'string', 'string', 'string'])
define('label_join', ['vector', 'string', 'string', 'string'], 'vector', -1)
define('sort_by_label sort_by_label_desc', ['vector', 'string'], 'vector', -1)
define('info', ['vector', 'vector'], 'vector', 1)
define('scalar', ['vector'], 'scalar')
define('vector', ['scalar'])
define('time pi start end range step', [], 'scalar')

export const functionSignatures: ReadonlyMap<string, FunctionSignature> = table

/** Their result can differ from step to step though their arguments do not. */
export const stepDependent: ReadonlySet<string> = new Set([
  'days_in_month',
  'day_of_month',
  'day_of_week',
  'day_of_year',
  'hour',
  'minute',
  'month',
  'year',
  'predict_linear',
  'time',
  'timestamp',
])

/** Read native histograms alone, which are not stored. */
export const nativeHistogramOnly: ReadonlySet<string> = new Set([
  'histogram_avg',
  'histogram_count',
  'histogram_sum',
  'histogram_stddev',
  'histogram_stdvar',
])

/** Keep the name of the metric: the value is still one of it. */
export const keepsName: ReadonlySet<string> = new Set(['last_over_time', 'first_over_time'])
