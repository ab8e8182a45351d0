/**
 * `backup` and `restore` of the data directory. A backup is taken beside the running platform, without its help:
 *
 *   DIR/backup.json       what it is, and every file with its size
 *   DIR/*.db              databases, each as it was at one moment
 *   DIR/metrics/          the store: manifest, segments (hard links where possible), WAL
 *   DIR/secret.key        the key of stored secrets: keep the folder as safe as the data directory
 *
 * Databases come first: what they know of the WAL's position is in the store's copy, which is taken after them. Both
 * commands may be stopped and started again: what is whole is not copied twice.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { chmod, mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join, relative, resolve } from 'node:path'
import type { Command } from 'commander'
import { VERSION } from '../app/version.ts'
import { toIso } from '../base/time.ts'
import { loadConfig } from '../config/index.ts'
import { backupDatabase } from '../storage/backup.ts'
import { lockDirectory } from '../storage/lock.ts'
import { commandScheduler } from './client.ts'
import { progress, short } from './progress.ts'

export function backupCommands(program: Command): void {
  program
    .command('backup')
    .argument('<dir>', 'a folder that does not exist yet, or an unfinished backup')
    .description('copy the data directory, also while the platform runs')
    .option('--copy', 'copy segments of metrics even where they could be linked')
    .addHelpText(
      'after',
      `
On the volume of the data directory, segments of metrics are hard links: the backup takes little room and time, and
outlives a deletion, but not the disk. Copy the folder elsewhere, or take it onto another volume at once.
It holds the keys of the platform: keep it as safe as the data directory itself.

Example:
  $ opinion-market backup /mnt/backups/2026-01-31`,
    )
    .action((dir: string, options: { copy?: boolean }) => backup(resolve(dir), options.copy ?? false))

  program
    .command('restore')
    .argument('<dir>', 'a finished backup')
    .description('put a backup in the place of the data directory; the platform must not run')
    .option('--force', 'also where there are data: they are moved aside, not deleted')
    .action((dir: string, options: { force?: boolean }) => restore(resolve(dir), options.force ?? false))
}

interface BackupFile {
  readonly path: string
  readonly bytes: number
}
interface Description {
  readonly format: 1
  readonly made_at: string
  readonly version: string
  readonly files: readonly BackupFile[]
}

const DESCRIPTION = 'backup.json'
const UNFINISHED = 'backup.unfinished'

async function backup(dir: string, copies: boolean): Promise<void> {
  const { copyStore, durableCopy } = await import('../metrics/index.ts')
  const { dataDir } = loadConfig().current.values.platform
  if (!existsSync(join(dataDir, 'metrics'))) throw new Error(`${resolve(dataDir)} holds no data of the platform`)
  if (existsSync(dir) && !existsSync(join(dir, UNFINISHED)) && (await readdir(dir)).length > 0) {
    throw new Error(`${dir} is not empty: choose another folder`)
  }
  if (!relative(resolve(dataDir), dir).startsWith('..'))
    throw new Error('choose a folder outside of the data directory')
  await mkdir(dir, { recursive: true, mode: 0o700 })
  await chmod(dir, 0o700)
  writeFileSync(join(dir, UNFINISHED), '')
  await rm(join(dir, DESCRIPTION), { force: true })
  const madeAt = toIso(commandScheduler.clock.now())
  const bar = progress()

  const entries = (await readdir(dataDir, { withFileTypes: true })).filter(({ name }) => !TRANSIENT.test(name))
  for (const { name } of entries.filter((entry) => entry.name.endsWith('.db'))) {
    bar.show(0, null, name)
    await backupDatabase(join(dataDir, name), join(dir, name))
    await chmod(join(dir, name), 0o600)
  }
  for (const entry of entries) {
    if (!entry.isFile() || /\.db(-wal|-shm|-journal)?$/.test(entry.name)) continue
    await durableCopy(join(dataDir, entry.name), join(dir, entry.name))
    await chmod(join(dir, entry.name), 0o600)
  }
  await copyStore(join(dataDir, 'metrics'), join(dir, 'metrics'), {
    copies,
    onProgress: (done, total) => bar.show(done, total, `metrics: ${short(done)} of ${short(total)} bytes`),
  })

  const files = (await filesBelow(dir)).filter((file) => file.path !== UNFINISHED)
  const description: Description = { format: 1, made_at: madeAt, version: VERSION, files }
  writeFileSync(join(dir, `${DESCRIPTION}.tmp`), `${JSON.stringify(description, null, 1)}\n`)
  renameSync(join(dir, `${DESCRIPTION}.tmp`), join(dir, DESCRIPTION))
  await rm(join(dir, UNFINISHED))
  bar.end(`${files.length} files, ${short(bytesOf(files))} bytes in ${dir}.`)
}

async function restore(dir: string, force: boolean): Promise<void> {
  const dataDir = resolve(loadConfig().current.values.platform.dataDir)
  const { files, made_at } = readDescription(dir)
  for (const file of files) {
    const path = join(dir, file.path)
    if (!existsSync(path) || (await stat(path)).size !== file.bytes) {
      throw new Error(`${path} is missing or not whole: this backup cannot be restored`)
    }
  }
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  const lock = await lockDirectory(join(dataDir, 'control.lock'), commandScheduler, 0)
  try {
    const staged = join(dataDir, '.restoring')
    const present = (await readdir(dataDir)).filter((name) => !TRANSIENT.test(name))
    const moved = existsSync(join(staged, MOVED))
    if (present.length > 0 && !force && !moved) {
      throw new Error(`${dataDir} holds data (${present.slice(0, 3).join(', ')}, …); --force moves them aside`)
    }
    const bar = progress()
    const aside = join(dataDir, `.before-restore-${toIso(commandScheduler.clock.now()).replaceAll(':', '')}`)
    if (!moved) {
      await stage(dir, staged, files, bar)
      for (const name of present) {
        await mkdir(aside, { recursive: true, mode: 0o700 })
        await rename(join(dataDir, name), join(aside, name))
      }
      writeFileSync(join(staged, MOVED), '')
    }
    // From here on each step is one rename: started again, it goes on where it was.
    for (const name of await readdir(staged)) {
      if (name !== MOVED) await rename(join(staged, name), join(dataDir, name))
    }
    await rm(staged, { recursive: true })
    const kept = existsSync(aside) ? ` What was there is in ${aside}.` : ''
    bar.end(`The backup of ${made_at} is in place: ${files.length} files, ${short(bytesOf(files))} bytes.${kept}`)
  } finally {
    lock.release()
  }
}

/** Not data: locks, sockets, what an earlier restore left. */
const TRANSIENT = /^(control\.lock(-.*)?|owner(\..*)?|run|\.restoring|\.before-restore-.*)$/
const MOVED = '.moved'

