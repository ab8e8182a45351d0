/**
 * The files under `config/`, `.env.example` and the table of README.md as they stand in the repository: every key,
 * commented out, at its default. Made from the keys, so they cannot be wrong; a test compares them with the files
 * (`npx vitest run src/config -u` writes them anew).
 */
import type { ConfigKey } from '../base/config-key.ts'
import { keys } from './rooms.ts'

const TITLES: Readonly<Record<ConfigKey<unknown>['file'], string>> = {
  'platform.yaml': 'The platform: where it listens, where it keeps things, how much it takes.',
  'alerting.yaml': 'Alerting and its channels.',
  'performance.yaml': 'The optimizer, and the limits that cards and the performance score judge by.',
  'scaling.yaml': 'Scaling.',
}
export const exampleFiles = Object.keys(TITLES) as ConfigKey<unknown>['file'][]

export function exampleYaml(file: ConfigKey<unknown>['file']): string {
  const lines = [
    `# ${TITLES[file]}`,
    '# Every line is a default: take the # away, of its sections too, to change one. The environment wins over this',
    '# file, a change through the API over both. `npx opinion-market check-config` says what is wrong.',
  ]
  let section: string[] = []
  for (const key of keys.values()) {
    if (key.file !== file) continue
    const parts = key.path.split('.')
    const same = parts.findIndex((part, i) => section[i] !== part)
    if (same === 0) lines.push('')
    for (let i = same; i < parts.length - 1; i++) lines.push(`# ${'  '.repeat(i)}${parts[i]}:`)
    section = parts.slice(0, -1)
    const indent = '  '.repeat(section.length)
    const variable = key.env === null ? '' : ` (${key.env})`
    lines.push(`# ${indent}# ${key.help} Takes ${key.expected}${variable}.`)
    lines.push(`# ${indent}${parts.at(-1)}:${textOf(key, ' ')}`)
  }
  return `${lines.join('\n')}\n`
}

export function exampleEnv(): string {
  const variables = [...keys.values()].filter((key) => key.env !== null)
  const each = variables.map((key) => `\n# ${key.help}\n# ${key.env}=${textOf(key, '')}\n`)
  return `# Copy to .env, or set in the environment, which wins. What is not set has its default.\n${each.join('')}`
}

/** The table of README.md. */
export function variableTable(): string {
  const rows = [...keys.values()]
    .filter((key) => key.env !== null)
    .map((key) => {
      const fallback = textOf(key, '')
      return `| \`${key.env}\` | ${fallback === '' ? '' : `\`${fallback}\``} | ${key.help.replaceAll('|', '\\|')} |`
    })
  return ['| Variable | Default | What |', '|---|---|---|', ...rows].join('\n')
}

function textOf(key: ConfigKey<unknown>, before: string): string {
  const { fallback } = key
  if (key.secret || fallback === null) return ''
  if (typeof fallback === 'string') return before + fallback
  return before + (Array.isArray(fallback) && before === '' ? fallback.join(',') : JSON.stringify(fallback))
}
