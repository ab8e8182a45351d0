/**
 * Regular expressions in the syntax of RE2, matched in time linear in the text: what PromQL's matchers and
 * `label_replace` need. JavaScript's own engine backtracks, so one pattern of a user could hold a worker for hours; and
 * it differs from RE2 in syntax.
 *
 *   pattern ──parse──▶ nodes ──compile──▶ program ─┬─ test()     set of program positions, cached as a lazy automaton
 *                                                  └─ captures() one thread a position, in order of preference
 *
 * A pattern is always anchored at both ends. Repetition is unrolled, so a program's size is limited, and with it
 * the work for each character.
 */

export interface Regexp {
  /** Whether the whole of `text` matches. */
  test(text: string): boolean
  /** The groups of a match of the whole text, 0 being all of it; null when it does not match. */
  captures(text: string): (string | undefined)[] | null
  /** Names of the groups, by number; '' where a group has none. */
  readonly groupNames: readonly string[]
  /** All texts that match, where the pattern is no more than a choice between texts; for look-ups in an index. */
  readonly literals: readonly string[] | null
  /** A text with which every match begins; '' when none is known. */
  readonly prefix: string
}

export class RegexpError extends Error {}

const PROGRAM_MAX = 20_000
const REPEAT_MAX = 1000
const NESTING_MAX = 250
const LITERALS_MAX = 1000
/** States of the lazy automaton kept at once; past that it starts anew. */
const STATES_MAX = 2000

/**
 * Compiles a pattern. `dotAll` says whether a dot matches a line feed, as Prometheus 3 has it. Throws `RegexpError`
 * with RE2's own wording.
 */
export function compileRegexp(pattern: string, options: { dotAll?: boolean } = {}): Regexp {
  const known = recent.get(pattern)?.[options.dotAll ? 1 : 0]
  if (known) return known
  const parsed = parse(pattern, options.dotAll ?? false)
  const made = new LinearRegexp(parsed.node, parsed.names)
  if (recent.size >= 200) recent.clear()
  const entry = recent.get(pattern) ?? [null, null]
  entry[options.dotAll ? 1 : 0] = made
  recent.set(pattern, entry)
  return made
}

const recent = new Map<string, [Regexp | null, Regexp | null]>()

// ------------------------------------------------------------------------------------------------- nodes

type Test = (code: number) => boolean
type Assertion = 'begin_text' | 'end_text' | 'begin_line' | 'end_line' | 'word' | 'not_word'
type Node =
  | { readonly kind: 'empty' }
  | { readonly kind: 'char'; readonly code: number }
  | { readonly kind: 'class'; readonly test: Test }
  | { readonly kind: 'assert'; readonly what: Assertion }
  | { readonly kind: 'cat' | 'alt'; readonly parts: readonly Node[] }
  | { readonly kind: 'group'; readonly index: number; readonly node: Node }
  | { readonly kind: 'repeat'; readonly node: Node; readonly min: number; readonly max: number; readonly lazy: boolean }

interface Flags {
  fold: boolean
  multiline: boolean
  dotAll: boolean
  swapGreed: boolean
}

const LINE_FEED = 10
const isDigit: Test = (c) => c >= 48 && c <= 57
const isWord: Test = (c) => isDigit(c) || (c >= 65 && c <= 90) || (c >= 97 && c <= 122) || c === 95
const isSpace: Test = (c) => c === 9 || c === 10 || c === 12 || c === 13 || c === 32
const not =
  (test: Test): Test =>
  (c) =>
    !test(c)
const between =
  (low: number, high: number): Test =>
  (c) =>
    c >= low && c <= high
const anyOf =
  (tests: readonly Test[]): Test =>
  (c) => {
    for (const test of tests) if (test(c)) return true
    return false
  }

const upper: Test = between(65, 90)
const lower: Test = between(97, 122)
const posix: Readonly<Record<string, Test>> = {
  alnum: anyOf([isDigit, upper, lower]),
  alpha: anyOf([upper, lower]),
  ascii: between(0, 127),
  blank: (c) => c === 9 || c === 32,
  cntrl: (c) => c < 32 || c === 127,
  digit: isDigit,
  graph: between(33, 126),
  lower,
  print: between(32, 126),
  punct: (c) => between(33, 126)(c) && !isDigit(c) && !upper(c) && !lower(c),
  space: (c) => isSpace(c) || c === 11,
  upper,
  word: isWord,
  xdigit: anyOf([isDigit, between(65, 70), between(97, 102)]),
}

