/**
 * Labels as the engine needs them: keys for grouping and matching, and the changes that operators make. Labels stay
 * sorted pairs (see `../labels.ts`); a key is a text in which no label can imitate another, since neither names nor
 * values hold a character past U+10FFFF's last surrogate (lone surrogates do not survive decoding).
 */
import type { Label, Labels } from '../labels.ts'
import { METRIC_NAME } from '../labels.ts'
import type { Dialect } from './context.ts'
import { quote } from './lex.ts'

/** A series as the engine passes it on. `dropName`: the name goes when the query ends (the rules of Prometheus 3). */
export interface Metric {
  readonly labels: Labels
  readonly dropName: boolean
}

const SEPARATOR = '\udfff'

export function keyOf(labels: Labels): string {
  let key = ''
  for (const [name, value] of labels) key += name + SEPARATOR + value + SEPARATOR
  return key
}

export function compareLabels(a: Labels, b: Labels): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const [nameA, valueA] = a[i]!
    const [nameB, valueB] = b[i]!
    if (nameA !== nameB) return nameA < nameB ? -1 : 1
    if (valueA !== valueB) return valueA < valueB ? -1 : 1
  }
  return a.length - b.length
}

/** Whether a label may be called so: letters, digits and _ by the rules of Prometheus 2, any UTF-8 by those of 3. */
export function isLabelName(dialect: Dialect, name: string): boolean {
  return dialect === 2 ? /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) : name !== '' && name.isWellFormed()
}

export function withoutName(labels: Labels): Labels {
  return labels.some(([name]) => name === METRIC_NAME) ? labels.filter(([name]) => name !== METRIC_NAME) : labels
}

const DESCRIBING: ReadonlySet<string> = new Set([METRIC_NAME, '__type__', '__unit__'])

/** Without what describes the metric: its name and, where they are stored as labels, its type and unit. */
export function withoutDescription(labels: Labels): Labels {
  return labels.some(([name]) => DESCRIBING.has(name)) ? labels.filter(([name]) => !DESCRIBING.has(name)) : labels
}

export function setLabel(labels: Labels, name: string, value: string): Labels {
  const rest = labels.filter(([known]) => known !== name)
  if (value === '') return rest
  const at = rest.findIndex(([known]) => known > name)
  const label: Label = [name, value]
  if (at < 0) return [...rest, label]
  return [...rest.slice(0, at), label, ...rest.slice(at)]
}

/** Picks the labels of a group: of `by`, or all but those of `without` and the name. */
export class Grouping {
  readonly #names: ReadonlySet<string>
  readonly #sorted: readonly string[]
  readonly #without: boolean

  constructor(names: readonly string[], without: boolean) {
    this.#sorted = [...new Set(names)].sort()
    this.#names = new Set(without ? [...names, METRIC_NAME] : names)
    this.#without = without
  }

  key(labels: Labels): string {
    if (!this.#without && this.#sorted.length === 0) return ''
    // One label: its value is the key as it is, made anew for no series.
    if (!this.#without && this.#sorted.length === 1) return labelValueOf(labels, this.#sorted[0]!)
    let key = ''
    if (this.#without) {
      for (const [name, value] of labels) if (!this.#names.has(name)) key += name + SEPARATOR + value + SEPARATOR
      return key
    }
    // Both lists are sorted: one walk.
    let at = 0
    for (const wanted of this.#sorted) {
      while (at < labels.length && labels[at]![0] < wanted) at++
      const found = labels[at]
      key += (found !== undefined && found[0] === wanted ? found[1] : '') + SEPARATOR
    }
    return key
  }

  labels(labels: Labels): Labels {
    return labels.filter(([name]) => this.#names.has(name) !== this.#without)
  }
}

/** As Prometheus prints labels in messages: `{__name__="up", job="a"}`. */
export function formatLabels(labels: Labels): string {
  return `{${labels.map(([name, value]) => `${/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? name : quote(name)}=${quote(value)}`).join(', ')}}`
}

/** As one writes a series: `up{job="a"}`. */
export function formatSeries(labels: Labels): string {
  const name = labels.find(([label]) => label === METRIC_NAME)?.[1] ?? ''
  const rest = withoutName(labels)
  const plain = /^[A-Za-z_:][A-Za-z0-9_:]*$/.test(name)
  if (name !== '' && !plain) {
    const inner = formatLabels(rest).slice(1, -1)
    return `{${quote(name)}${inner === '' ? '' : `, ${inner}`}}`
  }
  return rest.length === 0 && name !== '' ? name : name + formatLabels(rest)
}

/** The value of a label, '' when there is none. */
export function labelValueOf(labels: Labels, name: string): string {
  for (const label of labels) if (label[0] === name) return label[1]
  return ''
}
