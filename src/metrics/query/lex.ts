/**
 * Words of a PromQL text: for messages in Prometheus' own wording, and to hand the grammar a text without its
 * traps. The grammar's tokenizer differs from Prometheus' in small things (`1.`, unterminated strings, functions that
 * Prometheus 3 renamed); `forGrammar` replaces each number, string and function by a plain one of the same length, so
 * that every position in the tree is one in the original text, where the values are read.
 */
import type { Span } from './ast.ts'
import { functionSignatures } from './functions.ts'

/** A text that is not PromQL: where, and why in Prometheus' words. */
export class ParseError extends Error {
  readonly span: Span
  /** Without the position. */
  readonly reason: string
  constructor(text: string, span: Span, reason: string) {
    super(`${position(text, span.from)}: parse error: ${reason}`)
    this.span = span
    this.reason = reason
  }
}

/** `line:column`, both from 1. */
export function position(text: string, at: number): string {
  let line = 1
  let lineStart = 0
  for (let i = 0; i < at && i < text.length; i++) {
    if (text[i] !== '\n') continue
    line++
    lineStart = i + 1
  }
  return `${line}:${at - lineStart + 1}`
}

export type TokenKind = 'number' | 'duration' | 'string' | 'identifier' | 'metric' | 'keyword' | 'operator' | 'mark'

export interface Token extends Span {
  readonly kind: TokenKind
  readonly text: string
}

export interface Lexed {
  readonly tokens: readonly Token[]
  /** What could not be read, after the last token. */
  readonly error: { readonly at: number; readonly reason: string } | null
}

const aggregators = new Set(
  'sum avg count min max group stddev stdvar topk bottomk count_values quantile limitk limit_ratio'.split(' '),
)
const modifiers = new Set('offset by without on ignoring group_left group_right bool'.split(' '))
const wordOperators = new Set('and or unless atan2'.split(' '))
const symbolOperators = ['==', '!=', '<=', '>=', '<', '>', '+', '-', '*', '/', '%', '^', '@']
export const isAggregator = (word: string): boolean => aggregators.has(word.toLowerCase())

