/**
 * Matchers as Alertmanager's API and `amtool` write them: `alertname="Up"`, `job=~"api|web"`, `team!=b`, `{a="b"}` around
 * one is taken as well. A value may stand in quotes with Go's escapes for quote, backslash and line feed.
 */
import { messageOf } from '../../base/errors.ts'
import { compileRegexp } from '../../metrics/index.ts'
import type { SilenceMatcher } from '../suppress/silence.ts'

export class MatcherError extends Error {}

const FORM = /^\s*\{?\s*([a-zA-Z_:][a-zA-Z0-9_:.]*)\s*(=~|!~|!=|=)\s*([\s\S]*?)\s*\}?\s*$/

/** Throws `MatcherError` with one sentence. */
export function parseMatcher(text: string): SilenceMatcher {
  const parts = text.length > 4096 ? null : FORM.exec(text)
  if (!parts) throw new MatcherError(`bad matcher format: ${text.slice(0, 200)}`)
  const [, name = '', operator = '', raw = ''] = parts
  const value = raw.startsWith('"') ? unquoted(raw) : raw
  const isRegex = operator.endsWith('~')
  const matcher = { name, value, isRegex, isEqual: operator.startsWith('=') }
  testOf(matcher)
  return matcher
}

/** Whether the value of the matcher's label passes. Throws `MatcherError` for a pattern that is none. */
export function testOf({ value, isRegex, isEqual }: SilenceMatcher): (text: string) => boolean {
  if (!isRegex) return (text) => (text === value) === isEqual
  try {
    const regexp = compileRegexp(value, { dotAll: true })
    return (text) => regexp.test(text) === isEqual
  } catch (error) {
    throw new MatcherError(messageOf(error))
  }
}

function unquoted(raw: string): string {
  const inner = /^"((?:[^"\\\n]|\\["\\n])*)"$/.exec(raw)?.[1]
  if (inner === undefined) throw new MatcherError(`matcher value contains unescaped double quote: ${raw.slice(0, 200)}`)
  return inner.replace(/\\(["\\n])/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped))
}
