/**
 * A copy of the store that is whole, taken from beside while it runs, or while nobody does. It needs no help of the
 * writer, because of what the files promise: segments never change and the manifest names them; the WAL and
 * `series.dat` only grow, and a record cut off at the end is cut away when it is read.
 *
 *   WAL ─▶ manifest ─▶ what stands beside it ─▶ its segments (hard links where possible)
 *             └─────── again, when one was merged away meanwhile ──────┘
 *
 * The order makes it whole: what the WAL lost to a flush before it was copied is in the segments of a manifest that is
 * read after it.
 */
import fs from 'node:fs'
import { copyFile, link, mkdir, readdir, readFile, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { fsyncDirectory, replaceFile } from './files.ts'
import { readManifest, segmentsDir } from './manifest.ts'

export interface CopyOptions {
  /** Copies segments even where they could be linked. */
  readonly copies: boolean
  onProgress(doneBytes: number, totalBytes: number): void
}

/** Segments are merged every few minutes: nobody meets this. */
const ATTEMPTS = 100

/**
 * Copies the store in `from` to `to`, which may hold the beginning of an earlier attempt. Answers the bytes of the
 * copy. Throws an Error when the disk refuses.
 */
export async function copyStore(from: string, to: string, options: CopyOptions): Promise<number> {
  await mkdir(segmentsDir(to), { recursive: true, mode: 0o700 })
  const walBytes = await copyWal(path.join(from, 'wal'), path.join(to, 'wal'))
  for (let attempt = 1; ; attempt++) {
    const copied = await copySegments(from, to, walBytes, options)
    if (copied !== null) {
      for (const dir of [to, segmentsDir(to), path.join(to, 'wal')]) fsyncDirectory(dir)
      return copied
    }
    if (attempt === ATTEMPTS) throw new Error(`${from} changes too fast to be copied; try again`)
  }
}

async function copyWal(from: string, to: string): Promise<number> {
  await rm(to, { recursive: true, force: true })
  await mkdir(to, { mode: 0o700 })
  let bytes = 0
  for (const name of (await readdir(from)).filter((file) => file.endsWith('.wal')).sort()) {
    // What is gone meanwhile is in segments.
    if (await ifThere(durableCopy(path.join(from, name), path.join(to, name)))) {
      bytes += (await stat(path.join(to, name))).size
    }
  }
  return bytes
}

/** The manifest that is there now, what stands beside it, and its segments. Null when one of those went away. */
async function copySegments(from: string, to: string, done: number, options: CopyOptions): Promise<number | null> {
  const manifest = await ifThere(readFile(path.join(from, 'manifest.json'), 'utf8'))
  if (typeof manifest === 'string') replaceFile(path.join(to, 'manifest.json'), manifest)
  else await rm(path.join(to, 'manifest.json'), { force: true })
  const wanted = new Set(readManifest(to)?.segments.map((segment) => segment.file))
  for (const file of await readdir(segmentsDir(to))) {
    if (!wanted.has(file)) await rm(path.join(segmentsDir(to), file))
  }
  const sizes = new Map<string, number>()
  for (const file of wanted) {
    const found = await ifThere(stat(path.join(segmentsDir(from), file)))
    if (typeof found === 'boolean') return null
    sizes.set(file, found.size)
  }
  let bytes = done
  const total = [...sizes.values()].reduce((sum, size) => sum + size, bytes)
  for (const entry of await readdir(from, { withFileTypes: true })) {
    if (!entry.isFile() || entry.name === 'manifest.json' || /\.(tmp|damaged)$/.test(entry.name)) continue
    await durableCopy(path.join(from, entry.name), path.join(to, entry.name))
    bytes += (await stat(path.join(to, entry.name))).size
  }
  for (const [file, size] of sizes) {
    const [source, target] = [path.join(segmentsDir(from), file), path.join(segmentsDir(to), file)]
    if (!(await ifThere(linkOrCopy(source, target, size, options.copies)))) return null
    bytes += size
    options.onProgress(bytes, total)
  }
  return bytes
}

/** The value (`true` where there is none), or `false` when a file is not there. */
async function ifThere<T>(work: Promise<T>): Promise<T | true | false> {
  try {
    return (await work) ?? true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

async function linkOrCopy(from: string, to: string, size: number, copies: boolean): Promise<void> {
  try {
    if ((await stat(to)).size === size) return // of an earlier attempt; segments never change
    await rm(to)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  if (!copies) {
    try {
      return await link(from, to)
    } catch (error) {
      // Another volume, or one without links.
      if (!['EXDEV', 'EPERM', 'ENOTSUP', 'EMLINK'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
    }
  }
  await durableCopy(from, to)
}

/** Appears under its name when it is whole and on the disk. */
export async function durableCopy(from: string, to: string): Promise<void> {
  const aside = `${to}.tmp`
  await copyFile(from, aside, fs.constants.COPYFILE_FICLONE)
  const fd = fs.openSync(aside, 'r+')
  try {
    fs.fsyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
  fs.renameSync(aside, to)
}