const SPACE = /[ \t\n\r]+/y
const WORD = /[A-Za-z_:][A-Za-z0-9_:]*/y
const NAME = /[A-Za-z_][A-Za-z0-9_]*/y
const HEX = /0[xX]_?[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*(?![A-Za-z0-9_.])/y
const NUMBER =
  /(?:[0-9]+(?:_[0-9]+)*(?:\.(?:[0-9]+(?:_[0-9]+)*)?)?|\.[0-9]+(?:_[0-9]+)*)(?:[eE][+-]?[0-9]+(?:_[0-9]+)*)?(?![A-Za-z0-9_.])/y
const DURATION = /(?:[0-9]+(?:ms|[smhdwy]))+(?![A-Za-z0-9_.])/y
const BAD_NUMBER = /[0-9.][A-Za-z0-9_.]*/y

function match(pattern: RegExp, text: string, at: number): string | null {
  pattern.lastIndex = at
  return pattern.exec(text)?.[0] ?? null
}

/** As Go prints a character: `'x'`. */
const quoteChar = (char: string) => (char === "'" ? "'\\''" : char === '\\' ? "'\\\\'" : `'${char}'`)

export function lex(text: string): Lexed {
  const tokens: Token[] = []
  let at = 0
  let parens = 0
  let inBraces = false
  let inBrackets = false
  let colonSeen = false
  const push = (kind: TokenKind, length: number) => {
    tokens.push({ kind, from: at, to: at + length, text: text.slice(at, at + length) })
    at += length
  }
  const stop = (reason: string, where = at): Lexed => ({ tokens, error: { at: where, reason } })

  for (;;) {
    at += match(SPACE, text, at)?.length ?? 0
    if (at >= text.length) {
      if (inBraces) return stop('unexpected end of input inside braces')
      if (parens > 0) return stop('unclosed left parenthesis')
      if (inBrackets) return stop('unclosed left bracket')
      return { tokens, error: null }
    }
    const char = String.fromCodePoint(text.codePointAt(at)!)
    if (char === '#') {
      const end = text.indexOf('\n', at)
      at = end < 0 ? text.length : end
      continue
    }
    if (char === '"' || char === "'" || char === '`') {
      const problem = scanString(text, at)
      if (typeof problem === 'string') return stop(problem)
      push('string', problem - at)
      continue
    }
    if (inBraces) {
      const name = match(NAME, text, at)
      if (name) push('identifier', name.length)
      else if (char === ',') push('mark', 1)
      else if (char === '}') {
        push('mark', 1)
        inBraces = false
      } else if (text.startsWith('=~', at)) push('operator', 2)
      else if (char === '=') push('operator', 1)
      else if (text.startsWith('!=', at) || text.startsWith('!~', at)) push('operator', 2)
      else if (char === '!') {
        const next = text[at + 1]
        return stop(
          `unexpected character after '!' inside braces: ${next === undefined ? 'end of input' : quoteChar(next)}`,
        )
      } else if (char === '{') return stop(`unexpected left brace '{'`)
      else return stop(`unexpected character inside braces: ${quoteChar(char)}`)
      continue
    }
    if (/[0-9]/.test(char) || (char === '.' && /[0-9]/.test(text[at + 1] ?? ''))) {
      const number = match(HEX, text, at) ?? match(NUMBER, text, at)
      if (number) {
        push('number', number.length)
        continue
      }
      const duration = match(DURATION, text, at)
      if (duration) {
        push('duration', duration.length)
        continue
      }
      return stop(`bad number or duration syntax: ${quote(match(BAD_NUMBER, text, at)!)}`)
    }
    if (inBrackets && char === ':') {
      if (colonSeen) return stop(`unexpected colon ':'`)
      colonSeen = true
      push('mark', 1)
      continue
    }
    const word = match(inBrackets ? NAME : WORD, text, at)
    if (word) {
      const low = word.toLowerCase()
      if (inBrackets && !['step', 'range', 'min_of', 'max_of'].includes(low))
        return stop(`unexpected character: ${quoteChar(char)}, expected ':'`)
      if (aggregators.has(low) || modifiers.has(low)) push('keyword', word.length)
      else if (wordOperators.has(low)) push('operator', word.length)
      else if (low === 'inf' || low === 'nan') push('number', word.length)
      else push(word.includes(':') ? 'metric' : 'identifier', word.length)
      continue
    }
    const operator = symbolOperators.find((op) => text.startsWith(op, at))
    if (operator) {
      push('operator', operator.length)
      continue
    }
    switch (char) {
      case '(':
        parens++
        push('mark', 1)
        break
      case ')':
        push('mark', 1)
        if (--parens < 0) {
          tokens.pop()
          return stop(`unexpected right parenthesis ')'`)
        }
        break
      case '{':
        inBraces = true
        push('mark', 1)
        break
      case '[':
        if (inBrackets) return stop(`unexpected left bracket '['`)
        inBrackets = true
        colonSeen = false
        push('mark', 1)
        break
      case ']':
        if (!inBrackets) return stop(`unexpected right bracket ']'`)
        inBrackets = false
        push('mark', 1)
        break
      case ',':
        push('mark', 1)
        break
      case '=': {
        if (text[at + 1] === '~') return stop(`unexpected character after '=': '~'`)
        push('operator', 1)
        break
      }
      case '!': {
        const next = text[at + 1]
        return stop(`unexpected character after '!': ${next === undefined ? 'end of input' : quoteChar(next)}`)
      }
      default:
        return stop(`unexpected character: ${quoteChar(char)}`)
    }
  }
}

/** The end of the string that begins at `from`, or what is wrong with it. */
function scanString(text: string, from: number): number | string {
  const close = text[from]!
  if (close === '`') {
    const end = text.indexOf('`', from + 1)
    return end < 0 ? 'unterminated raw string' : end + 1
  }
  for (let i = from + 1; i < text.length; i++) {
    const char = text[i]!
    if (char === '\n') return 'unterminated quoted string'
    if (char === close) return i + 1
    if (char !== '\\') continue
    const escaped = readEscape(text, i, close)
    if (typeof escaped === 'string') return escaped
    i = escaped.end - 1
  }
  return 'unterminated quoted string'
}

const simpleEscapes: Readonly<Record<string, number>> = { a: 7, b: 8, f: 12, n: 10, r: 13, t: 9, v: 11, '\\': 92 }

/** The escape whose backslash stands at `at`: the code point, or the byte when `byte`; a text says what is wrong. */
function readEscape(text: string, at: number, close: string): { code: number; byte: boolean; end: number } | string {
  const letter = text[at + 1]
  if (letter === undefined) return 'escape sequence not terminated'
  const simple = simpleEscapes[letter]
  if (simple !== undefined) return { code: simple, byte: false, end: at + 2 }
  if (letter === close) return { code: close.charCodeAt(0), byte: false, end: at + 2 }
  const forms: Readonly<Record<string, [RegExp, number, number]>> = {
    x: [/^[0-9a-fA-F]{2}/, 2, 16],
    u: [/^[0-9a-fA-F]{4}/, 2, 16],
    U: [/^[0-9a-fA-F]{8}/, 2, 16],
  }
  const [pattern, skip, base] = /[0-7]/.test(letter) ? ([/^[0-7]{3}/, 1, 8] as const) : (forms[letter] ?? [null, 0, 0])
  if (!pattern) return `unknown escape sequence ${codePoint(letter)}`
  const digits = pattern.exec(text.slice(at + skip, at + skip + 8))?.[0]
  if (digits === undefined) {
    const wrong = [...text.slice(at + skip)].find((c) => !(base === 8 ? /[0-7]/ : /[0-9a-fA-F]/).test(c))
    return wrong === undefined
      ? 'escape sequence not terminated'
      : `illegal character ${codePoint(wrong)} in escape sequence`
  }
  const code = Number.parseInt(digits, base)
  const byte = base === 8 || letter === 'x'
  if ((byte && code > 255) || code > 0x10ffff || (!byte && code >= 0xd800 && code < 0xe000))
    return 'escape sequence is an invalid Unicode code point'
  return { code, byte, end: at + skip + digits.length }
}

/** As Go's %#U: `U+0071 'q'`. */
function codePoint(char: string): string {
  return `U+${char.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')} '${char}'`
}

/** UTF-8; bytes that are none become lone surrogates, which no stored text has, so that they match nothing. */
function decodeBytes(bytes: readonly number[]): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Uint8Array.from(bytes))
  } catch {
    return bytes.map((byte) => (byte < 128 ? String.fromCharCode(byte) : String.fromCharCode(0xdc00 + byte))).join('')
  }
}

