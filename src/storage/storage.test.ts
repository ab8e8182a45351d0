/** Databases on a real disk, opened by real processes: versions, transactions, keys, locks. */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { AppError } from '../base/errors.ts'
import { systemScheduler } from '../base/scheduler.ts'
import { DAY } from '../base/time.ts'
import { audit, auditRows, auditTable } from './audit.ts'
import { openDatabase, tx } from './database.ts'
import { idempotencyTable, once, onceLong, type Running } from './idempotency.ts'
import { lockDirectory } from './lock.ts'
import { openSecretBox, secretBox } from './secrets.ts'

const dir = mkdtempSync(join(tmpdir(), 'om-storage-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
let files = 0
const path = () => join(dir, `${++files}.db`)
const thrown = (work: () => unknown) => {
  try {
    work()
  } catch (error) {
    return error as AppError
  }
  throw new Error('nothing was thrown')
}
/** Runs a script in a process of its own, with `modules` imported from this folder. */
const script = (code: string) => ['--input-type=module', '-e', code]
const here = (name: string) => JSON.stringify(new URL(name, import.meta.url).href)

describe('migrations', () => {
  const first = 'CREATE TABLE a (x INTEGER) STRICT'
  test('run once each, in order, and bring an old file forward', () => {
    const at = path()
    openDatabase(at, { synchronous: 'FULL', migrations: [first] }).close()
    const second = 'ALTER TABLE a ADD COLUMN y INTEGER; INSERT INTO a VALUES (1, 2)'
    const db = openDatabase(at, { synchronous: 'FULL', migrations: [first, second] })
    expect(db.prepare('SELECT * FROM a').all()).toEqual([{ x: 1, y: 2 }])
    expect(db.pragma('user_version', { simple: true })).toBe(2)
    expect(db.pragma('journal_mode', { simple: true })).toBe('wal')
    db.close()
  })
  test('one that fails leaves the file as it was', () => {
    const at = path()
    const broken = 'CREATE TABLE b (x INTEGER) STRICT; INSERT INTO nowhere VALUES (1)'
    expect(() => openDatabase(at, { synchronous: 'FULL', migrations: [first, broken] })).toThrow('nowhere')
    const db = openDatabase(at, { synchronous: 'FULL', migrations: [first] })
    expect(db.prepare("SELECT name FROM sqlite_schema WHERE name = 'b'").all()).toEqual([])
    db.close()
  })
  test('a file of a newer version is refused in a sentence', () => {
    const at = path()
    openDatabase(at, { synchronous: 'FULL', migrations: [first, 'SELECT 1'] }).close()
    expect(() => openDatabase(at, { synchronous: 'FULL', migrations: [first] })).toThrow(
      /has format 2, this version of Opinion Market knows formats up to 1: start the newer version/,
    )
  })
  test('what is no database is refused, and not touched', () => {
    const at = path()
    writeFileSync(at, 'x'.repeat(5000))
    expect(() => openDatabase(at, { synchronous: 'FULL', migrations: [first] })).toThrow('is not a database')
    expect(readFileSync(at, 'utf8')).toBe('x'.repeat(5000))
  })
  test('several processes may open a new file at the same moment', async () => {
    const at = path()
    const code = `import { openDatabase } from ${here('./database.ts')}
      const migrations = Array.from({ length: 20 }, (_, i) => 'CREATE TABLE t' + i + ' (x INTEGER) STRICT')
      openDatabase(${JSON.stringify(at)}, { synchronous: 'FULL', migrations }).close()`
    const codes = await Promise.all(
      [1, 2, 3].map(
        () => new Promise((done) => spawn(process.execPath, script(code), { stdio: 'inherit' }).on('exit', done)),
      ),
    )
    expect(codes).toEqual([0, 0, 0])
  })
})

describe('transactions', () => {
  test('what throws is rolled back, and an inner one is part of the outer', () => {
    const db = openDatabase(path(), { synchronous: 'FULL', migrations: ['CREATE TABLE a (x INTEGER) STRICT'] })
    const insert = (x: number) => db.prepare('INSERT INTO a VALUES (?)').run(x)
    const count = () => (db.prepare('SELECT count(*) AS n FROM a').get() as { n: number }).n
    expect(() =>
      tx(db, () => {
        tx(db, () => insert(1))
        throw new Error('no')
      }),
    ).toThrow('no')
    expect(count()).toBe(0)
    expect(tx(db, () => insert(2).changes)).toBe(1)
    expect(count()).toBe(1)
    db.close()
  })
  test('a file that stays locked is 503, to be tried again', () => {
    const at = path()
    const options = { synchronous: 'FULL', migrations: ['CREATE TABLE a (x INTEGER) STRICT'] } as const
    const one = openDatabase(at, options)
    const two = openDatabase(at, { ...options, busyTimeoutMs: 50 })
    one.exec('BEGIN IMMEDIATE')
    const error = thrown(() => tx(two, () => two.exec('INSERT INTO a VALUES (1)')))
    expect([error.status, error.code]).toEqual([503, 'store_busy'])
    expect(error.message).not.toContain('SQLITE')
    one.exec('COMMIT')
    one.close()
    two.close()
  })
})

describe('idempotency', () => {
  const migrations = [idempotencyTable, 'CREATE TABLE effects (n INTEGER) STRICT']
  const claim = { key: 'k', principalId: 'p', fingerprint: 'f' }
  const setUp = () => {
    const db = openDatabase(path(), { synchronous: 'FULL', migrations })
    let n = 0
    const effect = () => {
      db.prepare('INSERT INTO effects VALUES (?)').run(++n)
      return { n }
    }
    const effects = () => (db.prepare('SELECT count(*) AS n FROM effects').get() as { n: number }).n
    return { db, effect, effects }
  }
  test('the same key gives the first answer, another body a 409, another principal its own', () => {
    const { db, effect, effects } = setUp()
    expect(once(db, claim, 0, effect)).toEqual({ n: 1 })
    expect(once(db, claim, 1000, effect)).toEqual({ n: 1 })
    expect(thrown(() => once(db, { ...claim, fingerprint: 'g' }, 1000, effect)).status).toBe(409)
    expect(once(db, { ...claim, principalId: 'q' }, 1000, effect)).toEqual({ n: 2 })
    expect(effects()).toBe(2)
    expect(once(db, null, 1000, effect)).toEqual({ n: 3 })
  })
  test('an effect that takes long is one, also while it is under way; one that fails leaves the key free', async () => {
    const { db } = setUp()
    const running: Running<number> = new Map()
    let runs = 0
    let end = () => {}
    const effect = async () => {
      runs++
      await new Promise<void>((done) => {
        end = done
      })
      return runs
    }
    const ask = (of = claim as typeof claim | null, work = effect) => onceLong(running, db, of, { now: () => 0 }, work)
    const [first, second] = [ask(), ask()]
    await expect(ask({ ...claim, fingerprint: 'g' })).rejects.toMatchObject({ status: 409 })
    end()
    expect([await first, await second, await ask(), runs, running.size]).toEqual([1, 1, 1, 1, 0])
    await expect(ask({ ...claim, fingerprint: 'g' })).rejects.toMatchObject({ status: 409 })
    const other = { ...claim, key: 'other' }
    await expect(ask(other, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
    expect(await ask(other, async () => 7)).toBe(7)
    expect(await ask(null, async () => 8)).toBe(8)
  })
  test('lasts 24 hours, and is cleaned up then', () => {
    const { db, effect } = setUp()
    for (let i = 0; i < 50; i++) once(db, { ...claim, key: `old ${i}` }, i, effect)
    expect(once(db, { ...claim, key: 'old 49' }, DAY + 49, effect)).toEqual({ n: 50 })
    expect(once(db, { ...claim, key: 'old 48' }, DAY + 49, effect)).toEqual({ n: 51 })
    for (let i = 0; i < 10; i++) once(db, { ...claim, key: `new ${i}` }, 2 * DAY, effect)
    expect((db.prepare('SELECT count(*) AS n FROM idempotency').get() as { n: number }).n).toBeLessThan(15)
  })
  test('an effect that fails leaves the key free', () => {
    const { db, effect, effects } = setUp()
    const fails = () => {
      effect()
      throw new Error('no')
    }
    expect(() => once(db, claim, 0, fails)).toThrow('no')
    expect(effects()).toBe(0)
    expect(once(db, claim, 0, effect)).toEqual({ n: 2 })
  })
  test('an answer that shows a secret is stored sealed', () => {
    const { db } = setUp()
    const box = secretBox(Buffer.alloc(32, 1))
    expect(once(db, claim, 0, () => ({ token: 'MARKER' }), box)).toEqual({ token: 'MARKER' })
    expect(JSON.stringify(db.prepare('SELECT * FROM idempotency').all())).not.toContain('MARKER')
    expect(once(db, claim, 0, () => ({ token: 'other' }), box)).toEqual({ token: 'MARKER' })
  })
  test('effect and answer are there together or not at all, when the process dies', () => {
    const at = path()
    openDatabase(at, { synchronous: 'FULL', migrations }).close()
    const run = (die: string) =>
      spawnSync(
        process.execPath,
        script(`import { openDatabase } from ${here('./database.ts')}
          import { once } from ${here('./idempotency.ts')}
          const db = openDatabase(${JSON.stringify(at)}, { synchronous: 'FULL', migrations: ${JSON.stringify(migrations)} })
          const answer = once(db, ${JSON.stringify(claim)}, 0, () => {
            db.exec('INSERT INTO effects VALUES (' + process.pid + ')')
            if ('${die}' === 'inside') process.kill(process.pid, 'SIGKILL')
            return { pid: process.pid }
          })
          if ('${die}' === 'after') process.kill(process.pid, 'SIGKILL')
          console.log(JSON.stringify(answer))`),
      )
    expect(run('inside').signal).toBe('SIGKILL')
    expect(run('after').signal).toBe('SIGKILL')
    const { pid } = JSON.parse(run('not').stdout.toString())
    const db = openDatabase(at, { synchronous: 'FULL', migrations })
    expect(db.prepare('SELECT * FROM effects').all()).toEqual([{ n: pid }])
    db.close()
  })
})

describe('secrets', () => {
  test('open where they were sealed, and nowhere else', () => {
    const box = secretBox(Buffer.alloc(32, 1))
    const sealed = box.seal('geheim ☂', 'config/a')
    expect(box.open(sealed, 'config/a')).toBe('geheim ☂')
    expect(box.seal('geheim ☂', 'config/a')).not.toBe(sealed)
    expect(() => box.open(sealed, 'config/b')).toThrow('config/b is damaged')
    expect(() => secretBox(Buffer.alloc(32, 2)).open(sealed, 'config/a')).toThrow('another key')
    for (const bad of ['', 'v1', 'v1..', 'v2.a.b', `${sealed}A`, sealed.slice(0, -2)]) {
      expect(() => box.open(bad, 'config/a')).toThrow('damaged')
    }
  })
  test('the key is a file that only its owner reads, made once', () => {
    const at = join(dir, 'deep', 'secret.key')
    const sealed = openSecretBox(at, null).seal('x', 'c')
    expect(statSync(at).mode & 0o777).toBe(0o600)
    expect(openSecretBox(at, null).open(sealed, 'c')).toBe('x')
    const own = openSecretBox(at, 'a passphrase that is long enough, really').seal('y', 'c')
    expect(openSecretBox('/nowhere', 'a passphrase that is long enough, really').open(own, 'c')).toBe('y')
    writeFileSync(at, 'short')
    expect(() => openSecretBox(at, null)).toThrow('restore it from a backup')
  })
})

test('audit rows come newest first, page by page', () => {
  const db = openDatabase(path(), { synchronous: 'FULL', migrations: [auditTable] })
  for (let i = 1; i <= 5; i++) audit(db, i * 1000, { who: 'ada', deed: 'token.created', what: `t${i}`, detail: { i } })
  const page = auditRows(db, 2)
  expect(page.map((row) => row.what)).toEqual(['t5', 't4'])
  expect(auditRows(db, 10, page[1]!.id).map((row) => row.detail)).toEqual([{ i: 3 }, { i: 2 }, { i: 1 }])
  expect(page[0]!.at).toBe('1970-01-01T00:00:05.000Z')
})

describe('the lock of a directory', () => {
  const scheduler = systemScheduler(() => {})
  let at = ''
  beforeAll(() => {
    at = join(dir, 'locked', 'control.lock')
  })
  const holder = () =>
    new Promise<{ pid: number; kill: () => Promise<void> }>((ready) => {
      const child = spawn(
        process.execPath,
        script(`import { lockDirectory } from ${here('./lock.ts')}
          import { systemScheduler } from ${here('../base/scheduler.ts')}
          await lockDirectory(${JSON.stringify(at)}, systemScheduler(() => {}))
          console.log('held'); setInterval(() => {}, 1000)`),
        { stdio: ['ignore', 'pipe', 'inherit'] },
      )
      const gone = new Promise<void>((done) => child.on('exit', () => done()))
      child.stdout.on('data', () =>
        ready({
          pid: child.pid!,
          kill: () => {
            child.kill('SIGKILL')
            return gone
          },
        }),
      )
    })
  test('names its holder, and is free the moment the holder is dead', async () => {
    const { pid, kill } = await holder()
    const refused = await lockDirectory(at, scheduler, 100).catch((error: Error) => error.message)
    expect(refused).toBe(`${join(dir, 'locked')} is in use by process ${pid}: stop it, or choose another DATA_DIR`)
    const waits = lockDirectory(at, scheduler, 5000)
    await kill()
    const lock = await waits
    lock.release()
    const again = await lockDirectory(at, scheduler, 100)
    again.release()
  })
})
