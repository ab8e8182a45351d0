/** "Did you mean": the known word that is nearest to what somebody wrote, by edits of one letter. */

/** Null when nothing is near: more than `editsMax` letters differ, or a third of them. */
export function nearest(word: string, known: Iterable<string>, editsMax = Number.POSITIVE_INFINITY): string | null {
  if (word.length > 100) return null
  let best: string | null = null
  let bestDistance = Math.min(editsMax, Math.floor(word.length / 3)) + 1
  for (const candidate of known) {
    const distance = edits(word.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** Levenshtein's distance, one row at a time. */
function edits(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replace = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, replace))
    }
    row = next
  }
  return row[b.length]!
}
