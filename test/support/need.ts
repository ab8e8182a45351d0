/**
 * What a test needs beyond this repository. Where it is missing, the test is skipped by name, never passed:
 *
 *   const chromium = need('chromium')
 *   describe.skipIf(chromium === null)('the page', () => { launch(chromium!) … })
 *
 * The reporter (`reporter.ts`) counts these at the end of the run.
 */
import { spawnSync } from 'node:child_process'
import { accessSync, appendFileSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

export type Need = keyof typeof finders

const finders = {
  /** A browser: `CHROMIUM_PATH`, or the system's. */
  chromium: () => process.env.CHROMIUM_PATH ?? inPath(['chromium', 'chromium-browser', 'google-chrome']),
  prometheus: () => inPath(['prometheus']),
  /** Alertmanager's command line, of Debian's package prometheus-alertmanager. */
  amtool: () => inPath(['amtool']),
  /** `POSTGRES_URL` of a server whose databases may be made and dropped. */
  postgresql: () => process.env.POSTGRES_URL ?? null,
  /** A Node that is too old for the program, which has to find a newer one. */
  'old-node': () => nodes().find((path) => majorOf(path) < 24) ?? null,
  /** File permissions bind everybody but root. */
  'not-root': () => (process.getuid?.() === 0 ? null : 'not-root'),
  root: () => (process.getuid?.() === 0 ? 'root' : null),
} as const

/** Where it is, or null, which is noted for the end of the run. */
export function need(what: Need): string | null {
  const path = finders[what]()
  const notes = process.env.OM_TEST_NEEDS
  if (path === null && notes) appendFileSync(notes, `${what}\n`)
  return path
}

function inPath(names: readonly string[]): string | null {
  for (const name of names) {
    for (const folder of (process.env.PATH ?? '').split(delimiter)) {
      const path = join(folder, name)
      if (isProgram(path)) return path
    }
  }
  return null
}

function nodes(): string[] {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, 'node'))
    .filter(isProgram)
}

function majorOf(node: string): number {
  return Number(/^v(\d+)/.exec(spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout ?? '')?.[1] ?? 999)
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
