/**
 * `scripts/prepare.mjs` and `scripts/build.mjs` as they are, in a small project of their own. In place of npm stands a
 * script that packs, installs and takes its time, so that nothing is fetched; what it was asked for is written down.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { need } from '../support/need.ts'
import { until } from '../support/process/fronts.ts'

const oldNode = need('old-node')
const roots: string[] = []
afterAll(() => {
  for (const root of roots) fs.rmSync(root, { recursive: true, force: true })
})

const fakeNpm = `
  const fs = require('node:fs'), path = require('node:path')
  const [what, ...args] = process.argv.slice(2)
  const root = __dirname
  fs.appendFileSync(path.join(root, 'asked'), what + ' by ' + process.version.split('.')[0] + ' ' + args.join(' ') + '\\n')
  setTimeout(() => {
    if (what === 'pack') fs.copyFileSync(path.join(root, 'node.tgz'), 'node.tgz')
    if (what === 'ci') {
      fs.rmSync('node_modules', { recursive: true, force: true })
      fs.mkdirSync('node_modules', { recursive: true })
      const lock = JSON.parse(fs.readFileSync('package-lock.json', 'utf8'))
      setTimeout(() => fs.writeFileSync('node_modules/.package-lock.json', JSON.stringify(lock)), Number(process.env.SLOW_MS ?? 0))
    }
  }, Number(process.env.SLOW_MS ?? 0))
`
const fakeBundle = `
  import * as fs from 'node:fs'
  import * as path from 'node:path'
  fs.appendFileSync(path.join(process.cwd(), 'asked'), 'bundle\\n')
  const out = process.argv[process.argv.indexOf('--outDir') + 1]
  const source = fs.readFileSync('src/main.ts', 'utf8')
  if (source.includes('syntax error')) { console.log('src/main.ts(1,1): error'); process.exit(1) }
  fs.writeFileSync(path.join(out, 'main.js'), source)
`

function project() {
  const root = fs.mkdtempSync(join(tmpdir(), 'scripts-'))
  roots.push(root)
  for (const folder of ['scripts', 'src']) fs.mkdirSync(join(root, folder))
  for (const script of ['prepare.mjs', 'build.mjs'])
    fs.copyFileSync(join('scripts', script), join(root, 'scripts', script))
  fs.writeFileSync(join(root, 'npm-cli.js'), fakeNpm)
  fs.writeFileSync(join(root, 'scripts', 'bundle.mjs'), fakeBundle)
  fs.writeFileSync(join(root, 'src', 'main.ts'), 'one')
  fs.writeFileSync(join(root, 'tsconfig.json'), '{}')
  lock(root, '1.0.0')
  const asked = () => {
    const text = fs.existsSync(join(root, 'asked')) ? fs.readFileSync(join(root, 'asked'), 'utf8') : ''
    return text.split('\n').filter((line) => line !== '')
  }
  return { root, asked, built: () => fs.readFileSync(join(root, 'dist', 'main.js'), 'utf8') }
}

function lock(root: string, version: string) {
  const packages = { '': {}, 'node_modules/a': { version }, 'node_modules/other-platform': { version, optional: true } }
  fs.writeFileSync(join(root, 'package-lock.json'), JSON.stringify({ lockfileVersion: 3, packages }))
}

function prepare(root: string, { node = process.execPath, slowMs = 0 } = {}) {
  const child: ChildProcess = spawn(node, [join(root, 'scripts', 'prepare.mjs'), '--build'], {
    env: { ...process.env, npm_execpath: join(root, 'npm-cli.js'), SLOW_MS: String(slowMs) },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (chunk) => (said += chunk))
  const done = new Promise<{ code: number | null; said: string }>((resolve) =>
    child.on('close', (code) => resolve({ code, said })),
  )
  return { child, done, said: () => said }
}

describe('preparing', () => {
  test('does what is missing, says so, and a second time nothing at all', async () => {
    const { root, asked, built } = project()
    const first = await prepare(root).done
    expect(first).toMatchObject({ code: 0 })
    expect(first.said).toMatch(/installing 2 packages[\s\S]*building/)
    expect(asked()).toEqual([expect.stringMatching(/^ci by v\d+ --ignore-scripts /), 'bundle'])
    expect(built()).toBe('one')
    expect(fs.realpathSync(join(root, '.runtime', 'node'))).toBe(fs.realpathSync(process.execPath))
    expect(await prepare(root).done).toEqual({ code: 0, said: '' })
    expect(asked()).toHaveLength(2)
  })

  test('does again only what has changed', async () => {
    const { root, asked, built } = project()
    await prepare(root).done
    fs.writeFileSync(join(root, 'src', 'main.ts'), 'two')
    await prepare(root).done
    expect(asked().slice(2)).toEqual(['bundle'])
    expect(built()).toBe('two')
    fs.writeFileSync(join(root, 'src', 'main.test.ts'), 'a test is no part of the build')
    await prepare(root).done
    expect(asked()).toHaveLength(3)
    lock(root, '1.0.1')
    await prepare(root).done
    expect(asked().slice(3)).toEqual([expect.stringMatching(/^ci /), 'bundle'])
  })

  test('a build that fails shows the compiler’s words and leaves the former build', async () => {
    const { root, built } = project()
    await prepare(root).done
    fs.writeFileSync(join(root, 'src', 'main.ts'), 'syntax error')
    const { code, said } = await prepare(root).done
    expect(code).toBe(1)
    expect(said).toContain('src/main.ts(1,1): error')
    expect(said).not.toMatch(/\n\s+at /)
    expect(built()).toBe('one')
    expect(fs.readdirSync(join(root, '.runtime')).sort()).toEqual(['bin', 'node'])
  })

  test('two at once do the work once', async () => {
    const { root, asked } = project()
    const both = [prepare(root, { slowMs: 300 }), prepare(root, { slowMs: 300 })]
    const ends = await Promise.all(both.map(({ done }) => done))
    expect(ends.map(({ code }) => code)).toEqual([0, 0])
    expect(ends.some(({ said }) => said.includes('waiting for another start'))).toBe(true)
    expect(asked()).toEqual([expect.stringMatching(/^ci /), 'bundle'])
  })

  test('after one that was killed half-way the next makes it whole', async () => {
    const { root, asked, built } = project()
    const killed = prepare(root, { slowMs: 700 })
    await until(() => asked().length === 1)
    killed.child.kill('SIGKILL')
    await killed.done
    expect(fs.existsSync(join(root, '.runtime', 'lock'))).toBe(true)
    const next = await prepare(root).done
    expect(next.code).toBe(0)
    // Its npm lived on: it was waited for, and what it installed is taken.
    expect(next.said).toContain('waiting for another start')
    expect(asked().filter((line) => line.startsWith('ci'))).toHaveLength(1)
    expect(built()).toBe('one')
    expect(fs.existsSync(join(root, '.runtime', 'lock'))).toBe(false)
  })
})

describe.skipIf(oldNode === null)('a machine with an old Node', () => {
  /** A package with a "Node" that is a link to ours, and its checksum in the table of the copied script. */
  function withPackage(root: string, integrity?: string) {
    const folder = join(root, 'package')
    fs.mkdirSync(join(folder, 'bin'), { recursive: true })
    fs.writeFileSync(join(folder, 'bin', 'node'), `#!/bin/sh\nexec ${process.execPath} "$@"\n`)
    fs.writeFileSync(join(folder, 'LICENSE'), 'free')
    execFileSync('tar', ['-czf', 'node.tgz', 'package'], { cwd: root })
    const sum = `sha512-${createHash('sha512')
      .update(fs.readFileSync(join(root, 'node.tgz')))
      .digest('base64')}`
    const script = join(root, 'scripts', 'prepare.mjs')
    const source = fs.readFileSync(script, 'utf8')
    fs.writeFileSync(script, source.replaceAll(/integrity: 'sha512-[^']*'/g, `integrity: '${integrity ?? sum}'`))
  }

  test('gets the pinned one, which then installs and builds', async () => {
    const { root, asked, built } = project()
    withPackage(root)
    const { code, said } = await prepare(root, { node: oldNode! }).done
    expect(said).toMatch(/bringing Node 24\.\d+\.\d+/)
    expect(code).toBe(0)
    expect(asked()[0]).toMatch(/^pack by v\d+ node-\w+-\w+@24\.\d+\.\d+ /)
    expect(asked()[1]).toMatch(new RegExp(`^ci by ${process.version.split('.')[0]} `))
    expect(built()).toBe('one')
    expect(await prepare(root, { node: oldNode! }).done).toEqual({ code: 0, said: '' })
  })

  test('refuses one whose checksum is not the pinned one, and keeps nothing of it', async () => {
    const { root } = project()
    withPackage(root, 'sha512-AAAA')
    const { code, said } = await prepare(root, { node: oldNode! }).done
    expect(code).toBe(1)
    expect(said).toMatch(/has the checksum sha512-\S+ instead of sha512-AAAA/)
    expect(fs.readdirSync(join(root, '.runtime'))).toEqual([])
  })
})