/** The value of a string token. Escaped bytes are read as UTF-8. */
export function unquote(quoted: string): string {
  const close = quoted[0]!
  if (close === '`') return quoted.slice(1, -1)
  if (!quoted.includes('\\')) return quoted.slice(1, -1)
  let out = ''
  let bytes: number[] = []
  const flush = () => {
    if (bytes.length > 0) out += decodeBytes(bytes)
    bytes = []
  }
  for (let i = 1; i < quoted.length - 1; i++) {
    const char = quoted[i]!
    if (char !== '\\') {
      flush()
      out += char
      continue
    }
    const escaped = readEscape(quoted, i, close)
    if (typeof escaped === 'string') throw new Error(escaped)
    if (escaped.byte) bytes.push(escaped.code)
    else {
      flush()
      out += String.fromCodePoint(escaped.code)
    }
    i = escaped.end - 1
  }
  flush()
  return out
}

/** Quotes as Go's %q does. */
export function quote(text: string): string {
  let out = '"'
  for (const char of text) {
    const code = char.codePointAt(0)!
    if (char === '"' || char === '\\') out += `\\${char}`
    else if (char === '\n') out += '\\n'
    else if (char === '\r') out += '\\r'
    else if (char === '\t') out += '\\t'
    else if (code === 7) out += '\\a'
    else if (code === 8) out += '\\b'
    else if (code === 11) out += '\\v'
    else if (code === 12) out += '\\f'
    // A byte that is no UTF-8 (see `decodeBytes`).
    else if (code >= 0xdc80 && code <= 0xdcff) out += `\\x${(code - 0xdc00).toString(16)}`
    else if (code < 32 || code === 127) out += `\\x${code.toString(16).padStart(2, '0')}`
    else out += char
  }
  return `${out}"`
}

/** The text for the grammar, up to the first word that could not be read. */
export function forGrammar(text: string, lexed: Lexed): string {
  let out = ''
  let at = 0
  lexed.tokens.forEach((token, i) => {
    out += text.slice(at, token.from)
    out += plain(token, lexed.tokens[i - 1], lexed.tokens[i + 1])
    at = token.to
  })
  return lexed.error ? out : out + text.slice(at)
}

