/** Lines out of a stream of text, however it was cut; a line longer than it may be is an error, not memory. */

/** `take` is given chunks of text; `line` gets each whole line without its newline, and may throw. */
export function lineReader(longest: number, line: (text: string) => void): (chunk: string) => void {
  let rest = ''
  return (chunk) => {
    let from = 0
    for (let end = chunk.indexOf('\n'); end >= 0; end = chunk.indexOf('\n', from)) {
      const text = rest === '' ? chunk.slice(from, end) : rest + chunk.slice(from, end)
      rest = ''
      from = end + 1
      if (text.length > longest) throw new Error('a line is too long')
      line(text)
    }
    rest += from === 0 ? chunk : chunk.slice(from)
    if (rest.length > longest) throw new Error('a line is too long')
  }
}
