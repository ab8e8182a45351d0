/** A progress bar on a terminal; a line now and then elsewhere. Always on stderr: stdout may be the result. */
import { SECOND } from '../base/time.ts'
import { commandScheduler } from './client.ts'

export interface Progress {
  /** `done` of `total` (null: unknown), and what to say of it. */
  show(done: number, total: number | null, words: string): void
  /** Ends the line. */
  end(words: string): void
}

const WIDTH = 30

export function progress(stream: NodeJS.WriteStream = process.stderr): Progress {
  const { clock } = commandScheduler
  const every = stream.isTTY ? SECOND / 10 : 10 * SECOND
  let next = clock.monotonic() + (stream.isTTY ? 0 : every)
  const line = (text: string) => stream.write(stream.isTTY ? `\r${text}\u001b[K` : `${text}\n`)
  return {
    show(done, total, words) {
      if (clock.monotonic() < next) return
      next = clock.monotonic() + every
      const share = total ? Math.min(1, done / total) : 0
      const bar = '█'.repeat(Math.round(share * WIDTH)).padEnd(WIDTH, '░')
      line(total === null ? words : `${bar} ${(share * 100).toFixed(0).padStart(3)} %  ${words}`)
    },
    end(words) {
      line(words)
      if (stream.isTTY) stream.write('\n')
    },
  }
}

/** 1234567 → `1.2M`. */
export function short(n: number): string {
  if (n >= 1e9) return `${(n / 1e9).toFixed(1)}G`
  if (n >= 1e6) return `${(n / 1e6).toFixed(1)}M`
  return n >= 1e4 ? `${(n / 1e3).toFixed(0)}k` : String(n)
}