function folded(test: Test): Test {
  return (c) => {
    if (test(c)) return true
    const text = String.fromCodePoint(c)
    const low = text.toLowerCase()
    const up = text.toUpperCase()
    return (low !== text && test(low.codePointAt(0)!)) || (up !== text && test(up.codePointAt(0)!))
  }
}

// ------------------------------------------------------------------------------------------------ parsing

function textOf(codes: readonly number[], from: number, to: number): string {
  let text = ''
  for (let i = from; i < Math.min(to, codes.length); i++) text += String.fromCodePoint(codes[i]!)
  return text
}

function parse(pattern: string, dotAll: boolean): { node: Node; names: string[] } {
  const chars = Array.from(pattern, (c) => c.codePointAt(0)!)
  const names: string[] = ['']
  let at = 0
  let depth = 0
  const fail = (what: string, text = pattern): never => {
    throw new RegexpError(`error parsing regexp: ${what}: \`${text}\``)
  }
  const peek = (char: string) => chars[at] === char.charCodeAt(0)
  const looking = (text: string) => [...text].every((c, i) => chars[at + i] === c.codePointAt(0))
  const slice = (from: number, to: number) => textOf(chars, from, to)

  function alternatives(flags: Flags): Node {
    if (++depth > NESTING_MAX) fail('expression nests too deeply')
    // Flags set inside a group last until its end, across alternatives.
    const own = { ...flags }
    const parts: Node[] = [sequence(own)]
    while (peek('|')) {
      at++
      parts.push(sequence(own))
    }
    depth--
    return parts.length === 1 ? parts[0]! : { kind: 'alt', parts }
  }

  function sequence(flags: Flags): Node {
    const parts: Node[] = []
    while (at < chars.length && !peek('|') && !peek(')')) {
      const from = at
      const node = atom(flags)
      if (node === null) continue
      parts.push(repeated(node, flags, from))
    }
    return parts.length === 1 ? parts[0]! : parts.length === 0 ? { kind: 'empty' } : { kind: 'cat', parts }
  }

  function repeated(node: Node, flags: Flags, from: number): Node {
    let current = node
    let repeats = 0
    for (;;) {
      const opened = at
      let min: number
      let max: number
      if (peek('*')) [min, max] = [0, Number.POSITIVE_INFINITY]
      else if (peek('+')) [min, max] = [1, Number.POSITIVE_INFINITY]
      else if (peek('?')) [min, max] = [0, 1]
      else if (peek('{')) {
        const counted = count()
        if (!counted) return current
        ;[min, max] = counted
        at--
      } else return current
      at++
      if (repeats++ > 0) fail('invalid nested repetition operator', slice(from, at))
      let lazy = flags.swapGreed
      if (peek('?')) {
        at++
        lazy = !lazy
      }
      if (min > REPEAT_MAX || (max !== Number.POSITIVE_INFINITY && max > REPEAT_MAX) || max < min)
        fail('invalid repeat count', slice(opened, at))
      current = { kind: 'repeat', node: current, min, max, lazy }
      from = opened
    }
  }

  /** `{n}`, `{n,}`, `{n,m}`; anything else is a brace as it stands. */
  function count(): [number, number] | null {
    const found = /^\{(\d+)(,(\d*))?\}/.exec(slice(at, Math.min(chars.length, at + 24)))
    if (!found) return null
    at += found[0].length
    const min = Number(found[1])
    return [min, found[2] === undefined ? min : found[3] === '' ? Number.POSITIVE_INFINITY : Number(found[3])]
  }

  const literal = (code: number, flags: Flags): Node => {
    if (!flags.fold) return { kind: 'char', code }
    const test = folded((c) => c === code)
    return { kind: 'class', test }
  }
  const classNode = (test: Test, flags: Flags): Node => ({ kind: 'class', test: flags.fold ? folded(test) : test })

  function atom(flags: Flags): Node | null {
    const code = chars[at]!
    switch (String.fromCodePoint(code)) {
      case '(':
        return group(flags)
      case '[':
        return bracket(flags)
      case '.':
        at++
        return { kind: 'class', test: flags.dotAll ? () => true : (c) => c !== LINE_FEED }
      case '^':
        at++
        return { kind: 'assert', what: flags.multiline ? 'begin_line' : 'begin_text' }
      case '$':
        at++
        return { kind: 'assert', what: flags.multiline ? 'end_line' : 'end_text' }
      case '*':
      case '+':
      case '?':
        return fail('missing argument to repetition operator', String.fromCodePoint(code))
      case '{':
        at++
        return literal(code, flags)
      case '\\':
        return escaped(flags)
      default:
        at++
        return literal(code, flags)
    }
  }

  function group(flags: Flags): Node | null {
    const from = at
    at++
    if (peek('?')) {
      const named = /^\?P?<([^>]*)>/.exec(slice(at, chars.length))
      if (named) {
        const name = named[1]!
        if (!/^[A-Za-z0-9_]+$/.test(name)) fail('invalid named capture', slice(from, at + named[0].length))
        if (names.includes(name)) fail('duplicate capture group name', name)
        at += [...named[0]].length
        return capture(flags, name, from)
      }
      const found = /^\?([imsU]*)(-([imsU]+))?([:)])/.exec(slice(at, chars.length))
      if (!found) {
        if (/^\?P?</.test(slice(at, chars.length))) fail('invalid named capture', slice(from, chars.length))
        return fail('invalid or unsupported Perl syntax', slice(from, Math.min(chars.length, at + 2)))
      }
      at += found[0].length
      const next = { ...flags }
      const set = (letters: string, on: boolean) => {
        if (letters.includes('i')) next.fold = on
        if (letters.includes('m')) next.multiline = on
        if (letters.includes('s')) next.dotAll = on
        if (letters.includes('U')) next.swapGreed = on
      }
      set(found[1]!, true)
      set(found[3] ?? '', false)
      if (found[4] === ')') {
        Object.assign(flags, next)
        return null
      }
      const node = alternatives(next)
      close(from)
      return node.kind === 'repeat' ? { kind: 'cat', parts: [node] } : node
    }
    return capture(flags, '', from)
  }

  function capture(flags: Flags, name: string, from: number): Node {
    const index = names.length
    names.push(name)
    const node = alternatives(flags)
    close(from)
    return { kind: 'group', index, node }
  }

  function close(_from: number): void {
    if (!peek(')')) fail('missing closing )')
    at++
  }

  const perlClasses: Readonly<Record<string, Test>> = {
    d: isDigit,
    D: not(isDigit),
    s: isSpace,
    S: not(isSpace),
    w: isWord,
    W: not(isWord),
  }

  function escaped(flags: Flags): Node {
    const from = at
    at++
    if (at >= chars.length) fail('trailing backslash at end of expression', '')
    const letter = String.fromCodePoint(chars[at]!)
    const perl = perlClasses[letter]
    if (perl) {
      at++
      return classNode(perl, flags)
    }
    const assertions: Readonly<Record<string, Assertion>> = {
      A: 'begin_text',
      z: 'end_text',
      b: 'word',
      B: 'not_word',
    }
    const what = assertions[letter]
    if (what) {
      at++
      return { kind: 'assert', what }
    }
    if (letter === 'Q') {
      at++
      const parts: Node[] = []
      while (at < chars.length && !looking('\\E')) parts.push(literal(chars[at++]!, flags))
      if (at < chars.length) at += 2
      return { kind: 'cat', parts }
    }
    if (letter === 'E') {
      at++
      return { kind: 'empty' }
    }
    if (letter === 'p' || letter === 'P') return classNode(unicodeClass(from), flags)
    return literal(escapedChar(from), flags)
  }

  /** After a backslash that starts at `from`: `\n`, `\x41`, `\x{10FFFF}`, `\101`, or punctuation as it stands. */
  function escapedChar(from: number): number {
    const rest = slice(at, Math.min(chars.length, at + 16))
    const letter = rest[0] ?? ''
    const simple: Readonly<Record<string, number>> = { a: 7, f: 12, n: 10, r: 13, t: 9, v: 11 }
    const known = simple[letter]
    if (known !== undefined) {
      at++
      return known
    }
    const hex = /^x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]+)\})/.exec(rest)
    if (hex) {
      const code = Number.parseInt(hex[1] ?? hex[2]!, 16)
      if (code > 0x10ffff) fail('invalid escape sequence', `\\${hex[0]}`)
      at += hex[0].length
      return code
    }
    const octal = /^(?:0[0-7]{0,2}|[1-7][0-7]{1,2})/.exec(rest)
    if (octal) {
      at += octal[0].length
      return Number.parseInt(octal[0], 8)
    }
    const code = chars[at]
    if (code === undefined) return fail('trailing backslash at end of expression', '')
    if (code < 128 && !isWord(code)) {
      at++
      return code
    }
    return fail('invalid escape sequence', slice(from, at + 1))
  }

  function unicodeClass(from: number): Test {
    const found = /^([pP])(?:\{(\^?)([^}]*)\}|(.))/u.exec(slice(at, chars.length))
    if (!found) return fail('invalid character class range', slice(from, chars.length))
    at += [...found[0]].length
    const name = found[3] ?? found[4]!
    const negated = (found[1] === 'P') !== (found[2] === '^')
    if (name === 'Any') return () => !negated
    let matcher: RegExp
    try {
      matcher = /^[A-Z][a-z]?$/.test(name)
        ? new RegExp(`^\\p{${name}}$`, 'u')
        : new RegExp(`^\\p{Script=${name}}$`, 'u')
    } catch {
      return fail('invalid character class range', slice(from, at))
    }
    return (c) => matcher.test(String.fromCodePoint(c)) !== negated
  }

  function bracket(flags: Flags): Node {
    const from = at
    at++
    const negated = peek('^')
    if (negated) at++
    const tests: Test[] = []
    let first = true
    for (;;) {
      if (at >= chars.length) fail('missing closing ]', slice(from, chars.length))
      if (peek(']') && !first) break
      first = false
      if (looking('[:')) {
        const found = /^\[:(\^?)([a-z]*):\]/.exec(slice(at, chars.length))
        const test = found ? posix[found[2]!] : undefined
        if (found && !test) fail('invalid character class range', found[0])
        if (found && test) {
          at += found[0].length
          tests.push(found[1] ? not(test) : test)
          continue
        }
      }
      if (peek('\\')) {
        const letter = String.fromCodePoint(chars[at + 1] ?? 0)
        const perl = perlClasses[letter]
        if (perl) {
          at += 2
          tests.push(perl)
          continue
        }
        if (letter === 'p' || letter === 'P') {
          const begin = at
          at++
          tests.push(unicodeClass(begin))
          continue
        }
      }
      const begin = at
      const low = classChar()
      let high = low
      if (peek('-') && at + 1 < chars.length && chars[at + 1] !== 93) {
        at++
        high = classChar()
        if (high < low) fail('invalid character class range', slice(begin, at))
      }
      tests.push(between(low, high))
    }
    at++
    let test = anyOf(tests)
    if (flags.fold) test = folded(test)
    return { kind: 'class', test: negated ? not(test) : test }
  }

  function classChar(): number {
    if (peek('\\')) {
      const from = at
      at++
      return escapedChar(from)
    }
    return chars[at++]!
  }

  const node = alternatives({ fold: false, multiline: false, dotAll, swapGreed: false })
  if (at < chars.length) fail('unexpected )')
  return { node, names }
}

