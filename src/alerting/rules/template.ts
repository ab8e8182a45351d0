/**
 * Templates of labels and annotations as Prometheus rule files have them: Go's text/template, as far as alerts use it.
 *
 *   {{ $labels.instance }}  {{ .Labels.job }}  {{ $value | humanize }}  {{ printf "%.2f" $value }}
 *   {{ if eq $labels.env "prod" }}…{{ else }}…{{ end }}     {{ with .Labels.a }}{{ . }}{{ end }}
 *   {{ range query "up == 0" }}{{ .Labels.job }}{{ end }}   {{ query "sum(up)" | first | value | humanize }}
 *
 * The functions stand in template-functions.ts. A `query` is answered before an alert opens (`renderAll`). What cannot
 * be read is an error at the check of a file; at the time of an alert it stays in the text as it stands,
 * for a notice with a flaw is better than none.
 */
import { messageOf } from '../../base/errors.ts'
import type { Millis } from '../../base/time.ts'
import { FUNCTIONS, listOf, memberOf, textOf, truth, type Value, type World } from './template-functions.ts'

export interface TemplateScope {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
  readonly now: Millis
}

/** One series of the answer to a `query`. */
export interface QueriedSeries {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** The text with everything in braces replaced; parts that cannot be read stay as they are. */
export function render(template: string, scope: TemplateScope, query: World['query'] = () => []): string {
  if (!template.includes('{{')) return template
  try {
    return run(parseTemplate(template), scope, { now: scope.now, query })
  } catch {
    return template
  }
}

/** Rounds of questions: one asks with the answer of another. */
const ROUNDS_MAX = 4

/** The texts by name, their queries asked of `ask`; one that fails answers nothing. */
export async function renderAll(
  texts: Readonly<Record<string, string>>,
  scope: TemplateScope,
  ask: (expr: string) => Promise<readonly QueriedSeries[]>,
): Promise<Record<string, string>> {
  const answers = new Map<string, readonly Value[]>()
  for (let round = 0; ; round++) {
    const open = new Set<string>()
    const query = (expr: string) => {
      const known = answers.get(expr)
      if (!known) open.add(expr)
      return known ?? []
    }
    const said = Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, render(text, scope, query)]))
    if (open.size === 0 || round === ROUNDS_MAX) return said
    await Promise.all(
      [...open].map(async (expr) => {
        const series = await ask(expr).catch(() => [])
        answers.set(
          expr,
          series.map(({ labels, value }) => ({ Labels: labels, Value: value })),
        )
      }),
    )
  }
}

/** Whether one of these texts asks something. */
export const asks = (texts: Readonly<Record<string, string>>) =>
  Object.values(texts).some((text) => /\{\{[^}]*\bquery\b/.test(text))

/** Why a template cannot be read; null when it can. */
export function templateProblem(template: string): string | null {
  try {
    parseTemplate(template)
    return null
  } catch (error) {
    return messageOf(error)
  }
}

// ------------------------------------------------------------------------------------------------- reading

type Expr =
  | { readonly kind: 'literal'; readonly value: Value }
  | { readonly kind: 'path'; readonly root: string; readonly fields: readonly string[] }
  | { readonly kind: 'call'; readonly name: string; readonly args: readonly Expr[] }

type Part =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'output'; readonly expr: Expr }
  | { readonly kind: 'set'; readonly name: string; readonly expr: Expr }
  | {
      readonly kind: 'if' | 'with'
      readonly test: Expr
      readonly then: readonly Part[]
      readonly otherwise: readonly Part[]
    }
  | {
      readonly kind: 'range'
      /** Names of the variables for the number and the element. */
      readonly names: readonly [string | null, string | null]
      readonly over: Expr
      readonly body: readonly Part[]
      readonly otherwise: readonly Part[]
    }

