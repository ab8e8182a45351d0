/**
 * Where values come from before anybody changed one through the API: YAML files, `.env`, the environment. Each found
 * value keeps its place, so that an error can name the line.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import type * as Yaml from 'yaml'
import type { ConfigKey } from '../base/config-key.ts'
import { messageOf } from '../base/errors.ts'
import { nearest } from '../base/nearest.ts'

export type Source = 'default' | 'file' | '.env' | 'environment' | 'api'

/** A value as it was found, unchecked. */
export interface Found {
  readonly raw: unknown
  readonly source: Source
  /** `config/platform.yaml:3`, `PORT`, `version 4`. */
  readonly detail: string
}

/** One thing that is wrong: `where` is a line or a variable, `message` says what would be right. */
export interface Problem {
  readonly key: string
  readonly where: string
  readonly message: string
}

type Files = Record<string, string | undefined>
const FILES: readonly ConfigKey<unknown>['file'][] = [
  'platform.yaml',
  'alerting.yaml',
  'performance.yaml',
  'scaling.yaml',
]

/** Sentences for files of `dir` that nobody reads: a name that is almost right would be ignored without a word. */
export function strayFiles(dir: string): string[] {
  let names: string[]
  try {
    names = readdirSync(dir).sort()
  } catch {
    return [] // nothing to read there: defaults hold
  }
  return names
    .filter((name) => /\.ya?ml$/.test(name) && !FILES.some((file) => file === name))
    .map((name) => {
      const guess = nearest(name, FILES)
      return `config/${name} is not read${guess ? `; did you mean config/${guess}?` : `; these are: ${FILES.join(', ')}.`}`
    })
}

/** Values of the files in `dir`; a file that is not there holds nothing. */
export function readFiles(
  dir: string,
  keys: ReadonlyMap<string, ConfigKey<unknown>>,
  environment: Files,
  problems: Problem[],
): Map<string, Found> {
  const found = new Map<string, Found>()
  for (const file of FILES) {
    const path = join(dir, file)
    if (existsSync(path) && saysSomething(path)) readYaml(path, file, keys, environment, found, problems)
  }
  return found
}

/** False for a file of comments alone, as all are at first: front does without the parser then, and with 12 MB less. */
function saysSomething(path: string): boolean {
  try {
    return /^[ \t]*[^#\s]/m.test(readFileSync(path, 'utf8'))
  } catch {
    return true // `readYaml` says what is wrong
  }
}

function readYaml(
  path: string,
  file: string,
  keys: ReadonlyMap<string, ConfigKey<unknown>>,
  environment: Files,
  found: Map<string, Found>,
  problems: Problem[],
): void {
  // Loaded where a file is found, and not before: front does not pay for a parser that nobody needs.
  const yaml = createRequire(import.meta.url)('yaml') as typeof Yaml
  const lines = new yaml.LineCounter()
  const name = `config/${file}`
  const wrong = (key: string, where: string, message: string) => problems.push({ key, where, message })
  let document: Yaml.Document.Parsed
  try {
    document = yaml.parseDocument(readFileSync(path, 'utf8'), { lineCounter: lines })
  } catch (error) {
    wrong(name, name, `cannot be read: ${messageOf(error)}`)
    return
  }
  for (const error of document.errors)
    wrong(name, `${name}:${error.linePos?.[0].line ?? 1}`, error.message.split('\n')[0]!)
  if (document.errors.length > 0 || document.contents === null) return
  if (!yaml.isMap(document.contents)) {
    wrong(name, `${name}:1`, 'expected keys and values, such as "server:" and below it "  port: 8000"')
    return
  }
  walk(document.contents, '')

  function walk(map: Yaml.YAMLMap<unknown, unknown>, prefix: string): void {
    for (const pair of map.items) {
      const node = pair.key as Yaml.Scalar
      const key = prefix + String(yaml.isScalar(node) ? node.value : node)
      const where = `${name}:${lines.linePos(node?.range?.[0] ?? 0).line}`
      const known = keys.get(key)
      if (known && known.file === file) {
        const raw = pair.value === null ? null : (pair.value as Yaml.Node).toJS(document)
        const value = fromVariable(raw, environment)
        if (value === undefined) wrong(key, where, `names the environment variable ${raw}, which is not set`)
        else if (value !== null) found.set(key, { raw: value, source: 'file', detail: where })
      } else if (known) wrong(key, where, `belongs in config/${known.file}`)
      else if (yaml.isMap(pair.value)) walk(pair.value, `${key}.`)
      else if (isSection(key)) {
        // One whose keys are all commented out is empty, not wrong.
        const isEmpty = pair.value === null || (yaml.isScalar(pair.value) && pair.value.value === null)
        if (!isEmpty) wrong(key, where, 'expected keys and values below it')
      } else {
        const guess = nearest(
          key,
          [...keys.values()].filter((k) => k.file === file).map((k) => k.path),
        )
        wrong(key, where, guess ? `is not known here; did you mean ${guess}?` : 'is not known here')
      }
    }
  }

  function isSection(key: string): boolean {
    return [...keys.keys()].some((path) => path.startsWith(`${key}.`))
  }
}

/** `${NAME}` as a whole value takes the variable; undefined when it is not set. */
function fromVariable(raw: unknown, environment: Files): unknown {
  const name = typeof raw === 'string' ? /^\$\{(\w+)\}$/.exec(raw)?.[1] : undefined
  return name === undefined ? raw : environment[name]
}

/** The variables of `.env`, and the line of each. */
export function readDotEnv(path: string, problems: Problem[]): { values: Files; lineOf(name: string): number } {
  if (!existsSync(path)) return { values: {}, lineOf: () => 0 }
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    problems.push({ key: '.env', where: '.env', message: `cannot be read: ${messageOf(error)}` })
    return { values: {}, lineOf: () => 0 }
  }
  const lines = text.split('\n')
  // Lines within quotes belong to the value that they continue.
  const unquoted = text.replace(/=[ \t]*(["'`])[\s\S]*?\1/g, (quoted) => `=${quoted.replace(/[^\n]/g, '')}`).split('\n')
  for (const [i, line] of unquoted.entries()) {
    if (/^\s*(#|$)/.test(line) || /^\s*(export\s+)?[\w.-]+\s*=/.test(line)) continue
    if (i > 0 && lines[i] !== line) continue // what follows the end of quotes on their last line
    problems.push({ key: '.env', where: `.env:${i + 1}`, message: 'expected NAME=value, or # before a comment' })
  }
  return {
    values: parseEnv(text) as Files,
    lineOf: (name) => lines.findLastIndex((line) => new RegExp(`^\\s*(export\\s+)?${name}\\s*=`).test(line)) + 1,
  }
}

/** Values of the environment and, beneath it, of `.env`. An empty variable is as good as none. */
export function readEnvironment(
  keys: ReadonlyMap<string, ConfigKey<unknown>>,
  environment: Files,
  dotEnv: ReturnType<typeof readDotEnv>,
): Map<string, Found> {
  const found = new Map<string, Found>()
  for (const key of keys.values()) {
    if (key.env === null) continue
    const own = environment[key.env]
    const dotted = dotEnv.values[key.env]
    if (own !== undefined && own !== '') {
      found.set(key.path, { raw: own, source: 'environment', detail: key.env })
    } else if (dotted !== undefined && dotted !== '') {
      found.set(key.path, { raw: dotted, source: '.env', detail: `.env:${dotEnv.lineOf(key.env)} ${key.env}` })
    }
  }
  return found
}