// --------------------------------------------------------------------------------------------- the program

const CHAR = 0
const CLASS = 1
const SPLIT = 2
const JUMP = 3
const SAVE = 4
const ASSERT = 5
const MATCH = 6

interface Instruction {
  readonly op: number
  /** CHAR: code. SPLIT: the preferred way. JUMP: target. SAVE: slot. */
  a: number
  /** SPLIT: the other way. */
  b: number
  readonly test: Test | null
  readonly what: Assertion | null
}

function compileProgram(root: Node): Instruction[] {
  const program: Instruction[] = []
  const emit = (op: number, a = 0, b = 0, test: Test | null = null, what: Assertion | null = null): number => {
    if (program.length >= PROGRAM_MAX) throw new RegexpError('error parsing regexp: expression too large')
    program.push({ op, a, b, test, what })
    return program.length - 1
  }
  // Counted apart from instructions: a repetition of nothing emits none, however often it is unrolled.
  let visits = 0
  function walk(node: Node): void {
    if (++visits > PROGRAM_MAX) throw new RegexpError('error parsing regexp: expression too large')
    switch (node.kind) {
      case 'empty':
        return
      case 'char':
        emit(CHAR, node.code)
        return
      case 'class':
        emit(CLASS, 0, 0, node.test)
        return
      case 'assert':
        emit(ASSERT, 0, 0, null, node.what)
        return
      case 'cat':
        for (const part of node.parts) walk(part)
        return
      case 'alt': {
        const exits: number[] = []
        node.parts.forEach((part, i) => {
          if (i === node.parts.length - 1) {
            walk(part)
            return
          }
          const split = emit(SPLIT)
          program[split]!.a = program.length
          walk(part)
          exits.push(emit(JUMP))
          program[split]!.b = program.length
        })
        for (const exit of exits) program[exit]!.a = program.length
        return
      }
      case 'group':
        emit(SAVE, node.index * 2)
        walk(node.node)
        emit(SAVE, node.index * 2 + 1)
        return
      case 'repeat':
        for (let i = 0; i < node.min; i++) walk(node.node)
        if (node.max === Number.POSITIVE_INFINITY) {
          const split = emit(SPLIT)
          const body = program.length
          walk(node.node)
          emit(JUMP, split)
          branch(split, body, program.length, node.lazy)
        } else {
          const splits: number[] = []
          for (let i = node.min; i < node.max; i++) {
            splits.push(emit(SPLIT))
            walk(node.node)
          }
          for (const split of splits) branch(split, split + 1, program.length, node.lazy)
        }
    }
  }
  const branch = (split: number, into: number, past: number, lazy: boolean) => {
    program[split]!.a = lazy ? past : into
    program[split]!.b = lazy ? into : past
  }
  walk(root)
  emit(MATCH)
  return program
}

