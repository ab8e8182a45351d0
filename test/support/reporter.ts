/** The end of a test run: what was missing on this machine, and as the very last line how many passed and failed. */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Reporter, TestModule } from 'vitest/node'

const folder = '.tmp'
const notes = join(folder, `needs-${process.pid}`)

export default class Summary implements Reporter {
  onInit() {
    mkdirSync(folder, { recursive: true })
    rmSync(notes, { force: true })
    process.env.OM_TEST_NEEDS = join(process.cwd(), notes)
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]) {
    const count = { passed: 0, failed: unhandled.length, skipped: 0 }
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const { state } = test.result()
        count[state === 'pending' ? 'failed' : state]++
        if (test.diagnostic()?.flaky) process.stdout.write(`passed only when run again: ${test.fullName}\n`)
      }
      // A file that could not be loaded has no tests that could fail.
      count.failed += module.errors().length
    }
    const missing = new Map<string, number>()
    if (existsSync(notes)) {
      for (const what of readFileSync(notes, 'utf8').trim().split('\n')) missing.set(what, (missing.get(what) ?? 0) + 1)
      rmSync(notes, { force: true })
    }
    for (const [what, files] of missing) {
      process.stdout.write(`missing on this machine: ${what} (tests of ${files} files skipped)\n`)
    }
    process.stdout.write(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped\n`)
  }
}
