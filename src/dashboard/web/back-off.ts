/** Waits between tries grow from one second to half a minute, each with its own chance, so that many do not come at once. */
export function backOff(attempt: number, chance: number): number {
  return Math.round(Math.min(30_000, 1000 * 2 ** Math.max(0, attempt - 1)) * (0.5 + 0.5 * chance))
}
