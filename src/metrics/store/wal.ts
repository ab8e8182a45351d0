/**
 * The write-ahead log: files `wal/0000000000000001.wal` (named by the position of their first record), each
 *
 *   header (see files.ts)                    then records, one behind the other:
 *   mark u32  length u32  crc32 u32  type u32  position f64  payload …      (crc32 of all behind itself)
 *
 * Positions go up by one a record. `append` hands the record to the operating system, `sync` to the disk. A record
 * that is cut off at the very end was never answered and is cut away; damage before good records is set aside
 * (`*.damaged`), reported, and the good ones count.
 */
import fs from 'node:fs'
import path from 'node:path'
import { crc32 } from 'node:zlib'
import type { ByteWriter } from './bytes.ts'
import { checkHeader, fileHeader, fsyncDirectory, HEADER_BYTES } from './files.ts'

const MAGIC = 'OMWAL\0\0\0'
export const WAL_VERSION = 1
const MARK = 0x4c41574f
export const RECORD_HEADER = 24
const FILE_BYTES_MAX = 64 << 20

export const RECORD = { batch: 1, delete: 2 } as const

interface WalFile {
  readonly path: string
  readonly first: number
  bytes: number
}

export interface WalDamage {
  readonly file: string
  readonly at: number
  readonly bytes: number
}

export class Wal {
  readonly #dir: string
  #files: WalFile[] = []
  #fd = -1
  #dirty = false
  /** Position that the next record gets. */
  next: number

  /** `next` and the files come from `replay`. */
  constructor(dir: string, next: number, files: readonly WalFile[]) {
    this.#dir = dir
    this.next = next
    this.#files = [...files]
  }