function parseTemplate(template: string): Part[] {
  const pieces: { readonly action: boolean; text: string }[] = []
  let at = 0
  for (;;) {
    const open = template.indexOf('{{', at)
    if (open < 0) break
    const close = template.indexOf('}}', open)
    if (close < 0) throw new Error('a {{ has no }}')
    let text = template.slice(at, open)
    let action = template.slice(open + 2, close)
    if (action.startsWith('- ')) {
      text = text.trimEnd()
      action = action.slice(1)
    }
    at = close + 2
    if (action.endsWith(' -')) {
      action = action.slice(0, -1)
      while (at < template.length && /\s/.test(template[at]!)) at++
    }
    pieces.push({ action: false, text }, { action: true, text: action.trim() })
  }
  pieces.push({ action: false, text: template.slice(at) })
  let next = 0
  /** Parts up to one of these words, which is left to be read. */
  const until = (...ends: string[]): Part[] => {
    const parts: Part[] = []
    for (; next < pieces.length; next++) {
      const { action, text } = pieces[next]!
      if (!action) {
        if (text !== '') parts.push({ kind: 'text', text })
        continue
      }
      const word = /^[a-z]+/.exec(text)?.[0] ?? ''
      if (ends.includes(word)) return parts
      if (text.startsWith('/*')) continue
      if (word === 'range') parts.push(range(text.slice(word.length)))
      else if (word === 'if' || word === 'with') parts.push(branch(word, text.slice(word.length)))
      else if (['else', 'end', 'break', 'continue', 'template', 'define', 'block'].includes(word)) {
        throw new Error(`{{ ${text} }} cannot stand here`)
      } else {
        const set = /^\$(\w+)\s*:?=\s*(.*)$/s.exec(text)
        if (set) parts.push({ kind: 'set', name: set[1]!, expr: parseExpr(set[2]!) })
        else parts.push({ kind: 'output', expr: parseExpr(text) })
      }
    }
    if (ends.length > 0) throw new Error('an {{ if }}, {{ with }} or {{ range }} has no {{ end }}')
    return parts
  }
  const branch = (kind: 'if' | 'with', test: string): Part => {
    next++
    const then = until('else', 'end')
    const word = pieces[next]!.text
    if (word === 'end') return { kind, test: parseExpr(test), then, otherwise: [] }
    const chained = /^else\s+if\b(.*)$/s.exec(word)
    if (chained) return { kind, test: parseExpr(test), then, otherwise: [branch('if', chained[1]!)] }
    next++
    const otherwise = until('end')
    return { kind, test: parseExpr(test), then, otherwise }
  }
  const range = (head: string): Part => {
    const [, index, item, expr] = /^\s*(?:\$(\w+)\s*(?:,\s*\$(\w+)\s*)?:?=)?(.*)$/s.exec(head)!
    const names = item === undefined ? ([null, index ?? null] as const) : ([index ?? null, item] as const)
    const over = parseExpr(expr!)
    next++
    const body = until('else', 'end')
    if (pieces[next]!.text === 'end') return { kind: 'range', names, over, body, otherwise: [] }
    next++
    return { kind: 'range', names, over, body, otherwise: until('end') }
  }
  return until()
}

/** What `$` alone stands for: all that the template was given. */
const ROOT = '$'

const TOKEN =
  /\s*("(?:[^"\\]|\\.)*"|`[^`]*`|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|\$?\.?[A-Za-z_][\w.]*|[$.]|[()|])/y