/** What the pattern is when it is only texts and choices between them; null when it is more, or too many. */
function literalSet(node: Node): string[] | null {
  switch (node.kind) {
    case 'empty':
      return ['']
    case 'char':
      return [String.fromCodePoint(node.code)]
    case 'group':
      return literalSet(node.node)
    case 'alt': {
      const all: string[] = []
      for (const part of node.parts) {
        const texts = literalSet(part)
        if (!texts || all.length + texts.length > LITERALS_MAX) return null
        all.push(...texts)
      }
      return [...new Set(all)]
    }
    case 'cat': {
      let all = ['']
      for (const part of node.parts) {
        const texts = literalSet(part)
        if (!texts || all.length * texts.length > LITERALS_MAX) return null
        all = all.flatMap((head) => texts.map((tail) => head + tail))
      }
      return all
    }
    default:
      return null
  }
}

function literalPrefix(node: Node): string {
  if (node.kind === 'char') return String.fromCodePoint(node.code)
  if (node.kind === 'group') return literalPrefix(node.node)
  if (node.kind !== 'cat') return ''
  let prefix = ''
  for (const part of node.parts) {
    if (part.kind === 'assert' && part.what === 'begin_text') continue
    if (part.kind !== 'char') return prefix + literalPrefix(part)
    prefix += String.fromCodePoint(part.code)
  }
  return prefix
}