  get bytes(): number {
    let sum = 0
    for (const file of this.#files) sum += file.bytes
    return sum
  }

  /** The oldest position that is kept. */
  get oldest(): number {
    return this.#files[0]?.first ?? this.next
  }

  /**
   * Writes a record whose payload stands in `record` behind `RECORD_HEADER` free bytes. Throws what the system says;
   * then nothing of it remains.
   */
  append(type: number, record: ByteWriter): number {
    if (this.#fd < 0 || this.#files.at(-1)!.bytes >= FILE_BYTES_MAX) this.rotate()
    const file = this.#files.at(-1)!
    const bytes = record.done()
    const view = new DataView(bytes.buffer, bytes.byteOffset)
    view.setUint32(0, MARK, true)
    view.setUint32(4, bytes.length - RECORD_HEADER, true)
    view.setUint32(12, type, true)
    view.setFloat64(16, this.next, true)
    view.setUint32(8, crc32(bytes.subarray(12)), true)
    this.#dirty = true
    try {
      let done = 0
      while (done < bytes.length) done += fs.writeSync(this.#fd, bytes, done, bytes.length - done, file.bytes + done)
    } catch (error) {
      try {
        fs.ftruncateSync(this.#fd, file.bytes)
      } catch {
        // A torn record at the end is cut away at the next start as well.
        this.#close()
      }
      throw error
    }
    file.bytes += bytes.length
    return this.next++
  }

  /** Makes all records durable. When the disk fails, the file is left behind and a new one begins with the next record. */
  sync(): void {
    if (!this.#dirty || this.#fd < 0) return
    fs.fdatasyncSync(this.#fd)
    this.#dirty = false
  }

  get dirty(): boolean {
    return this.#dirty
  }

  /** Begins a new file. */
  rotate(): void {
    this.sync()
    this.#close()
    const file = {
      path: path.join(this.#dir, `${String(this.next).padStart(16, '0')}.wal`),
      first: this.next,
      bytes: 0,
    }
    if (this.#files.at(-1)?.first === this.next) this.#files.pop() // an empty one: written anew
    const fd = fs.openSync(file.path, 'w')
    try {
      fs.writeSync(fd, fileHeader(MAGIC, WAL_VERSION), 0, HEADER_BYTES, 0)
      fs.fsyncSync(fd)
      fsyncDirectory(this.#dir)
    } catch (error) {
      fs.closeSync(fd)
      fs.rmSync(file.path, { force: true })
      throw error
    }
    file.bytes = HEADER_BYTES
    this.#fd = fd
    this.#files.push(file)
  }

  /** Removes files that hold no position above `position`. */
  truncate(position: number): void {
    while (this.#files.length > 1 && this.#files[1]!.first <= position + 1) {
      fs.rmSync(this.#files.shift()!.path, { force: true })
    }
    const last = this.#files[0]
    if (this.#files.length === 1 && last && this.#fd < 0 && this.next <= position + 1) {
      fs.rmSync(last.path, { force: true })
      this.#files = []
    }
  }

  /** Syncs and closes. With `empty`, a file without records is removed. */
  close(): void {
    if (this.#fd >= 0) this.sync()
    this.#close()
    const last = this.#files.at(-1)
    if (last && last.bytes <= HEADER_BYTES) {
      fs.rmSync(last.path, { force: true })
      this.#files.pop()
    }
  }

  #close(): void {
    if (this.#fd >= 0) fs.closeSync(this.#fd)
    this.#fd = -1
    this.#dirty = false
  }
}

export interface Replayed {
  readonly next: number
  readonly files: WalFile[]
  readonly damage: WalDamage[]
}

/**
 * Reads all records in order. `onRecord` gets type, position and payload (a view, good during the call); what it
 * throws counts as damage of that record. With `repair` a torn end is cut off and damaged files are copied aside.
 */
export function replayWal(
  dir: string,
  repair: boolean,
  onRecord: (type: number, position: number, payload: Uint8Array) => void,
): Replayed {
  const names = fs.existsSync(dir) ? fs.readdirSync(dir).filter((name) => /^\d{16}\.wal$/.test(name)) : []
  const files: WalFile[] = []
  const damage: WalDamage[] = []
  let next = 0
  names.sort()
  for (const [index, name] of names.entries()) {
    const file = path.join(dir, name)
    const bytes = fs.readFileSync(file)
    const last = index === names.length - 1
    next = Math.max(next, Number(name.slice(0, 16)))
    const bad: WalDamage[] = []
    let at = HEADER_BYTES
    if (!checkHeader(bytes, MAGIC, WAL_VERSION, file) && !(last && bytes.length < HEADER_BYTES)) {
      bad.push({ file: name, at: 0, bytes: Math.min(bytes.length, HEADER_BYTES) })
    }
    while (at < bytes.length) {
      const size = goodRecord(bytes, at)
      if (size > 0) {
        const position = bytes.readDoubleLE(at + 16)
        try {
          onRecord(bytes.readUInt32LE(at + 12), position, bytes.subarray(at + RECORD_HEADER, at + size))
        } catch {
          bad.push({ file: name, at, bytes: size })
        }
        next = Math.max(next, position + 1)
        at += size
        continue
      }
      let good = at + 1
      while (good < bytes.length) {
        good = bytes.indexOf(MARK_BYTES, good)
        if (good < 0) good = bytes.length
        else if (goodRecord(bytes, good) > 0) break
        else good++
      }
      if (good >= bytes.length && last) break // the torn end of what was never answered
      bad.push({ file: name, at, bytes: good - at })
      at = good
    }
    if (repair && bad.length > 0) fs.copyFileSync(file, `${file}.damaged`)
    if (repair && at < bytes.length) fs.truncateSync(file, Math.max(at, 0))
    damage.push(...bad)
    files.push({ path: file, first: Number(name.slice(0, 16)), bytes: Math.min(at, bytes.length) })
  }
  return { next, files, damage }
}

const MARK_BYTES = Buffer.from(Uint32Array.of(MARK).buffer)

/** Size of the record at `at` with its header, 0 when there is no good one. */
function goodRecord(bytes: Buffer, at: number): number {
  if (at + RECORD_HEADER > bytes.length || bytes.readUInt32LE(at) !== MARK) return 0
  const size = RECORD_HEADER + bytes.readUInt32LE(at + 4)
  if (at + size > bytes.length) return 0
  return crc32(bytes.subarray(at + 12, at + size)) === bytes.readUInt32LE(at + 8) ? size : 0
}