function parseExpr(text: string): Expr {
  const tokens: string[] = []
  TOKEN.lastIndex = 0
  let end = 0
  for (let found = TOKEN.exec(text); found; found = TOKEN.exec(text)) {
    tokens.push(found[1]!)
    end = TOKEN.lastIndex
  }
  if (text.slice(end).trim() !== '') throw new Error(`cannot read ${JSON.stringify(text.slice(end).trim())}`)
  let next = 0
  const pipeline = (): Expr => {
    let expr = command(null)
    while (tokens[next] === '|') {
      next++
      expr = command(expr)
    }
    return expr
  }
  /** A function with its arguments, or one value; what came down the pipe is the last argument. */
  const command = (piped: Expr | null): Expr => {
    const token = tokens[next]
    if (token === undefined) throw new Error('an expression is missing')
    if (/^[A-Za-z_]\w*$/.test(token) && !['true', 'false'].includes(token)) {
      if (!Object.hasOwn(FUNCTIONS, token)) throw new Error(`there is no function ${token}`)
      next++
      const args: Expr[] = []
      while (next < tokens.length && tokens[next] !== '|' && tokens[next] !== ')') args.push(operand())
      return { kind: 'call', name: token, args: piped ? [...args, piped] : args }
    }
    const value = operand()
    if (piped || (next < tokens.length && tokens[next] !== '|' && tokens[next] !== ')')) {
      throw new Error(`${token} is no function`)
    }
    return value
  }
  const operand = (): Expr => {
    const token = tokens[next++]!
    if (token === '(') {
      const inner = pipeline()
      if (tokens[next++] !== ')') throw new Error('a bracket is not closed')
      return inner
    }
    if (token.startsWith('"')) return { kind: 'literal', value: JSON.parse(token) as string }
    if (token.startsWith('`')) return { kind: 'literal', value: token.slice(1, -1) }
    if (token === 'true' || token === 'false') return { kind: 'literal', value: token === 'true' }
    if (/^[-+.]?\d/.test(token)) return { kind: 'literal', value: Number(token) }
    if (token.startsWith('$') || token.startsWith('.')) {
      const [root = '', ...fields] = token.startsWith('.')
        ? ['', ...token.slice(1).split('.')]
        : token.startsWith('$.') || token === '$'
          ? [ROOT, ...token.slice(2).split('.')]
          : token.slice(1).split('.')
      return { kind: 'path', root, fields: fields.filter((field) => field !== '') }
    }
    if (Object.hasOwn(FUNCTIONS, token)) return { kind: 'call', name: token, args: [] }
    throw new Error(`cannot read ${JSON.stringify(token)}`)
  }
  const expr = pipeline()
  if (next < tokens.length) throw new Error(`cannot read ${JSON.stringify(tokens[next])}`)
  return expr
}

// ------------------------------------------------------------------------------------------------- running

function run(parts: readonly Part[], scope: TemplateScope, world: World): string {
  const variables = new Map<string, Value>([
    ['labels', scope.labels],
    ['value', scope.value],
    ['externalLabels', {}],
    ['externalURL', ''],
  ])
  const root: Readonly<Record<string, Value>> = {
    Labels: scope.labels,
    Value: scope.value,
    ExternalLabels: {},
    ExternalURL: '',
  }
  const write = (list: readonly Part[], dot: Value | null): string => list.map((part) => one(part, dot)).join('')
  const one = (part: Part, dot: Value | null): string => {
    switch (part.kind) {
      case 'text':
        return part.text
      case 'output':
        return textOf(value(part.expr, dot))
      case 'range': {
        const list = rangeOf(value(part.over, dot))
        if (list.length === 0) return write(part.otherwise, dot)
        const [index, item] = part.names
        return list
          .map(([key, element]) => {
            if (index !== null) variables.set(index, key)
            if (item !== null) variables.set(item, element)
            return write(part.body, element)
          })
          .join('')
      }
      case 'set':
        variables.set(part.name, value(part.expr, dot))
        return ''
      default: {
        const test = value(part.test, dot)
        return truth(test) ? write(part.then, part.kind === 'with' ? test : dot) : write(part.otherwise, dot)
      }
    }
  }
  const value = (expr: Expr, dot: Value | null): Value => {
    switch (expr.kind) {
      case 'literal':
        return expr.value
      case 'call':
        return FUNCTIONS[expr.name]!(
          expr.args.map((arg) => value(arg, dot)),
          world,
        )
      case 'path': {
        let at: Value
        if (expr.root === ROOT || (expr.root === '' && dot === null)) at = root
        else at = expr.root === '' ? dot! : (variables.get(expr.root) ?? '')
        for (const field of expr.fields) at = memberOf(at, field)
        return at
      }
    }
  }
  return write(parts, null)
}

/** Elements with their keys: of a list by number, of a map by name. */
function rangeOf(value: Value): [key: Value, element: Value][] {
  if (Array.isArray(value)) return listOf(value).map((element, i) => [i, element])
  if (typeof value !== 'object') return []
  return Object.entries(value as { readonly [name: string]: Value }).sort(([a], [b]) => (a < b ? -1 : 1))
}
