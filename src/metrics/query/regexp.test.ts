import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compileRegexp, RegexpError } from './regexp.ts'

/** What RE2 and JavaScript mean alike: a pattern, and texts over the same few letters. */
const letters = fc.constantFrom('a', 'b', 'c', 'é', '💩', '\n')
const atom = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('a', 'b', 'c', 'é', '💩') },
  { weight: 2, arbitrary: fc.constantFrom('.', '[ab]', '[^a]', '[a-c]', '\\w', '\\W', '\\d', '\\s') },
  { weight: 1, arbitrary: fc.constantFrom('^', '$', '\\b', '\\B', '') },
)
const pattern = fc.letrec<{ node: string }>((tie) => ({
  node: fc.oneof(
    { depthSize: 'small', maxDepth: 4 },
    atom,
    fc.array(tie('node'), { minLength: 1, maxLength: 3 }).map((parts) => parts.join('')),
    fc.array(tie('node'), { minLength: 2, maxLength: 3 }).map((parts) => `(?:${parts.join('|')})`),
    fc
      .tuple(tie('node'), fc.constantFrom('*', '+', '?', '{2}', '{1,}', '{0,2}'), fc.constantFrom('', '?'))
      .map(([part, how, lazy]) => `(?:${part})${how}${lazy}`),
  ),
})).node
const texts = fc.array(letters, { maxLength: 8 }).map((parts) => parts.join(''))

test('it matches as JavaScript does where both mean the same', () => {
  fc.assert(
    fc.property(pattern, fc.array(texts, { minLength: 1, maxLength: 6 }), (source, samples) => {
      const ours = compileRegexp(source, { dotAll: true })
      const theirs = new RegExp(`^(?:${source})$`, 'su')
      for (const text of samples) expect([source, text, ours.test(text)]).toEqual([source, text, theirs.test(text)])
    }),
    { numRuns: 3000 },
  )
})

/** Repeats what takes at least one character: over loops of nothing the two differ. */
const solid = fc.letrec<{ node: string }>((tie) => ({
  node: fc.oneof(
    { depthSize: 'small', maxDepth: 4 },
    fc.constantFrom('a', 'b', '.', '[ab]', '[^a]'),
    fc
      .tuple(fc.constantFrom('a', '.', '[^b]', '(?:a|ab|b)'), fc.constantFrom('*', '+', '?', '{1,2}', '*?', '+?', '??'))
      .map((parts) => parts.join('')),
    fc.array(tie('node'), { minLength: 1, maxLength: 3 }).map((parts) => parts.join('')),
    fc.array(tie('node'), { minLength: 2, maxLength: 3 }).map((parts) => `(?:${parts.join('|')})`),
  ),
})).node

test('groups hold what JavaScript says they hold', () => {
  const groups = fc.array(fc.tuple(solid, fc.boolean()), { minLength: 1, maxLength: 3 })
  fc.assert(
    fc.property(groups, texts, (parts, text) => {
      const source = parts.map(([part, captured]) => (captured ? `(${part})` : `(?:${part})`)).join('')
      const theirs = new RegExp(`^(?:${source})$`, 'su').exec(text)
      const ours = compileRegexp(source, { dotAll: true }).captures(text)
      expect(ours).toEqual(theirs === null ? null : [...theirs])
    }),
    { numRuns: 3000 },
  )
})

test('what it knows of a pattern in advance is true', () => {
  fc.assert(
    fc.property(pattern, texts, (source, text) => {
      const regexp = compileRegexp(source, { dotAll: true })
      if (!regexp.test(text)) return
      expect(text.startsWith(regexp.prefix)).toBe(true)
      if (regexp.literals) expect(regexp.literals).toContain(text)
    }),
  )
})

