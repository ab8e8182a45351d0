/** Files that survive a crash whole: written aside, synced, renamed, the directory synced. */
import fs from 'node:fs'
import path from 'node:path'

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
