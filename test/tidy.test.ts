/**
 * What import rules cannot see: where the clock, randomness, timers, the environment and the console may be touched,
 * and what must never stand in the repository.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'

const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { encoding: 'utf8' })
  .split('\n')
  .filter((file) => file !== '')
const source = files.filter((f) => /^src\/.*\.tsx?$/.test(f) && !/\.(test|contract)\.tsx?$/.test(f))
const product = source.filter((f) => !f.startsWith('src/dashboard/web/'))

/** Lines of `paths` that match, as `file:line: text`, comments left out. */
function hits(paths: readonly string[], pattern: RegExp): string[] {
  return paths.flatMap((path) =>
    readFileSync(path, 'utf8')
      .split('\n')
      .flatMap((line, i) => {
        const code = line.replace(/^\s*(\/\/|\*|\/\*).*$/, '').replace(/\s\/\/ .*$/, '')
        return pattern.test(code) ? [`${path}:${i + 1}: ${line.trim()}`] : []
      }),
  )
}

describe('the product', () => {
  test('has files to look at', () => expect(product.length).toBeGreaterThan(20))

  test('reads the clock, rolls dice and sets timers only in base', () => {
    const elsewhere = product.filter((f) => !f.startsWith('src/base/'))
    expect(hits(elsewhere, /\bDate\.now\b|\bnew Date\(\)|\bperformance\.now\b/)).toEqual([])
    expect(hits(elsewhere, /\bMath\.random\b/)).toEqual([])
    expect(hits(elsewhere, /\b(setTimeout|setInterval|setImmediate)\(/)).toEqual([])
  })

  test('reads the environment only in config', () => {
    const elsewhere = product.filter((f) => !f.startsWith('src/config/'))
    expect(hits(elsewhere, /\bprocess\.env\b/)).toEqual([])
  })

  test('speaks to the console only where a person reads it', () => {
    const elsewhere = product.filter((f) => !/^src\/(cli|app)\/|^src\/main\.ts$/.test(f))
    expect(hits(elsewhere, /\bconsole\.\w+\(/)).toEqual([])
  })

  test('leaves nothing for later', () => {
    // "modifier not implemented" is what Prometheus says of an expression, in its own words.
    expect(hits(source, /\b(TODO|FIXME|XXX|HACK)\b|(?<!modifier )not implemented/i)).toEqual([])
  })

  test('writes no type away without a reason beside it', () => {
    const lines = source.flatMap((path) => {
      const text = readFileSync(path, 'utf8').split('\n')
      return text.flatMap((line, i) =>
        /\bas any\b|: any\b|<any>/.test(line) && !/biome-ignore/.test(text[i - 1] ?? '') && !/^\s*(\*|\/\/)/.test(line)
          ? [`${path}:${i + 1}`]
          : [],
      )
    })
    expect(lines).toEqual([])
  })
})

describe('the repository', () => {
  const text = files.filter(
    (f) => /\.(ts|tsx|mjs|cjs|js|json|md|yaml|yml|sh|css|html)$/.test(f) || /^(bin|\.ci)\//.test(f),
  )

  test('knows no machine and no registry', () => {
    const spoken = text.filter((f) => f !== 'test/tidy.test.ts')
    expect(hits(spoken, /\/(home|Users|farm)\/\w|(^|[^\w.])\/work\/|registry\.npmjs|deb\.debian\.org/)).toEqual([])
  })

  test('locks packages without addresses', () => {
    expect(hits(['package-lock.json'], /"resolved"/)).toEqual([])
  })

  test('focuses or switches off no test', () => {
    const tests = files.filter((f) => /\.test\.ts$/.test(f) && f !== 'test/tidy.test.ts')
    expect(hits(tests, /\b(it|test|describe)\.(only|skip|todo)\(/)).toEqual([])
  })
})
