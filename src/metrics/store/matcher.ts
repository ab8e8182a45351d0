/** Matchers made ready: an equal value, a set of values, or a test. Regular expressions are anchored. */
import { badRequest, messageOf } from '../../base/errors.ts'
import type { Matcher } from '../metrics.ts'
import { compileRegexp } from '../query/regexp.ts'

export interface Matches {
  readonly name: string
  /** The one value that matches, where it is one; '' means: no such label. */
  readonly equal: string | null
  /** The values that match, where they are few and known. */
  readonly anyOf: readonly string[] | null
  /** Whether a series without the label matches. */
  readonly absent: boolean
  test(value: string): boolean
}

/** Throws `AppError` 400 when an expression is not valid. */
export function prepare(matcher: Matcher): Matches {
  const { name, op, value } = matcher
  switch (op) {
    case '=':
      return { name, equal: value, anyOf: null, absent: value === '', test: (v) => v === value }
    case '!=':
      return { name, equal: null, anyOf: null, absent: value !== '', test: (v) => v !== value }
    case '=~': {
      const { anyOf, test } = compile(value)
      if (anyOf?.length === 1) return { name, equal: anyOf[0]!, anyOf: null, absent: anyOf[0] === '', test }
      return { name, equal: null, anyOf, absent: test(''), test }
    }
    case '!~': {
      const { test } = compile(value)
      return { name, equal: null, anyOf: null, absent: !test(''), test: (v) => !test(v) }
    }
  }
}

function compile(source: string): { anyOf: readonly string[] | null; test(value: string): boolean } {
  try {
    const expression = compileRegexp(source, { dotAll: true })
    return { anyOf: expression.literals, test: (value) => expression.test(value) }
  } catch (error) {
    throw badRequest(`The regular expression ${JSON.stringify(source)} is not valid: ${messageOf(error)}`, 'bad_data')
  }
}
