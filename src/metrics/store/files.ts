/**
 * Files that survive a crash whole: written aside, synced, renamed, the directory synced. And the header with which
 * each file of the store begins: 8 bytes of magic, version u32, crc32 u32 of both.
 */
import fs from 'node:fs'
import path from 'node:path'
import { crc32 } from 'node:zlib'
import { NewerFormatError } from './bytes.ts'

export const HEADER_BYTES = 16

/** `magic` has 8 characters. */
export function fileHeader(magic: string, version: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES)
  header.write(magic, 'latin1')
  header.writeUInt32LE(version, 8)
  header.writeUInt32LE(crc32(header.subarray(0, 12)), 12)
  return header
}

/** Whether `bytes` begin with such a header. Throws `NewerFormatError` when the version is above `version`. */
export function checkHeader(bytes: Uint8Array, magic: string, version: number, file: string): boolean {
  if (bytes.length < HEADER_BYTES) return false
  const header = Buffer.from(bytes.buffer, bytes.byteOffset, HEADER_BYTES)
  if (header.toString('latin1', 0, 8) !== magic || crc32(header.subarray(0, 12)) !== header.readUInt32LE(12))
    return false
  if (header.readUInt32LE(8) > version) throw new NewerFormatError(file, header.readUInt32LE(8))
  return true
}

export function fsyncDirectory(dir: string): void {
  const fd = fs.openSync(dir, 'r')
  try {
    fs.fsyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
}

/** Replaces `file` by `content`: after a crash it is the old one or the new one. */
export function replaceFile(file: string, content: string | Uint8Array): void {
  const aside = `${file}.tmp`
  const fd = fs.openSync(aside, 'w')
  try {
    fs.writeFileSync(fd, content)
    fs.fsyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
  fs.renameSync(aside, file)
  fsyncDirectory(path.dirname(file))
}

/** Bytes of all files below `dir`. */
export function bytesBelow(dir: string): number {
  let sum = 0
  for (const entry of fs.readdirSync(dir, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue
    try {
      sum += fs.statSync(path.join(entry.parentPath, entry.name)).size
    } catch {
      // gone meanwhile
    }
  }
  return sum
}
