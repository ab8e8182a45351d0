/**
 * The folder `config/rules`: its `*.yaml` files are looked at every two seconds, checked whole, and applied together.
 *
 *   changed? ─▶ read, parse, check every expression ─▶ one transaction: new, changed and gone rules
 *
 * A file with a problem changes nothing: its rules stay as they were, the problem is logged and shown by `/health`. What
 * the API changes of a rule from a file holds until the file changes.
 */
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { Cancel, Scheduler } from '../../base/scheduler.ts'
import { SECOND } from '../../base/time.ts'
import { type FileProblem, type RuleFile, readRuleFile } from './prometheus.ts'
import type { RuleDraft } from './rules.ts'

export interface RuleFilesOptions {
  readonly dir: string
  readonly scheduler: Scheduler
  readonly log: Log
  /** Why an expression cannot be read; null when it can. */
  readonly checkExpr: (expr: string) => Promise<string | null>
  /** Ids of rules that do not come from files, which a file may not take. */
  readonly taken: () => readonly string[]
  /**
   * Makes the rules of files these, all or none; `kept` are the ids of files that could not be read, `given` is to be
   * remembered with them.
   */
  readonly apply: (drafts: readonly RuleDraft[], kept: ReadonlySet<string>, given: string) => void
  /** What was remembered; null: nothing yet. */
  readonly given: () => string | null
}

const LOOK_MS = 2 * SECOND
const FILES_MAX = 200
const BYTES_MAX = 4 << 20

export class RuleFiles {
  readonly #options: RuleFilesOptions
  readonly #timer: Cancel
  #fingerprint = ''
  #problems: readonly FileProblem[] = []
  /** Ids that each file gave when it could last be read. */
  readonly #given: Map<string, readonly string[]>

  constructor(options: RuleFilesOptions) {
    this.#options = options
    this.#given = new Map(JSON.parse(options.given() ?? '[]') as [string, string[]][])
    this.#timer = options.scheduler.every(LOOK_MS, () => this.look())
  }

  stop(): void {
    this.#timer.cancel()
  }

  /** What is wrong with the files as they are. */
  get problems(): readonly FileProblem[] {
    return this.#problems
  }

  /** Looks at the folder; reads and applies it when something changed. */
  async look(): Promise<void> {
    const { log } = this.#options
    const files = await this.#list()
    const fingerprint = JSON.stringify(files)
    if (fingerprint === this.#fingerprint) return
    try {
      await this.#read(files.map(([file]) => file))
      this.#fingerprint = fingerprint
    } catch (error) {
      const problem = { where: 'config/rules', message: messageOf(error) }
      if (JSON.stringify(this.#problems) !== JSON.stringify([problem])) {
        log.error('Rules of files could not be applied; tried again.', { why: problem.message })
      }
      this.#problems = [problem]
    }
  }

  /** Name, size and time of change of each file. */
  async #list(): Promise<[file: string, size: number, changed: number][]> {
    const { dir } = this.#options
    const names = await readdir(dir).catch(() => [] as string[])
    const files = names.filter((name) => /^[^.].*\.ya?ml$/.test(name)).sort()
    return Promise.all(
      files.slice(0, FILES_MAX).map(async (file): Promise<[string, number, number]> => {
        const found = await stat(join(dir, file)).catch(() => null)
        return [file, found?.size ?? -1, found?.mtimeMs ?? -1]
      }),
    )
  }

  async #read(files: readonly string[]): Promise<void> {
    const { dir, log, taken, apply } = this.#options
    const ids = new Set(taken())
    const drafts: RuleDraft[] = []
    const kept = new Set<string>()
    const problems: FileProblem[] = []
    const given = new Map<string, readonly string[]>()
    // The parser costs memory: it comes with the first file.
    const yaml = files.length > 0 ? await import('yaml') : null
    for (const file of files) {
      const read = await this.#parse(join(dir, file), file, ids, (text) => yaml!.parse(text, { uniqueKeys: true }))
      problems.push(...read.problems)
      if (read.recording.length > 0) {
        log.info('Recording rules are not run; they are left out.', { file, rules: read.recording.length })
      }
      if (read.problems.length > 0) {
        const before = this.#given.get(file) ?? []
        for (const id of before) kept.add(id)
        given.set(file, before)
        for (const { where, message: why } of read.problems) log.warn('A rule file is not applied.', { where, why })
      } else {
        drafts.push(...read.drafts)
        given.set(
          file,
          read.drafts.map((draft) => draft.id),
        )
      }
    }
    apply(
      drafts.filter((draft) => !kept.has(draft.id)),
      kept,
      JSON.stringify([...given]),
    )
    this.#given.clear()
    for (const [file, list] of given) this.#given.set(file, list)
    this.#problems = problems
    if (files.length > 0) log.info('Rules of files are applied.', { files: files.length, rules: drafts.length })
  }

  async #parse(path: string, file: string, ids: Set<string>, parse: (text: string) => unknown): Promise<RuleFile> {
    try {
      const text = await readFile(path, 'utf8')
      if (text.length > BYTES_MAX) throw new Error('the file is too large')
      const read = readRuleFile(file, parse(text), ids)
      const problems = [...read.problems]
      for (const draft of read.drafts) {
        if (draft.source?.kind !== 'expr') continue
        const problem = await this.#options.checkExpr(draft.source.expr)
        if (problem !== null) problems.push({ where: `${file}: ${draft.name}: expr`, message: problem })
      }
      return { ...read, problems }
    } catch (error) {
      return { drafts: [], recording: [], problems: [{ where: file, message: messageOf(error) }] }
    }
  }
}
