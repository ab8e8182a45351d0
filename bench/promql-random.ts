/** Random expressions over the data of the PromQL benches, the same for the same seed. */
import fc from 'fast-check'

const selectors = fc.constantFrom(
  'gappy',
  'leaving',
  'signed',
  'strange',
  'jittery',
  'twin_a',
  'twin_b',
  'restarting_total',
  'late_total',
  'once',
  'queue_depth{job="job-1"}',
  'node_temperature_celsius{job=~"job-[12]"}',
  '{__name__=~"twin_.", pod=~"p[0-3]"}',
  '{job=~"gappy|leaving"}',
  'http_requests_total{device!~"dev[1-4]", job="job-3"}',
)
const shift = fc.constantFrom('', '', '', ' offset 90s', ' offset -2m', ' @ end()', ' @ start() offset -20m')
const range = fc.constantFrom('45s', '1m', '3m20s', '5m', '12m')
const windowFunction = fc.constantFrom(
  ...(
    'rate increase delta irate idelta deriv resets changes sum_over_time avg_over_time min_over_time max_over_time ' +
    'count_over_time last_over_time present_over_time stddev_over_time stdvar_over_time absent_over_time'
  ).split(' '),
)
const scalar = fc.constantFrom(
  '2',
  '-0.5',
  '1e3',
  '0',
  'time()',
  'scalar(late_total)',
  'pi()',
  '(7 % 4)',
  'scalar(signed)',
)
const label = fc.constantFrom('pod', 'job', 'instance', 'sign', '__name__', 'none')
const labels = fc.uniqueArray(label, { maxLength: 3 }).map((all) => all.join(', '))

const expression = fc.letrec<{ vector: string }>((tie) => {
  const vector = tie('vector')
  const joined = <T extends fc.Arbitrary<unknown>[]>(build: (...parts: string[]) => string, ...parts: T) =>
    fc.tuple(...(parts as unknown as [fc.Arbitrary<string>])).map((all) => build(...(all as unknown as string[])))
  return {
    vector: fc.oneof(
      { depthSize: 'medium', maxDepth: 5 },
      { weight: 3, arbitrary: joined((s, o) => `${s}${o}`, selectors, shift) },
      { weight: 4, arbitrary: joined((f, s, r, o) => `${f}(${s}[${r}]${o})`, windowFunction, selectors, range, shift) },
      joined((q, s, r) => `quantile_over_time(${q}, ${s}[${r}])`, scalar, selectors, range),
      joined((s, r, t) => `predict_linear(${s}[${r}], ${t})`, selectors, range, scalar),
      {
        weight: 3,
        arbitrary: joined(
          (op, by, list, v) => `${op} ${by} (${list}) (${v})`,
          fc.constantFrom('sum', 'avg', 'min', 'max', 'count', 'group', 'stddev', 'stdvar'),
          fc.constantFrom('by', 'without'),
          labels,
          vector,
        ),
      },
      joined(
        (op, k, list, v) => `${op}(${k}, ${v}) by (${list})`,
        fc.constantFrom('topk', 'bottomk', 'quantile'),
        fc.constantFrom('1', '2', '0.7'),
        labels,
        vector,
      ),
      joined((list, v) => `count_values by (${list}) ("v", ${v})`, labels, vector),
      {
        weight: 2,
        arbitrary: joined(
          (f, v) => `${f}(${v})`,
          fc.constantFrom(
            'abs',
            'ceil',
            'sgn',
            '-',
            'sqrt',
            'timestamp',
            'absent',
            'sort_desc',
            'minute',
            'round',
            'ln',
            'exp',
          ),
          vector,
        ),
      },
      joined((v, a, b) => `clamp(${v}, ${a}, ${b})`, vector, scalar, scalar),
      {
        weight: 2,
        arbitrary: joined(
          (v, op, s) => `(${v} ${op} ${s})`,
          vector,
          fc.constantFrom('+', '-', '*', '/', '%', '^', '==', '!= bool', '>', '< bool', '<='),
          scalar,
        ),
      },
      joined((s, op, v) => `(${s} ${op} ${v})`, scalar, fc.constantFrom('-', '/', '%', '^', '>', '<= bool'), vector),
      {
        weight: 3,
        arbitrary: joined(
          (l, op, how, list, r) => `(${l} ${op} ${how} (${list}) ${r})`,
          vector,
          fc.constantFrom('+', '-', '*', '/', '>', '== bool', 'and', 'or', 'unless'),
          fc.constantFrom('on', 'ignoring'),
          labels,
          vector,
        ),
      },
      joined(
        (l, op, list, card, r) => `(${l} ${op} on (pod) ${card} (${list}) ${r})`,
        vector,
        fc.constantFrom('*', '-', '<', '>= bool'),
        fc.constantFrom('job', '', 'sign', 'none'),
        fc.constantFrom('group_left', 'group_right'),
        vector,
      ),
      {
        weight: 2,
        arbitrary: joined(
          (f, v, r, s, o) => `${f}((${v})[${r}:${s}]${o})`,
          windowFunction,
          vector,
          fc.constantFrom('2m', '5m', '7m'),
          fc.constantFrom('', '20s', '1m', '47s'),
          shift,
        ),
      },
      joined(
        (v, to, from) => `label_replace(${v}, "${to}", "x$1", "${from}", "(.).*")`,
        vector,
        fc.constantFrom('new', 'job', 'pod'),
        label,
      ),
      joined((v, to) => `label_join(${v}, "${to}", "-", "pod", "job")`, vector, fc.constantFrom('new', 'job')),
      joined((q, r) => `histogram_quantile(${q}, rate(request_seconds_bucket[${r}]))`, scalar, range),
      joined((s) => `vector(${s})`, scalar),
    ),
  }
}).vector

export const randomQueries = (count: number, seed: number): string[] => fc.sample(expression, { numRuns: count, seed })
