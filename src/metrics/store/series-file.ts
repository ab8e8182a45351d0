/**
 * `series.dat`: which id is which series, in the order they were made, and which were deleted. Blocks are only ever
 * appended, before the manifest that needs them:
 *
 *   header (see files.ts)        then blocks: mark u32, type u32, bytes u32, crc32 of type and content u32, content in zstd
 *   type 1  series: id varint, length varint, label bytes …        type 2  deleted ids: varints of the gaps
 */
import fs from 'node:fs'
import path from 'node:path'
import { crc32, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { ByteReader, ByteWriter } from './bytes.ts'
import { checkHeader, fileHeader, fsyncDirectory, HEADER_BYTES } from './files.ts'

const FILE = 'series.dat'
const MAGIC = 'OMSER\0\0\0'
export const SERIES_VERSION = 1
const BLOCK_HEADER = 16
const MARK = 0x5245534f
const SERIES = 1
const DELETED = 2
const SERIES_A_BLOCK = 1024

export class SeriesFile {
  readonly #path: string
  #bytes: number

  constructor(dir: string, bytes: number) {
    this.#path = path.join(dir, FILE)
    this.#bytes = bytes
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Appends series [from, to) and deleted ids, durably. */
  async append(
    from: number,
    to: number,
    labelsOf: (id: number) => Uint8Array | null,
    deleted: readonly number[],
    pause: () => Promise<void>,
  ): Promise<void> {
    if (from === to && deleted.length === 0) return
    const fresh = this.#bytes < HEADER_BYTES
    const fd = fs.openSync(this.#path, fresh ? 'w' : 'r+')
    try {
      if (fresh) {
        fs.writeSync(fd, fileHeader(MAGIC, SERIES_VERSION), 0, HEADER_BYTES, 0)
        this.#bytes = HEADER_BYTES
      }
      let at = this.#bytes
      const content = new ByteWriter(1 << 18)
      const block = (type: number) => {
        const packed = zstdCompressSync(content.done())
        const head = new ByteWriter(BLOCK_HEADER)
        head.u32(MARK)
        head.u32(type)
        head.u32(packed.length)
        head.u32(crc32(packed, type))
        fs.writeSync(fd, Buffer.concat([head.done(), packed]), 0, BLOCK_HEADER + packed.length, at)
        at += BLOCK_HEADER + packed.length
        content.length = 0
      }
      for (let id = from; id < to; ) {
        for (const end = Math.min(to, id + SERIES_A_BLOCK); id < end; id++) {
          const labels = labelsOf(id)
          if (!labels) continue
          content.varint(id)
          content.varint(labels.length)
          content.raw(labels)
        }
        if (content.length > 0) block(SERIES)
        await pause()
      }
      if (deleted.length > 0) {
        let last = 0
        for (const id of [...deleted].sort((a, b) => a - b)) {
          content.varint(id - last)
          last = id
        }
        block(DELETED)
      }
      fs.ftruncateSync(fd, at)
      fs.fsyncSync(fd)
      if (fresh) fsyncDirectory(path.dirname(this.#path))
      this.#bytes = at
    } finally {
      fs.closeSync(fd)
    }
  }
}

export interface SeriesFileContent {
  /** Length of the good part. */
  readonly bytes: number
  /** Places where blocks are damaged. */
  readonly damaged: number
  /** Tells every series, ids ascending. */
  each(onSeries: (id: number, labels: Uint8Array, deleted: boolean) => void): void
}

/** Reads the file; damaged blocks are counted and left out. */
export function readSeriesFile(dir: string): SeriesFileContent {
  const file = path.join(dir, FILE)
  const nothing = { bytes: 0, damaged: 0, each: () => {} }
  if (!fs.existsSync(file)) return nothing
  const bytes = fs.readFileSync(file)
  if (!checkHeader(bytes, MAGIC, SERIES_VERSION, file)) return { ...nothing, damaged: 1 }
  const blocks: { type: number; at: number; end: number }[] = []
  let damaged = 0
  let end = HEADER_BYTES
  for (let at = HEADER_BYTES; at >= 0 && at < bytes.length; ) {
    const size = goodBlock(bytes, at)
    if (size === 0) {
      at = bytes.indexOf(MARK & 255, at + 1)
      continue
    }
    if (at > end) damaged++
    blocks.push({ type: bytes.readUInt32LE(at + 4), at: at + BLOCK_HEADER, end: at + size })
    at += size
    end = at
  }
  const content = (block: { at: number; end: number }) =>
    new ByteReader(zstdDecompressSync(bytes.subarray(block.at, block.end)))
  return {
    bytes: end,
    damaged,
    each(onSeries) {
      const deleted = new Set<number>()
      for (const block of blocks) {
        if (block.type !== DELETED) continue
        const reader = content(block)
        for (let id = 0; reader.left > 0; ) {
          id += reader.varint()
          deleted.add(id)
        }
      }
      for (const block of blocks) {
        if (block.type !== SERIES) continue
        const reader = content(block)
        while (reader.left > 0) {
          const id = reader.varint()
          onSeries(id, reader.raw(reader.varint()), deleted.has(id))
        }
      }
    },
  }
}

function goodBlock(bytes: Buffer, at: number): number {
  if (at + BLOCK_HEADER > bytes.length || bytes.readUInt32LE(at) !== MARK) return 0
  const size = BLOCK_HEADER + bytes.readUInt32LE(at + 8)
  if (at + size > bytes.length) return 0
  const crc = crc32(bytes.subarray(at + BLOCK_HEADER, at + size), bytes.readUInt32LE(at + 4))
  return crc === bytes.readUInt32LE(at + 12) ? size : 0
}
