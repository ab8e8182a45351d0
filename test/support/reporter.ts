/**
 * The end of a test run: what was missing on this machine, and as the very last line how many passed and failed.
 *
 * With `OM_TEST_FIRST=FILE` what became of each test file is written there; with `OM_TEST_AGAIN=FILE` this run is the
 * second one of the files that failed in the first: its outcome stands for theirs, and what passed only now is named
 * (`scripts/test.sh`).
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import type { Reporter, TestModule } from 'vitest/node'

const folder = '.tmp'
const notes = join(folder, `needs-${process.pid}`)

/** What became of the tests of one file. */
interface Outcome {
  passed: number
  skipped: number
  /** Names of the tests that failed; a file that could not be loaded fails by its own name. */
  failed: string[]
}
/** What became of a run: outcomes by path from the project's root, and errors that belong to no test. */
interface Outcomes {
  files: Record<string, Outcome>
  unhandled: number
}

export default class Summary implements Reporter {
  onInit() {
    mkdirSync(folder, { recursive: true })
    rmSync(notes, { force: true })
    process.env.OM_TEST_NEEDS = join(process.cwd(), notes)
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]) {
    const now: Outcomes = { files: {}, unhandled: unhandled.length }
    for (const module of modules) now.files[relative(process.cwd(), module.moduleId)] = outcomeOf(module)
    const { OM_TEST_FIRST: keep, OM_TEST_AGAIN: again } = process.env
    if (keep) writeFileSync(keep, JSON.stringify(now))
    const first: Outcomes = again ? JSON.parse(readFileSync(again, 'utf8')) : { files: {}, unhandled: 0 }
    for (const [file, { failed }] of Object.entries(first.files)) {
      for (const name of failed) {
        if (now.files[file]?.failed.length === 0) process.stdout.write(`passed only when run again: ${file}: ${name}\n`)
      }
    }
    tellMissing()
    const count = { passed: 0, failed: first.unhandled + now.unhandled, skipped: 0 }
    for (const { passed, failed, skipped } of Object.values({ ...first.files, ...now.files })) {
      count.passed += passed
      count.failed += failed.length
      count.skipped += skipped
    }
    process.stdout.write(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped\n`)
  }
}

function outcomeOf(module: TestModule): Outcome {
  const outcome: Outcome = { passed: 0, skipped: 0, failed: [] }
  for (const test of module.children.allTests()) {
    const { state } = test.result()
    if (state === 'passed' || state === 'skipped') outcome[state]++
    else outcome.failed.push(test.fullName)
  }
  // A hook that failed, or a file that could not be loaded, has no test that could fail.
  for (const { message } of module.errors()) outcome.failed.push(message.split('\n')[0]!)
  for (const suite of module.children.allSuites()) {
    for (const { message } of suite.errors()) outcome.failed.push(`${suite.fullName}: ${message.split('\n')[0]}`)
  }
  return outcome
}

function tellMissing() {
  const missing = new Map<string, number>()
  if (existsSync(notes)) {
    for (const what of readFileSync(notes, 'utf8').trim().split('\n')) missing.set(what, (missing.get(what) ?? 0) + 1)
    rmSync(notes, { force: true })
  }
  for (const [what, files] of missing) {
    process.stdout.write(`missing on this machine: ${what} (tests of ${files} files skipped)\n`)
  }
}
