/**
 * What happens when the disk is full. A file of 64 MB, the ballast, lies there for that hour: it is released, so that
 * alerts, outbox and checkpoints in other files can still commit, and samples are refused until there is room again
 * and the ballast is back.
 *
 *   taking ──a write found no room, or little is left──▶ full (ballast released) ──room for ballast and more──▶ taking
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import type { Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'

/** On a small file system ballast and reserve are at most an eighth and a sixteenth of it, else it could never recover. */
export interface DiskOptions {
  readonly ballastBytes: number
  /** Less room than this counts as full. */
  readonly reserveBytes: number
  /** The ballast is made when the store has been open so long: short runs need none. */
  readonly ballastAfterMs: number
}

export const diskDefaults: DiskOptions = { ballastBytes: 64 << 20, reserveBytes: 32 << 20, ballastAfterMs: 30_000 }

/** The ballast grows by so many pieces of this size at a time. */
const PIECE = 1 << 20
const PIECES = 4

export class Disk {
  readonly #dir: string
  readonly #file: string
  readonly #options: DiskOptions
  readonly #log: Log
  readonly #clock: Clock
  readonly #openedAt: number
  /** Samples are refused. */
  full = false
  #ballast: number

  constructor(dir: string, options: DiskOptions, clock: Clock, log: Log) {
    this.#dir = dir
    this.#file = path.join(dir, 'ballast.tmp')
    this.#options = options
    this.#log = log
    this.#clock = clock
    this.#openedAt = clock.monotonic()
    this.#ballast = fs.existsSync(this.#file) ? fs.statSync(this.#file).size : 0
  }

  /** Free bytes for this process. */
  free(): number {
    const { bavail, bsize } = fs.statfsSync(this.#dir)
    return bavail * bsize
  }

  /** Tells what a write threw; true when it was for want of room. */
  failed(error: unknown): boolean {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOSPC' && code !== 'EDQUOT') return false
    this.#becomeFull()
    return true
  }

  /** Called every second: notices a full disk before a write does, keeps the ballast, and ends the refusal. */
  look(): void {
    const { bavail, blocks, bsize } = fs.statfsSync(this.#dir)
    const free = bavail * bsize
    const ballastBytes = Math.min(this.#options.ballastBytes, Math.floor((blocks * bsize) / 8))
    const reserveBytes = Math.min(this.#options.reserveBytes, Math.floor((blocks * bsize) / 16))
    const missing = ballastBytes - this.#ballast
    const young = this.#clock.monotonic() - this.#openedAt < this.#options.ballastAfterMs
    if (free < reserveBytes) this.#becomeFull()
    else if (missing > 0 && free > missing + 2 * reserveBytes && (this.full || !young)) this.#grow(missing)
    if (this.full && this.#ballast >= ballastBytes) {
      this.full = false
      this.#log.info('There is room on the disk again; samples are taken.')
    }
  }

  /** At a clean stop the ballast is not needed. */
  release(): void {
    fs.rmSync(this.#file, { force: true })
    this.#ballast = 0
  }

  #becomeFull(): void {
    if (!this.full) this.#log.error('The disk is full: samples are refused, reading goes on.', { directory: this.#dir })
    this.full = true
    this.release()
  }

  #grow(missing: number): void {
    try {
      const fd = fs.openSync(this.#file, this.#ballast === 0 ? 'w' : 'r+')
      try {
        // Noise, since file systems that compress would store zeros in no room.
        const piece = randomBytes(Math.min(PIECE, missing))
        for (let i = 0; i < PIECES && missing > 0; i++) {
          const written = fs.writeSync(fd, piece, 0, Math.min(piece.length, missing), this.#ballast)
          this.#ballast += written
          missing -= written
        }
        fs.fdatasyncSync(fd)
      } finally {
        fs.closeSync(fd)
      }
    } catch (error) {
      if (!this.failed(error)) throw error
    }
  }
}