interface State {
  readonly positions: Int32Array
  readonly accepts: boolean
  readonly next: Map<number, State>
}

class LinearRegexp implements Regexp {
  readonly groupNames: readonly string[]
  readonly literals: readonly string[] | null
  readonly prefix: string
  readonly #program: readonly Instruction[]
  readonly #literalSet: ReadonlySet<string> | null
  readonly #asserts: boolean
  #states = new Map<string, State>()
  #start: State | null = null
  readonly #marks: Int32Array
  #mark = 0

  constructor(root: Node, names: readonly string[]) {
    this.groupNames = names
    this.literals = literalSet(root)
    this.#literalSet = this.literals ? new Set(this.literals) : null
    this.prefix = literalPrefix(root)
    this.#program = compileProgram(root)
    this.#asserts = this.#program.some((i) => i.op === ASSERT)
    this.#marks = new Int32Array(this.#program.length)
  }

  test(text: string): boolean {
    if (this.#literalSet) return this.#literalSet.has(text)
    if (this.prefix !== '' && !text.startsWith(this.prefix)) return false
    return this.#asserts ? this.#simulate(text) : this.#automaton(text)
  }

  #automaton(text: string): boolean {
    this.#start ??= this.#state([0], -1, -1)
    let state = this.#start
    for (let i = 0; i < text.length; i++) {
      let code = text.charCodeAt(i)
      if (code >= 0xd800 && code < 0xdc00) {
        code = text.codePointAt(i)!
        if (code > 0xffff) i++
      }
      let next = state.next.get(code)
      if (!next) {
        next = this.#step(state, code)
        state.next.set(code, next)
      }
      if (next.positions.length === 0) return false
      state = next
    }
    return state.accepts
  }