function plain(token: Token, before: Token | undefined, after: Token | undefined): string {
  const length = token.to - token.from
  if (token.kind === 'string') return `"${'x'.repeat(length - 2)}"`
  if (token.kind === 'number' && !/[a-z]/i.test(token.text[0]!)) return '1'.repeat(length)
  // Functions that the grammar does not know take the place of one that it knows, of the same length.
  if (token.text === 'holt_winters' && after?.text === '(' && before?.text !== '.') return 'day_of_month'
  // A metric may be called offset, which the grammar does not know.
  const operand = before === undefined || before.kind === 'operator' || before.text === '(' || before.text === ','
  if (token.kind === 'keyword' && token.text.toLowerCase() === 'offset' && operand && after?.kind !== 'duration')
    return 'o'.repeat(length)
  return token.text
}

// ----------------------------------------------------------------------------------------------- messages

const groupingWords = new Set('by without on ignoring group_left group_right'.split(' '))

/** Why the word at `index` (the end when past the last) cannot stand there, as Prometheus says it. */
export function unexpected(lexed: Lexed, index: number): string {
  const { tokens } = lexed
  const token = tokens[index]
  const before = tokens[index - 1]
  const said = `unexpected ${token ? describe(token) : 'end of input'}`
  const open = enclosing(tokens, index)
  const opener = open < 0 ? undefined : tokens[open]
  if (opener?.text === '{') {
    if (before?.text === '{' || before?.text === ',') return `${said} in label matching, expected identifier or "}"`
    if (before?.kind === 'operator') return `${said} in label matching, expected string`
    if (before?.kind === 'identifier') return `${said} in label matching, expected label matching operator`
    return `${said} in label matching, expected "," or "}"`
  }
  if (opener?.text === '(' && groupingWords.has(tokens[open - 1]?.text.toLowerCase() ?? '')) {
    if (before?.text === '(' || before?.text === ',') return `${said} in grouping opts, expected label`
    return `${said} in grouping opts, expected "," or ")"`
  }
  if (opener?.text === '[') {
    if (before === opener) return `${said} in subquery selector, expected duration`
    if (before?.text === ':') return `${said} in subquery selector, expected duration or "]"`
    const colon = tokens.slice(open, index).some((t) => t.text === ':')
    return colon ? `${said} in subquery selector, expected "]"` : `${said} in subquery or range, expected ":" or "]"`
  }
  const word = before?.text.toLowerCase()
  if (before && word === 'offset') return `${said} in offset, expected duration`
  const atModifier = word === '@' || ((word === 'start' || word === 'end') && tokens[index - 2]?.text === '@')
  const atArguments = word === '(' && tokens[index - 3]?.text === '@'
  if (before && (atModifier || atArguments)) return `${said} in @, expected timestamp`
  if (before && groupingWords.has(word!) && !word!.startsWith('group_')) return `${said} in grouping opts, expected "("`
  if (before?.text === ')' && groupsAggregation(tokens, index - 1)) return `${said} in aggregation`
  if (token === undefined && tokens.length === 0) return 'no expression found in input'
  return said
}

/** Whether the parenthesis that closes at `index` holds the labels of `sum by (…)`. */
function groupsAggregation(tokens: readonly Token[], index: number): boolean {
  const open = enclosing(tokens, index)
  const word = tokens[open - 1]?.text.toLowerCase()
  return (word === 'by' || word === 'without') && isAggregator(tokens[open - 2]?.text ?? '')
}

/** The bracket that is open before `index`; -1 when none is. */
function enclosing(tokens: readonly Token[], index: number): number {
  let depth = 0
  for (let i = index - 1; i >= 0; i--) {
    const text = tokens[i]!.kind === 'mark' ? tokens[i]!.text : ''
    if (text === ')' || text === ']' || text === '}') depth++
    else if (text === '(' || text === '[' || text === '{') {
      if (depth === 0) return i
      depth--
    }
  }
  return -1
}

function describe(token: Token): string {
  switch (token.kind) {
    case 'number':
    case 'duration':
    case 'string':
    case 'identifier':
      return `${token.kind} ${quote(token.text)}`
    case 'metric':
      return `metric identifier ${quote(token.text)}`
    case 'keyword':
      return isAggregator(token.text) ? `<aggr:${token.text.toLowerCase()}>` : `<${token.text.toLowerCase()}>`
    case 'operator':
      return token.text === '=' ? '"="' : `<op:${token.text}>`
    default:
      return quote(token.text)
  }
}

/** The name of a function that does not exist, where its arguments open at `index`. */
export function unknownFunction(tokens: readonly Token[], index: number): Token | null {
  const token = tokens[index - 1]
  const called = token?.kind === 'identifier' && tokens[index]?.text === '('
  return called && !functionSignatures.has(token.text) ? token : null
}
