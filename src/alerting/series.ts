/** Which series a rule watches, and the key by which a series is known in ops.db. */
import { hash } from 'node:crypto'
import { compileRegexp, type Labels, labelValue, METRIC_NAME, PLATFORM_LABEL, storedName } from '../metrics/index.ts'
import type { LabelMatch, Rule } from './rule.ts'

/** The same labels give the same key, in every process and for ever; 22 characters. */
export function seriesKey(labels: Labels): string {
  return hash('sha256', JSON.stringify(labels), 'base64url').slice(0, 22)
}

export const isPlatform = (labels: Labels): boolean => labelValue(labels, PLATFORM_LABEL[0]) === PLATFORM_LABEL[1]

/** A rule's labels, compiled. Throws `RegexpError` for a pattern that is none. */
export function labelTest(matches: readonly LabelMatch[]): (labels: Labels) => boolean {
  const tests = matches.map(({ name, equals, regex }) => {
    const test = regex === undefined ? null : compileRegexp(regex, { dotAll: true })
    return (labels: Labels) => {
      const value = labelValue(labels, name)
      return test ? test.test(value) : value === (equals ?? '')
    }
  })
  return (labels) => tests.every((test) => test(labels))
}

/** The stored name of the metric that a rule watches. */
export const storedMetric = (rule: Pick<Rule, 'metricName'>): string => storedName(rule.metricName)

export const metricOf = (labels: Labels): string => labelValue(labels, METRIC_NAME)
