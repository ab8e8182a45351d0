/**
 * What selectors matched, for as long as no series came and none went: a dashboard asks the same again and again. The
 * same selection is the same array, so that a caller can keep what it made of one beside it, by identity.
 */
import type { Matcher, SeriesColumns } from '../metrics.ts'

/** Series of all selections that are kept; a larger one is not. */
const SERIES_MAX = 50_000
const SELECTIONS_MAX = 256

interface Selection {
  /** The store's counters when it was made. */
  readonly series: number
  readonly deleted: number
  readonly found: readonly SeriesColumns[]
}

export class Selections {
  /** Oldest use first. */
  readonly #known = new Map<string, Selection>()
  #held = 0

  /** `series`, `deleted`: the store's counters now. */
  find(matchers: readonly Matcher[], series: number, deleted: number): readonly SeriesColumns[] | null {
    const key = keyOf(matchers)
    const known = this.#known.get(key)
    if (!known) return null
    this.#drop(key, known)
    if (known.series !== series || known.deleted !== deleted) return null
    this.#add(key, known)
    return known.found
  }

  keep(matchers: readonly Matcher[], series: number, deleted: number, found: readonly SeriesColumns[]): void {
    if (found.length > SERIES_MAX) return
    this.#add(keyOf(matchers), { series, deleted, found })
    for (const [key, oldest] of this.#known) {
      if (this.#held <= SERIES_MAX && this.#known.size <= SELECTIONS_MAX) return
      this.#drop(key, oldest)
    }
  }

  #add(key: string, selection: Selection): void {
    this.#known.set(key, selection)
    this.#held += selection.found.length
  }

  #drop(key: string, selection: Selection): void {
    this.#known.delete(key)
    this.#held -= selection.found.length
  }
}

const keyOf = (matchers: readonly Matcher[]): string =>
  JSON.stringify(matchers.map(({ name, op, value }) => [name, op, value]))
