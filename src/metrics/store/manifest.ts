/**
 * The manifest: which segments count, and how far the WAL is in them. One small file, replaced as a whole; its second
 * line is the checksum of the first. What a crash left beside it is thrown away: it is in the WAL still.
 */
import fs from 'node:fs'
import path from 'node:path'
import { crc32 } from 'node:zlib'
import { NewerFormatError } from './bytes.ts'
import { replaceFile } from './files.ts'
import type { SegmentInfo } from './segment.ts'

export const MANIFEST_VERSION = 1
const FILE = 'manifest.json'

export interface Manifest {
  readonly version: number
  /** All samples of the WAL up to this position are in the segments. */
  readonly flushed: number
  /** Number of the next segment file. */
  readonly next: number
  /** Good bytes of `series.dat`. */
  readonly seriesBytes: number
  /** Series ids below were given away, whatever became of them. */
  readonly seriesCount: number
  /** Some segment may hold series that were deleted. */
  readonly purge: boolean
  readonly segments: readonly SegmentInfo[]
}

export const emptyManifest: Manifest = {
  version: MANIFEST_VERSION,
  flushed: -1,
  next: 1,
  seriesBytes: 0,
  seriesCount: 0,
  purge: false,
  segments: [],
}

export const segmentName = (number: number): string => `${String(number).padStart(10, '0')}.seg`

export const segmentsDir = (dir: string): string => path.join(dir, 'segments')

export function writeManifest(dir: string, manifest: Manifest): void {
  const text = JSON.stringify(manifest)
  replaceFile(path.join(dir, FILE), `${text}\n${crc32(text).toString(16)}\n`)
}

/** Null when there is none, or it is damaged. Throws when a newer program wrote it. */
export function readManifest(dir: string): Manifest | null {
  let lines: string[]
  try {
    lines = fs.readFileSync(path.join(dir, FILE), 'utf8').split('\n')
  } catch {
    return null
  }
  const [text = '', crc] = lines
  if (crc32(text).toString(16) !== crc) return null
  const manifest = JSON.parse(text) as Manifest
  if (manifest.version > MANIFEST_VERSION) throw new NewerFormatError(path.join(dir, FILE), manifest.version)
  return manifest
}

/** What the segments themselves say, for when the manifest is lost: all that no other one replaces. */
export function rebuildManifest(segments: readonly SegmentInfo[]): Manifest {
  const replaced = new Set(segments.flatMap((segment) => segment.sources))
  const kept = segments.filter((segment) => !replaced.has(segment.file))
  return {
    version: MANIFEST_VERSION,
    flushed: Math.max(-1, ...segments.map((segment) => segment.flushed)),
    next: 1 + Math.max(0, ...segments.map((segment) => Number.parseInt(segment.file, 10))),
    seriesBytes: 0,
    seriesCount: 0,
    purge: true,
    segments: kept,
  }
}