  #step(state: State, code: number): State {
    const targets: number[] = []
    for (const at of state.positions) {
      const instruction = this.#program[at]!
      if (consumes(instruction, code)) targets.push(at + 1)
    }
    return this.#state(targets, -1, -1)
  }

  /** The state of these positions and all that can be reached from them without reading. */
  #state(from: readonly number[], before: number, after: number): State {
    const found: number[] = []
    this.#mark++
    for (const at of from) this.#follow(at, before, after, found)
    const positions = Int32Array.from(found).sort()
    const key = positions.join()
    const known = this.#states.get(key)
    if (known) return known
    if (this.#states.size >= STATES_MAX) {
      this.#states = new Map()
      this.#start = null
    }
    const accepts = found.some((at) => this.#program[at]!.op === MATCH)
    const state: State = { positions, accepts, next: new Map() }
    this.#states.set(key, state)
    return state
  }

  #follow(from: number, before: number, after: number, found: number[]): void {
    const stack = [from]
    while (stack.length > 0) {
      const at = stack.pop()!
      if (this.#marks[at] === this.#mark) continue
      this.#marks[at] = this.#mark
      const instruction = this.#program[at]!
      switch (instruction.op) {
        case SPLIT:
          stack.push(instruction.b, instruction.a)
          break
        case JUMP:
          stack.push(instruction.a)
          break
        case SAVE:
          stack.push(at + 1)
          break
        case ASSERT:
          if (holds(instruction.what!, before, after)) stack.push(at + 1)
          break
        default:
          found.push(at)
      }
    }
  }

  #simulate(text: string): boolean {
    const codes = Array.from(text, (c) => c.codePointAt(0)!)
    let current: number[] = []
    this.#mark++
    this.#follow(0, -1, codes[0] ?? -1, current)
    for (let i = 0; i < codes.length; i++) {
      const next: number[] = []
      this.#mark++
      for (const at of current)
        if (consumes(this.#program[at]!, codes[i]!)) this.#follow(at + 1, codes[i]!, codes[i + 1] ?? -1, next)
      if (next.length === 0) return false
      current = next
    }
    return current.some((at) => this.#program[at]!.op === MATCH)
  }

  captures(text: string): (string | undefined)[] | null {
    const codes = Array.from(text, (c) => c.codePointAt(0)!)
    const program = this.#program
    interface Thread {
      readonly at: number
      readonly slots: readonly (number | undefined)[]
    }
    /** Adds what is reached from `at`, in order of preference. */
    const add = (list: Thread[], from: number, slots: readonly (number | undefined)[], index: number) => {
      const stack: Thread[] = [{ at: from, slots }]
      while (stack.length > 0) {
        const thread = stack.pop()!
        if (this.#marks[thread.at] === this.#mark) continue
        this.#marks[thread.at] = this.#mark
        const instruction = program[thread.at]!
        if (instruction.op === SPLIT) {
          stack.push({ at: instruction.b, slots: thread.slots }, { at: instruction.a, slots: thread.slots })
        } else if (instruction.op === JUMP) stack.push({ at: instruction.a, slots: thread.slots })
        else if (instruction.op === SAVE) {
          const saved = thread.slots.slice()
          saved[instruction.a] = index
          stack.push({ at: thread.at + 1, slots: saved })
        } else if (instruction.op === ASSERT) {
          if (holds(instruction.what!, codes[index - 1] ?? -1, codes[index] ?? -1))
            stack.push({ at: thread.at + 1, slots: thread.slots })
        } else list.push(thread)
      }
    }
    let current: Thread[] = []
    this.#mark++
    add(current, 0, new Array(this.groupNames.length * 2).fill(undefined), 0)
    for (let i = 0; i < codes.length && current.length > 0; i++) {
      const next: Thread[] = []
      this.#mark++
      for (const thread of current)
        if (consumes(program[thread.at]!, codes[i]!)) add(next, thread.at + 1, thread.slots, i + 1)
      current = next
    }
    const matched = current.find((thread) => program[thread.at]!.op === MATCH)
    if (!matched) return null
    const part = (from: number | undefined, to: number | undefined) =>
      from === undefined || to === undefined ? undefined : textOf(codes, from, to)
    return this.groupNames.map((_, g) => (g === 0 ? text : part(matched.slots[g * 2], matched.slots[g * 2 + 1])))
  }
}

function consumes(instruction: Instruction, code: number): boolean {
  return instruction.op === CHAR ? instruction.a === code : instruction.op === CLASS && instruction.test!(code)
}

/** -1 stands for the end of the text on that side. */
function holds(what: Assertion, before: number, after: number): boolean {
  switch (what) {
    case 'begin_text':
      return before === -1
    case 'end_text':
      return after === -1
    case 'begin_line':
      return before === -1 || before === LINE_FEED
    case 'end_line':
      return after === -1 || after === LINE_FEED
    case 'word':
      return isWord(before) !== isWord(after)
    default:
      return isWord(before) === isWord(after)
  }
}
