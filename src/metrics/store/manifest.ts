/**
 * The manifest: which segments count, and how far the WAL is in them. One small file, replaced as a whole, with a
 * checksum in it. What a crash left beside it is thrown away: it is in the WAL still.
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
  replaceFile(path.join(dir, FILE), JSON.stringify({ crc32: checksum(manifest), manifest }))
}

const checksum = (manifest: Manifest): string => crc32(JSON.stringify(manifest)).toString(16)

/** Null when there is none, or it is damaged. Throws `NewerFormatError` when a newer program wrote it. */
export function readManifest(dir: string): Manifest | null {
  const file = path.join(dir, FILE)
  if (!fs.existsSync(file)) return null
  let manifest: Manifest
  try {
    const content = JSON.parse(fs.readFileSync(file, 'utf8')) as { crc32: string; manifest: Manifest }
    if (checksum(content.manifest) !== content.crc32) return null
    manifest = content.manifest
  } catch (error) {
    // Not JSON, or gone in this moment.
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
  if (manifest.version > MANIFEST_VERSION) throw new NewerFormatError(file, manifest.version)
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