describe('the syntax of RE2', () => {
  test.each([
    ['(?i)ABC', 'abc', true],
    ['(?i:A)bc', 'aBc', false],
    ['a(?i)b|c', 'aC', false],
    ['a(?i)b|c', 'C', true],
    ['(?s).', '\n', true],
    ['(?-s).', '\n', false],
    ['(?m)a$\n^b', 'a\nb', true],
    ['[[:alpha:]]+', 'abC', true],
    ['[[:^digit:]]', '1', false],
    ['[^[:space:]x]', ' ', false],
    ['\\pL+', 'aé', true],
    ['\\p{Greek}', 'λ', true],
    ['\\PL', 'a', false],
    ['\\x41\\x{1F4A9}\\101', 'A💩A', true],
    ['\\Qa.b\\E', 'a.b', true],
    ['\\Qa.b', 'axb', false],
    ['\\Aab\\z', 'ab', true],
    ['a{,2}', 'a{,2}', true],
    ['a{2', 'a{2', true],
    ['[]a]', ']', true],
    ['[a-]', '-', true],
    ['x*?y', 'xxy', true],
    ['(?U)a+', 'aa', true],
    ['', '', true],
    ['', 'a', false],
    ['a||b', '', true],
    ['(?P<name>a)', 'a', true],
    ['(?<name>a)', 'a', true],
  ])('%s on %j: %s', (source, text, expected) => {
    expect(compileRegexp(source).test(text)).toBe(expected)
  })

  test.each([
    ['(', 'missing closing )'],
    [')', 'unexpected )'],
    ['[a', 'missing closing ]'],
    ['*', 'missing argument to repetition operator: `*`'],
    ['a**', 'invalid nested repetition operator: `**`'],
    ['a{2,1}', 'invalid repeat count: `{2,1}`'],
    ['a{1001}', 'invalid repeat count: `{1001}`'],
    ['[z-a]', 'invalid character class range: `z-a`'],
    ['[[:nothing:]]', 'invalid character class range: `[:nothing:]`'],
    ['\\pX', 'invalid character class range'],
    ['(?=a)', 'invalid or unsupported Perl syntax: `(?=`'],
    ['(?<!a)', 'invalid'],
    ['\\8', 'invalid escape sequence: `\\8`'],
    ['\\', 'trailing backslash at end of expression'],
    ['(?P<n>a)(?P<n>b)', 'duplicate'],
    ['(?:a{1000}){1000}', 'expression too large'],
    ['(?:(?:(?:){1000}){1000}){1000}', 'expression too large'],
    ['('.repeat(1000), 'nests too deeply'],
  ])('%s is refused: %s', (source, why) => {
    expect(() => compileRegexp(source)).toThrow(RegexpError)
    expect(() => compileRegexp(source)).toThrow(why)
  })

  test('alternatives of texts are known as such', () => {
    expect(compileRegexp('a|b(c|d)').literals).toEqual(['a', 'bc', 'bd'])
    expect(compileRegexp('a|b.*').literals).toBeNull()
    expect(compileRegexp('node-(a|b).*').prefix).toBe('node-')
  })
})

// Where JavaScript's own engine would try for longer than the universe has lasted, each of these ends at once.
test.each([
  ['(a+)+b', 'a'.repeat(20_000)],
  ['(a|aa)+', `${'a'.repeat(20_000)}b`],
  ['(.*)(.*)(.*)(.*)(.*)x', 'y'.repeat(5000)],
  ['(?:a?){400}a{400}', 'a'.repeat(399)],
])('the time is linear in the text: %s', (source, text) => {
  const regexp = compileRegexp(source)
  expect(regexp.test(text)).toBe(false)
  expect(regexp.captures(text.slice(-2000))).toBeNull()
})

test('many different texts do not make the automaton grow without end', () => {
  const regexp = compileRegexp('(?:[a-z]{1,9}-){3}[0-9]*x?')
  for (let i = 0; i < 20_000; i++) {
    const text = `${(i * 7919).toString(36).replace(/\d/g, 'q')}-b-c-${i}`
    expect(regexp.test(text)).toBe(/^(?:[a-z]{1,9}-){3}[0-9]*x?$/.test(text))
  }
})
