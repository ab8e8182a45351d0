/**
 * What the watcher (pipeline thread) and the engine (main thread) say to each other over one MessagePort.
 *
 *   watcher ──{group}──▶ engine      what changed, in order; the engine commits it and answers {done}
 *   watcher ◀─{done}──── engine      all up to this group is durable
 *   watcher ◀─{rules, …}─ engine     what to watch from now on, and where its watches stand
 */

import type { Millis } from '../base/time.ts'
import type { Labels } from '../metrics/index.ts'
import type { Deed, Watch } from './alert.ts'
import type { Rule } from './rule.ts'

/** One watch that moved. */
export interface Change {
  readonly rule: string
  readonly version: number
  readonly labels: Labels
  readonly key: string
  /** Counts how often a person has set this watch; a change made from an earlier one does not count. */
  readonly generation: number
  readonly watch: Watch
  readonly deeds: readonly Deed[]
  /** Annotations of an alert that opens, where queries in them had to be answered first. */
  readonly annotations?: Readonly<Record<string, string>>
}

/** How an alert that fires stands, without having changed its state. */
export interface Figure {
  readonly alertId: string
  readonly value: number
  readonly peak: number
}

export interface Group {
  readonly kind: 'group'
  readonly seq: number
  /** All samples up to this position of the WAL are in it and the groups before. */
  readonly position: number
  readonly changes: readonly Change[]
  readonly figures: readonly Figure[]
}

export type FromWatcher =
  | Group
  /** The watcher is alive: wall time, and evaluations since its start. */
  | { readonly kind: 'alive'; readonly at: Millis; readonly evaluations: number; readonly watches: number }

/** A watch as ops.db holds it. */
export interface StoredWatch {
  readonly rule: string
  readonly key: string
  readonly labels: Labels
  readonly generation: number
  readonly watch: Watch
}

export type ToWatcher =
  | { readonly kind: 'done'; readonly seq: number }
  /** A new rule, or a new version; `watches` replaces all of its. Null: the rule is no more, or is off. */
  | { readonly kind: 'rule'; readonly id: string; readonly rule: Rule | null; readonly watches: readonly StoredWatch[] }
  /** A person has moved this watch. */
  | { readonly kind: 'watch'; readonly watch: StoredWatch }
  | { readonly kind: 'enabled'; readonly enabled: boolean }

/** With what the watcher starts: handed over before the WAL is replayed. */
export interface WatcherStart {
  /** Last position that ops.db covers; -1: none. */
  readonly position: number
  readonly rules: readonly Rule[]
  readonly watches: readonly StoredWatch[]
  readonly enabled: boolean
}
