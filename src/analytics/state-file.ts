/**
 * The file of the detector's state: what it has learnt of every series, and the WAL position up to which.
 *
 *   magic "OMDETECT" · format version u32 · length of the state u32 · position f64 · CRC-32 of the state u32 · zstd
 *
 * It is written beside the old one, synchronised, and put in its place in one step, so that position and state are
 * always of one moment.
 */
import { closeSync, existsSync, fdatasyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { constants, crc32, zstdCompressSync, zstdDecompressSync } from 'node:zlib'

export interface DetectorState {
  readonly position: number
  readonly state: Uint8Array
}

const MAGIC = 'OMDETECT'
const FORMAT = 1
const HEAD = 28

/** Null when there is none yet. Throws an Error that says what is wrong with the file. */
export function readState(path: string): DetectorState | null {
  if (!existsSync(path)) return null
  const bytes = readFileSync(path)
  if (bytes.length < HEAD || bytes.toString('latin1', 0, 8) !== MAGIC)
    throw new Error(`${path} is no state of detection`)
  const format = bytes.readUInt32LE(8)
  if (format !== FORMAT) throw new Error(`${path} has format ${format}, this version knows ${FORMAT}`)
  const packed = bytes.subarray(HEAD)
  if (crc32(packed) !== bytes.readUInt32LE(24)) throw new Error(`${path} is damaged: its checksum does not fit`)
  const state = zstdDecompressSync(packed, { maxOutputLength: bytes.readUInt32LE(12) + 1 })
  return { position: bytes.readDoubleLE(16), state }
}

export function writeState(path: string, position: number, state: Uint8Array): void {
  const packed = zstdCompressSync(state, { params: { [constants.ZSTD_c_compressionLevel]: 1 } })
  const head = Buffer.alloc(HEAD)
  head.write(MAGIC, 'latin1')
  head.writeUInt32LE(FORMAT, 8)
  head.writeUInt32LE(state.length, 12)
  head.writeDoubleLE(position, 16)
  head.writeUInt32LE(crc32(packed), 24)
  const file = openSync(`${path}.new`, 'w', 0o600)
  try {
    writeSync(file, head)
    for (let at = 0; at < packed.length; ) at += writeSync(file, packed, at)
    fdatasyncSync(file)
  } finally {
    closeSync(file)
  }
  renameSync(`${path}.new`, path)
}
