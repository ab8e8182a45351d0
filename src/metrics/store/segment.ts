/**
 * Segments: immutable files of chunks, self-contained (they hold the labels of their series).
 *
 *   header (see files.ts)
 *   chunks, series by id, each series by time       read in pages of 64 KiB, a crc32 for each page
 *   index blocks    zstd: 512 series each: id, chunks: (first time, span, bytes)
 *   label blocks    zstd: 1,024 series each: id, label bytes
 *   footer          zstd of JSON: what is where, with checksums, and what the file holds
 *   footer at f64, length u32, crc32 u32 of it, OMSEGEND
 *
 * A page with a wrong checksum loses its chunks alone; a file whose footer or index is damaged is set aside whole.
 * Roll-ups are segments of kind `rollup`: four chunks (min, max, sum, count) where a raw one has one.
 */
import fs from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { crc32, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import type { Millis } from '../../base/time.ts'
import { ByteReader, ByteWriter, FormatError } from './bytes.ts'
import { DECODE_SLACK } from './chunk.ts'
import { checkHeader, fileHeader, fsyncDirectory, HEADER_BYTES } from './files.ts'

const MAGIC = 'OMSEG\0\0\0'
const END_MAGIC = 'OMSEGEND'
export const SEGMENT_VERSION = 1
const TRAILER = 24
const PAGE = 65_536
const INDEX_SERIES = 512
const LABEL_SERIES = 1024
const fdatasync = promisify(fs.fdatasync)

/** What a segment is, as its footer and the manifest say. */
export interface SegmentInfo {
  readonly file: string
  readonly kind: 'raw' | 'rollup'
  /** Of a roll-up: width of its buckets. */
  readonly stepMs: number
  /** 0 from a flush, then one more each time it was merged. */
  readonly level: number
  readonly minTime: Millis
  readonly maxTime: Millis
  readonly samples: number
  readonly series: number
  readonly bytes: number
  /** All samples of the WAL up to this position are in this segment or an older one. */
  readonly flushed: number
  /** Files that this one replaces. */
  readonly sources: readonly string[]
}

interface Block {
  readonly firstId: number
  readonly lastId: number
  readonly at: number
  readonly bytes: number
  readonly crc: number
  /** Of an index block: where the chunks of its first series begin. */
  readonly dataAt: number
}

interface Footer extends Omit<SegmentInfo, 'file' | 'bytes'> {
  readonly dataEnd: number
  readonly pages: readonly number[]
  readonly index: readonly Block[]
  readonly labels: readonly Block[]
}

// --------------------------------------------------------------------------------------------------- writing

/** Writes one segment; series come by ascending id, the chunks of each by time. */
export class SegmentWriter {
  readonly #dir: string
  readonly #file: string
  readonly #fd: number
  readonly #page = new Uint8Array(PAGE)
  #inPage = 0
  #written = 0
  readonly #pages: number[] = []
  readonly #index: Block[] = []
  readonly #indexBytes: Uint8Array[] = []
  readonly #labels: Block[] = []
  readonly #labelBytes: Uint8Array[] = []
  readonly #entry = new ByteWriter(16_384)
  /** Chunks of the series in work. */
  readonly #places = new ByteWriter(4096)
  #seriesChunks = 0
  #id = 0
  readonly #label = new ByteWriter(65_536)
  #entrySeries = 0
  #entryFirst = 0
  #entryData = 0
  #labelSeries = 0
  #labelFirst = 0
  #lastId = -1
  #lastLabelId = -1
  #lastTime = 0
  minTime = Infinity
  maxTime = -Infinity
  samples = 0
  series = 0

  /** `file` is the name in `dir`; it gets that name only when it is whole. */
  constructor(dir: string, file: string) {
    this.#dir = dir
    this.#file = file
    this.#fd = fs.openSync(path.join(dir, `${file}.tmp`), 'w')
    this.#put(fileHeader(MAGIC, SEGMENT_VERSION), 0, HEADER_BYTES)
  }

  /** Bytes of chunks so far. */
  get bytes(): number {
    return this.#written + this.#inPage
  }

  beginSeries(id: number, labels: Uint8Array): void {
    if (this.#entrySeries === INDEX_SERIES) this.#endIndexBlock()
    if (this.#labelSeries === LABEL_SERIES) this.#endLabelBlock()
    if (this.#entrySeries === 0) {
      this.#entryFirst = id
      this.#entryData = this.bytes
      this.#lastId = id
      this.#lastTime = 0
    }
    if (this.#labelSeries++ === 0) {
      this.#labelFirst = id
      this.#lastLabelId = id
    }
    this.#label.varint(id - this.#lastLabelId)
    this.#label.varint(labels.length)
    this.#label.raw(labels)
    this.#lastLabelId = id
    this.#id = id
    this.#seriesChunks = 0
    this.#places.length = 0
  }

  /** One chunk of the series begun last. */
  addChunk(bytes: Uint8Array, at: number, length: number, count: number, first: Millis, last: Millis): void {
    this.#put(bytes, at, length)
    this.#places.signed(first - this.#lastTime)
    this.#places.varint(last - first)
    this.#places.varint(length)
    this.#lastTime = last
    this.#seriesChunks++
    this.samples += count
    if (first < this.minTime) this.minTime = first
    if (last > this.maxTime) this.maxTime = last
  }

  endSeries(): void {
    this.#entry.varint(this.#id - this.#lastId)
    this.#entry.varint(this.#seriesChunks)
    this.#entry.raw(this.#places.done())
    this.#lastId = this.#id
    this.#entrySeries++
    this.series++
  }

  /** Completes the file: synced, renamed, the directory synced. `pause` is called between pieces of work. */
  async finish(
    info: Pick<SegmentInfo, 'kind' | 'stepMs' | 'level' | 'flushed' | 'sources'>,
    pause: () => Promise<void> | undefined,
  ): Promise<SegmentInfo> {
    if (this.#entrySeries > 0) this.#endIndexBlock()
    if (this.#labelSeries > 0) this.#endLabelBlock()
    if (this.#inPage > 0) this.#endPage()
    const dataEnd = this.#written
    await pause()
    const place = (blocks: Block[], bytes: readonly Uint8Array[]) => {
      let at = this.#written
      this.#write(Buffer.concat(bytes))
      return blocks.map((block) => {
        const placed = { ...block, at }
        at += block.bytes
        return placed
      })
    }
    const index = place(this.#index, this.#indexBytes)
    await pause()
    const labels = place(this.#labels, this.#labelBytes)
    await pause()
    const { minTime, maxTime, samples, series } = this
    const footer: Footer = { ...info, minTime, maxTime, samples, series, dataEnd, pages: this.#pages, index, labels }
    const packed = zstdCompressSync(Buffer.from(JSON.stringify(footer)))
    const trailer = new ByteWriter(TRAILER)
    trailer.f64(this.#written)
    trailer.u32(packed.length)
    trailer.u32(crc32(packed))
    trailer.raw(Buffer.from(END_MAGIC, 'latin1'))
    this.#write(packed)
    this.#write(trailer.done())
    await fdatasync(this.#fd)
    fs.closeSync(this.#fd)
    fs.renameSync(path.join(this.#dir, `${this.#file}.tmp`), path.join(this.#dir, this.#file))
    fsyncDirectory(this.#dir)
    return { file: this.#file, ...info, minTime, maxTime, samples, series, bytes: this.#written }
  }

  /** Gives up: nothing of the file remains. */
  abandon(): void {
    fs.closeSync(this.#fd)
    fs.rmSync(path.join(this.#dir, `${this.#file}.tmp`), { force: true })
  }

  #put(bytes: Uint8Array, at: number, length: number): void {
    let done = 0
    while (done < length) {
      const part = Math.min(length - done, PAGE - this.#inPage)
      this.#page.set(bytes.subarray(at + done, at + done + part), this.#inPage)
      this.#inPage += part
      done += part
      if (this.#inPage === PAGE) this.#endPage()
    }
  }

  #endPage(): void {
    const bytes = this.#page.subarray(0, this.#inPage)
    this.#pages.push(crc32(bytes))
    this.#inPage = 0
    this.#write(bytes)
  }

  #write(bytes: Uint8Array): void {
    let done = 0
    while (done < bytes.length) done += fs.writeSync(this.#fd, bytes, done, bytes.length - done, this.#written + done)
    this.#written += bytes.length
  }

  #endIndexBlock(): void {
    const packed = zstdCompressSync(this.#entry.done())
    const block = { firstId: this.#entryFirst, lastId: this.#lastId, at: 0, bytes: packed.length, crc: crc32(packed) }
    this.#index.push({ ...block, dataAt: this.#entryData })
    this.#indexBytes.push(packed)
    this.#entry.length = 0
    this.#entrySeries = 0
  }

  #endLabelBlock(): void {
    const packed = zstdCompressSync(this.#label.done())
    const block = {
      firstId: this.#labelFirst,
      lastId: this.#lastLabelId,
      at: 0,
      bytes: packed.length,
      crc: crc32(packed),
    }
    this.#labels.push({ ...block, dataAt: 0 })
    this.#labelBytes.push(packed)
    this.#label.length = 0
    this.#labelSeries = 0
  }
}

// --------------------------------------------------------------------------------------------------- reading

/** A bounded store of pages and index blocks, shared by the segments that one thread reads. */
export class SegmentCache {
  readonly #bytesMax: number
  readonly #entries = new Map<number, { value: Uint8Array | IndexBlock; bytes: number }>()
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get(key: number): Uint8Array | IndexBlock | undefined {
    return this.#entries.get(key)?.value
  }

  put(key: number, value: Uint8Array | IndexBlock, bytes: number): void {
    this.#entries.set(key, { value, bytes })
    this.#bytes += bytes
    // The oldest go first; what is asked again comes back as the newest.
    for (const [old, entry] of this.#entries) {
      if (this.#bytes <= this.#bytesMax || old === key) break
      this.#entries.delete(old)
      this.#bytes -= entry.bytes
    }
  }
}

/** The parsed index of up to 512 series. Chunk c has bytes [at[c], at[c + 1]). */
interface IndexBlock {
  readonly ids: Uint32Array
  readonly chunkStart: Uint32Array
  readonly first: Float64Array
  readonly last: Float64Array
  readonly at: Float64Array
}

/** Called for each chunk that overlaps, by time; `bytes` reach `DECODE_SLACK` beyond it. */
export type OnChunk = (bytes: Uint8Array, at: number, length: number, first: Millis, last: Millis) => void

let segmentNumber = 0

export class Segment {
  readonly info: SegmentInfo
  readonly #footer: Footer
  readonly #cache: SegmentCache
  readonly #fd: number
  /** Keys in the cache: number · 2^24 + page, or + 2^23 + index block. */
  readonly #key = ++segmentNumber * 2 ** 24
  readonly #damagedPages = new Set<number>()
  readonly #crossing = new Uint8Array(PAGE)
  #lastBlock = 0
  #lastEntry = 0
  onDamage: (what: string) => void = () => {}

  private constructor(info: SegmentInfo, footer: Footer, fd: number, cache: SegmentCache) {
    this.info = info
    this.#footer = footer
    this.#fd = fd
    this.#cache = cache
  }

  /** Throws `FormatError` when the file is no whole segment, and what the system says when it cannot be read. */
  static open(dir: string, file: string, cache: SegmentCache): Segment {
    const fd = fs.openSync(path.join(dir, file), 'r')
    try {
      const { size } = fs.fstatSync(fd)
      if (size < HEADER_BYTES + TRAILER) throw new FormatError('segment: too short')
      const head = readAt(fd, 0, HEADER_BYTES)
      const tail = new ByteReader(readAt(fd, size - TRAILER, TRAILER))
      const at = tail.f64()
      const length = tail.u32()
      const crc = tail.u32()
      if (
        !checkHeader(head, MAGIC, SEGMENT_VERSION, file) ||
        Buffer.from(tail.raw(8)).toString('latin1') !== END_MAGIC
      ) {
        throw new FormatError('segment: no such file')
      }
      if (!(at >= HEADER_BYTES && at + length + TRAILER === size)) throw new FormatError('segment: footer out of place')
      const packed = readAt(fd, at, length)
      if (crc32(packed) !== crc) throw new FormatError('segment: footer damaged')
      const footer = JSON.parse(zstdDecompressSync(packed).toString()) as Footer
      const { kind, stepMs, level, minTime, maxTime, samples, series, flushed, sources } = footer
      const info = { file, kind, stepMs, level, minTime, maxTime, samples, series, bytes: size, flushed, sources }
      return new Segment(info, footer, fd, cache)
    } catch (error) {
      fs.closeSync(fd)
      throw error instanceof SyntaxError || error instanceof TypeError
        ? new FormatError('segment: footer damaged')
        : error
    }
  }

  close(): void {
    fs.closeSync(this.#fd)
  }

  /** Time of the newest sample of a series here; -Infinity when it has none. */
  newest(id: number): Millis {
    const block = this.#indexFor(id)
    const entry = block ? this.#entryOf(block, id) : -1
    let newest = Number.NEGATIVE_INFINITY
    if (entry < 0) return newest
    for (let c = block!.chunkStart[entry]!; c < block!.chunkStart[entry + 1]!; c++) {
      if (block!.last[c]! > newest) newest = block!.last[c]!
    }
    return newest
  }

  /** Calls `onChunk` for the chunks of a series that overlap [from, to]; damaged pages are left out and reported. */
  read(id: number, from: Millis, to: Millis, onChunk: OnChunk): void {
    if (this.info.minTime > to || this.info.maxTime < from) return
    const block = this.#indexFor(id)
    if (!block) return
    const entry = this.#entryOf(block, id)
    if (entry < 0) return
    const end = block.chunkStart[entry + 1]!
    for (let c = block.chunkStart[entry]!; c < end; c++) {
      if (block.last[c]! < from || block.first[c]! > to) continue
      try {
        this.#chunk(block.at[c]!, block.at[c + 1]! - block.at[c]!, block.first[c]!, block.last[c]!, onChunk)
      } catch (error) {
        if (!(error instanceof FormatError || error instanceof RangeError)) throw error
        this.onDamage(`a chunk at ${block.at[c]}`)
      }
    }
  }

  /** All series ids, ascending. */
  *ids(): Generator<number> {
    for (let i = 0; i < this.#footer.index.length; i++) {
      const block = this.#block(i)
      if (block) yield* block.ids
    }
  }

  /** The labels of all series, for repairs. */
  *labels(): Generator<{ id: number; labels: Uint8Array }> {
    for (const block of this.#footer.labels) {
      const packed = readAt(this.#fd, block.at, block.bytes)
      if (crc32(packed) !== block.crc) {
        this.onDamage('a block of labels')
        continue
      }
      const reader = new ByteReader(zstdDecompressSync(packed))
      let id = block.firstId
      while (reader.left > 0) {
        id += reader.varint()
        yield { id, labels: reader.raw(reader.varint()) }
      }
    }
  }

  #chunk(at: number, length: number, first: Millis, last: Millis, onChunk: OnChunk): void {
    const page = Math.floor(at / PAGE)
    const start = at - page * PAGE
    const bytes = this.#page(page)
    if (!bytes) return
    if (start + length <= PAGE) {
      onChunk(bytes, start, length, first, last)
      return
    }
    if (length + DECODE_SLACK > PAGE) throw new FormatError('segment: chunk too long')
    let done = PAGE - start
    this.#crossing.set(bytes.subarray(start, PAGE), 0)
    const rest = this.#page(page + 1)
    if (!rest) return
    this.#crossing.set(rest.subarray(0, length - done), done)
    done = length
    this.#crossing.fill(0, done, done + DECODE_SLACK)
    onChunk(this.#crossing, 0, length, first, last)
  }

  #page(page: number): Uint8Array | null {
    const known = this.#cache.get(this.#key + page)
    if (known) return known as Uint8Array
    if (this.#damagedPages.has(page)) return null
    const length = Math.min(PAGE, this.#footer.dataEnd - page * PAGE)
    const bytes = new Uint8Array(PAGE + DECODE_SLACK)
    const crc = this.#footer.pages[page]
    if (crc === undefined || length <= 0) throw new FormatError('segment: chunk out of place')
    const read = fs.readSync(this.#fd, bytes, 0, length, page * PAGE)
    if (read !== length || crc32(bytes.subarray(0, length)) !== crc) {
      this.#damagedPages.add(page)
      this.onDamage(`page ${page}`)
      return null
    }
    this.#cache.put(this.#key + page, bytes, bytes.length + 200)
    return bytes
  }

  #indexFor(id: number): IndexBlock | null {
    const { index } = this.#footer
    let i = this.#lastBlock
    if (i >= index.length || id < index[i]!.firstId || id > index[i]!.lastId) {
      let low = 0
      let high = index.length - 1
      i = -1
      while (low <= high) {
        const middle = (low + high) >> 1
        if (id < index[middle]!.firstId) high = middle - 1
        else if (id > index[middle]!.lastId) low = middle + 1
        else {
          i = middle
          break
        }
      }
      if (i < 0) return null
      this.#lastBlock = i
    }
    return this.#block(i)
  }

  #block(i: number): IndexBlock | null {
    const key = this.#key + 2 ** 23 + i
    const known = this.#cache.get(key)
    if (known) return known as IndexBlock
    if (this.#damagedPages.has(-1 - i)) return null
    const place = this.#footer.index[i]!
    const packed = readAt(this.#fd, place.at, place.bytes)
    if (crc32(packed) !== place.crc) {
      this.#damagedPages.add(-1 - i)
      this.onDamage(`index block ${i}`)
      return null
    }
    const block = parseIndex(zstdDecompressSync(packed), place)
    this.#cache.put(key, block, 400 + block.ids.length * 8 + block.first.length * 24)
    return block
  }

  /** Place of a series in a block, -1 when it is not there. */
  #entryOf(block: IndexBlock, id: number): number {
    const { ids } = block
    const next = this.#lastEntry + 1 // readers go through series in order
    if (ids[next] === id) {
      this.#lastEntry = next
      return next
    }
    let low = 0
    let high = ids.length - 1
    while (low <= high) {
      const middle = (low + high) >> 1
      const found = ids[middle]!
      if (found === id) {
        this.#lastEntry = middle
        return middle
      }
      if (found < id) low = middle + 1
      else high = middle - 1
    }
    return -1
  }
}

function parseIndex(bytes: Uint8Array, place: Block): IndexBlock {
  const reader = new ByteReader(bytes)
  const ids: number[] = []
  const chunkStart: number[] = [0]
  const first: number[] = []
  const last: number[] = []
  const at: number[] = [place.dataAt]
  let id = place.firstId
  let time = 0
  while (reader.left > 0) {
    id += reader.varint()
    ids.push(id)
    for (let n = reader.varint(); n > 0; n--) {
      const start = time + reader.signed()
      time = start + reader.varint()
      first.push(start)
      last.push(time)
      at.push(at.at(-1)! + reader.varint())
    }
    chunkStart.push(first.length)
  }
  return {
    ids: Uint32Array.from(ids),
    chunkStart: Uint32Array.from(chunkStart),
    first: Float64Array.from(first),
    last: Float64Array.from(last),
    at: Float64Array.from(at),
  }
}

function readAt(fd: number, at: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let done = 0
  while (done < length) {
    const read = fs.readSync(fd, bytes, done, length - done, at + done)
    if (read === 0) throw new FormatError('segment: ends too early')
    done += read
  }
  return bytes
}