async function stage(dir: string, staged: string, files: readonly BackupFile[], bar: ReturnType<typeof progress>) {
  const { durableCopy } = await import('../metrics/index.ts')
  const total = bytesOf(files)
  let done = 0
  for (const file of files) {
    const target = join(staged, file.path)
    await mkdir(dirname(target), { recursive: true, mode: 0o700 })
    if (!existsSync(target)) await durableCopy(join(dir, file.path), target)
    done += file.bytes
    bar.show(done, total, `${short(done)} of ${short(total)} bytes`)
  }
}

function readDescription(dir: string): Description {
  if (existsSync(join(dir, UNFINISHED))) throw new Error(`${dir} is an unfinished backup: run backup on it again`)
  let description: Description
  try {
    description = JSON.parse(readFileSync(join(dir, DESCRIPTION), 'utf8')) as Description
  } catch {
    throw new Error(`${dir} is not a backup: it has no readable ${DESCRIPTION}`)
  }
  if (description.format !== 1) throw new Error(`${dir} was made by a newer version of the platform`)
  return description
}

async function filesBelow(dir: string): Promise<BackupFile[]> {
  const files: BackupFile[] = []
  for (const entry of await readdir(dir, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    files.push({ path: relative(dir, path), bytes: (await stat(path)).size })
  }
  return files.sort((a, b) => (a.path < b.path ? -1 : 1))
}

const bytesOf = (files: readonly BackupFile[]) => files.reduce((sum, file) => sum + file.bytes, 0)
