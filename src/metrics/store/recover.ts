/**
 * What a start finds on disk, put in order: the manifest and the segments it names, the series, the claims. What a
 * crash left half-made is removed (the WAL still has it); what is damaged is set aside as `*.damaged` and reported.
 */
import fs from 'node:fs'
import path from 'node:path'
import { messageOf } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import { NewerFormatError } from './bytes.ts'
import type { Manifest } from './manifest.ts'
import { emptyManifest, readManifest, rebuildManifest, segmentsDir, writeManifest } from './manifest.ts'
import type { Claim } from './record.ts'
import type { SegmentInfo } from './segment.ts'
import { Segment, SegmentCache } from './segment.ts'
import { readSeriesFile } from './series-file.ts'

export interface FoundFiles {
  readonly manifest: Manifest
  /** Ids below are used up. */
  readonly seriesCount: number
  /** Ids below stand in `series.dat`; 0: it has to be written anew. */
  readonly seriesSaved: number
  readonly claims: readonly Claim[]
  /** Files that were damaged. */
  readonly damaged: number
}

/** `onSeries` is called by ascending id. With `repair` false nothing on disk is changed. */
export function openFiles(
  dir: string,
  log: Log,
  onSeries: (id: number, labels: Uint8Array) => void,
  repair = true,
): FoundFiles {
  let damaged = 0
  const where = segmentsDir(dir)
  const names = fs.existsSync(where) ? fs.readdirSync(where) : []
  const known = readManifest(dir)
  const wanted = new Set(known?.segments.map((segment) => segment.file) ?? [])
  const found: SegmentInfo[] = []
  const cache = new SegmentCache(1 << 20)
  for (const file of wanted) {
    if (names.includes(file)) continue
    damaged++
    log.error('A segment is missing.', { file })
  }
  for (const file of names) {
    const full = path.join(where, file)
    if (!file.endsWith('.seg') || (known && !wanted.has(file))) {
      // Half-written, or not in the manifest: either not yet in it, or merged into another.
      if (repair && !file.endsWith('.damaged')) fs.rmSync(full, { force: true })
      continue
    }
    try {
      const segment = Segment.open(where, file, cache)
      found.push(segment.info)
      segment.close()
    } catch (error) {
      if (error instanceof NewerFormatError) throw error
      damaged++
      log.error('A segment cannot be read; it was set aside.', { file, error: messageOf(error) })
      if (repair) fs.renameSync(full, `${full}.damaged`)
    }
  }
  let manifest: Manifest
  if (known) {
    const good = new Set(found.map((segment) => segment.file))
    manifest = { ...known, segments: known.segments.filter((segment) => good.has(segment.file)) }
  } else {
    manifest = found.length > 0 ? rebuildManifest(found) : emptyManifest
    if (found.length > 0) {
      damaged++
      log.error('The manifest was missing or damaged; it was made again from the segments.', { segments: found.length })
    }
  }

  const series = readSeries(dir, manifest, log, onSeries)
  if (series.damaged) damaged++
  manifest = { ...manifest, seriesBytes: series.bytes }
  if (repair && damaged > 0) {
    if (series.damaged && fs.existsSync(path.join(dir, 'series.dat'))) {
      fs.copyFileSync(path.join(dir, 'series.dat'), path.join(dir, 'series.dat.damaged'))
    }
    writeManifest(dir, manifest)
  }
  return {
    manifest,
    seriesCount: series.count,
    seriesSaved: series.damaged ? 0 : series.count,
    claims: readClaims(dir),
    damaged,
  }
}

function readSeries(
  dir: string,
  manifest: Manifest,
  log: Log,
  onSeries: (id: number, labels: Uint8Array) => void,
): { count: number; bytes: number; damaged: boolean } {
  const file = readSeriesFile(dir)
  let count = manifest.seriesCount
  const lost =
    file.damaged > 0 || file.bytes < manifest.seriesBytes || (file.bytes === 0 && manifest.segments.length > 0)
  if (!lost) {
    file.each((id, labels, deleted) => {
      count = Math.max(count, id + 1)
      if (!deleted) onSeries(id, labels)
    })
    return { count, bytes: file.bytes, damaged: false }
  }
  // Every segment knows the labels of its series.
  const known = new Map<number, Uint8Array | null>()
  file.each((id, labels, deleted) => known.set(id, deleted ? null : labels))
  const cache = new SegmentCache(1 << 20)
  for (const { file } of manifest.segments) {
    const segment = Segment.open(segmentsDir(dir), file, cache)
    for (const { id, labels } of segment.labels()) if (!known.has(id)) known.set(id, labels)
    segment.close()
  }
  log.error('The list of series was damaged; it was made again from the segments.', { series: known.size })
  for (const id of [...known.keys()].sort((a, b) => a - b)) {
    count = Math.max(count, id + 1)
    const labels = known.get(id)
    if (labels) onSeries(id, labels)
  }
  return { count, bytes: 0, damaged: true }
}

function readClaims(dir: string): Claim[] {
  try {
    return JSON.parse(fs.readFileSync(path.join(dir, 'claims.json'), 'utf8')) as Claim[]
  } catch {
    return []
  }
}
