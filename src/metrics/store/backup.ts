/**
 * A copy of the store that is whole, taken from beside while it runs, or while nobody does. It needs no help of the
 * writer, because of what the files promise: segments never change and the manifest names them; the WAL and
 * `series.dat` only grow, and a record cut off at the end is cut away when it is read.
 *
 *   manifest ─▶ its segments (hard links where possible) ─▶ the growing files ─▶ the same manifest still? done
 *                                                                              └ another: a flush came in between, again
 */
import fs from 'node:fs'
import { copyFile, link, mkdir, readdir, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { fsyncDirectory, replaceFile } from './files.ts'
import { readManifest, segmentsDir } from './manifest.ts'

export interface CopyOptions {
  /** Copies segments even where they could be linked. */
  readonly copies: boolean
  onProgress(doneBytes: number, totalBytes: number): void
}

const ATTEMPTS = 50

/**
 * Copies the store in `from` to `to`, which may hold the beginning of an earlier attempt. Answers the bytes of the
 * copy. Throws an Error when flushes keep coming in between, or the disk refuses.
 */
export async function copyStore(from: string, to: string, options: CopyOptions): Promise<number> {
  await mkdir(segmentsDir(to), { recursive: true, mode: 0o700 })
  for (let attempt = 1; ; attempt++) {
    const before = manifestText(from)
    if (await copyOnce(from, to, options)) {
      if (manifestText(from) === before) {
        if (before !== null) replaceFile(path.join(to, 'manifest.json'), before)
        for (const dir of [to, segmentsDir(to), path.join(to, 'wal')]) fsyncDirectory(dir)
        return bytesOf(to)
      }
    }
    if (attempt === ATTEMPTS) throw new Error(`${from} changes too fast to be copied; try again`)
  }
}

/** False when a file went away meanwhile. */
async function copyOnce(from: string, to: string, options: CopyOptions): Promise<boolean> {
  try {
    const manifest = readManifest(from)
    const wanted = new Set(manifest?.segments.map((segment) => segment.file))
    for (const file of await readdir(segmentsDir(to))) {
      if (!wanted.has(file)) await rm(path.join(segmentsDir(to), file))
    }
    const growing = await growingFiles(from)
    const sizes = await Promise.all([...wanted].map(async (f) => (await stat(path.join(segmentsDir(from), f))).size))
    const grown = await Promise.all(growing.map(async (file) => (await stat(path.join(from, file))).size))
    const total = [...sizes, ...grown].reduce((sum, size) => sum + size, 0)
    let done = 0
    for (const [i, file] of [...wanted].entries()) {
      await linkOrCopy(path.join(segmentsDir(from), file), path.join(segmentsDir(to), file), sizes[i]!, options.copies)
      done += sizes[i]!
      options.onProgress(done, total)
    }
    await rm(path.join(to, 'wal'), { recursive: true, force: true })
    await mkdir(path.join(to, 'wal'), { mode: 0o700 })
    for (const [i, file] of growing.entries()) {
      await durableCopy(path.join(from, file), path.join(to, file))
      done += grown[i]!
      options.onProgress(done, total)
    }
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

const manifestText = (dir: string): string | null => {
  try {
    return fs.readFileSync(path.join(dir, 'manifest.json'), 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

/** The WAL, oldest first, and what else stands beside the manifest. */
async function growingFiles(dir: string): Promise<string[]> {
  const beside = (await readdir(dir, { withFileTypes: true }))
    .filter((entry) => entry.isFile() && entry.name !== 'manifest.json' && !/\.(tmp|damaged)$/.test(entry.name))
    .map((entry) => entry.name)
  const wal = (await readdir(path.join(dir, 'wal'))).filter((name) => name.endsWith('.wal')).sort()
  return [...beside, ...wal.map((name) => path.join('wal', name))]
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

async function bytesOf(dir: string): Promise<number> {
  let sum = 0
  for (const entry of await readdir(dir, { withFileTypes: true, recursive: true })) {
    if (entry.isFile()) sum += (await stat(path.join(entry.parentPath, entry.name))).size
  }
  return sum
}
