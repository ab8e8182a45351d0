/** Output of commands. */

/** A line for the person, or for the program that reads. */
export function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

/** Rows in columns; the last column is as long as it is. */
export function table(rows: readonly (readonly string[])[]): void {
  for (const line of columns(rows)) say(line)
}

/** The lines of such a table. */
export function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)))
  return rows.map((row) => row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i]!))).join('  '))
}
