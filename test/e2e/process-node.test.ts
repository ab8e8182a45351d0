/**
 * `dist/main.js` started by a Node that is too old runs on the newer one as if there were nothing between. The real
 * `main.ts`, with a small command line in place of the platform's.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { need } from '../support/need.ts'
import { childrenOf, isRunning, until } from '../support/process/fronts.ts'

const oldNode = need('old-node')
const root = mkdtempSync(join(tmpdir(), 'old-node-'))
const main = join(root, 'dist', 'main.js')
afterAll(() => rmSync(root, { recursive: true, force: true }))

beforeAll(() => {
  mkdirSync(join(root, 'dist', 'cli'), { recursive: true })
  mkdirSync(join(root, '.runtime'))
  writeFileSync(join(root, 'package.json'), '{"type": "module"}')
  const source = stripTypeScriptTypes(readFileSync('src/main.ts', 'utf8'))
  writeFileSync(main, source.replace(/(import\('[^']+)\.ts'\)/g, "$1.js')"))
  writeFileSync(
    join(root, 'dist', 'cli', 'main.js'),
    `export async function runCommandLine(args) {
      if (args[0] === 'exit') process.exitCode = Number(args[1])
      if (args[0] === 'cat') process.stdin.pipe(process.stdout)
      if (args[0] === 'die') process.kill(process.pid, 'SIGKILL')
      if (args[0] === 'wait') {
        for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) {
          process.on(signal, () => { console.log('got ' + signal); setTimeout(() => process.exit(5), 100) })
        }
        setInterval(() => {}, 1000)
      }
      console.log('node ' + process.versions.node.split('.')[0], JSON.stringify(args))
    }`,
  )
  symlinkSync(process.execPath, join(root, '.runtime', 'node'))
})

const run = (...args: string[]) => spawnSync(oldNode!, [main, ...args], { encoding: 'utf8', input: 'through\n' })

function waiting(): { wrapper: ChildProcess; output(): string; exit: Promise<number | null>; inner(): number } {
  const wrapper = spawn(oldNode!, [main, 'wait'], { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  wrapper.stdout!.on('data', (chunk) => (text += chunk))
  return {
    wrapper,
    output: () => text,
    exit: new Promise((resolve) => wrapper.on('close', (code) => resolve(code))),
    inner: () => childrenOf(wrapper.pid!)[0]!,
  }
}

describe.skipIf(oldNode === null)('started by an old Node', () => {
  const major = process.versions.node.split('.')[0]

  test('it runs on the newer one, with the same arguments, input, output and exit code', () => {
    expect(run('exit', '7')).toMatchObject({ status: 7, stdout: `node ${major} ["exit","7"]\n` })
    expect(run('exit', '0', 'a b', '--flag')).toMatchObject({ status: 0 })
    expect(run('cat').stdout).toContain('through')
    expect(run('die').status).toBe(128 + 9)
  })

  test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)('%s reaches it, and its end is waited for', async (signal) => {
    const { wrapper, output, exit } = waiting()
    await until(() => output().includes('["wait"]'))
    wrapper.kill(signal)
    expect(await exit).toBe(5)
    expect(output()).toContain(`got ${signal}`)
  })

  test('it ends in order when the old one is killed', async () => {
    const { wrapper, output, exit, inner } = waiting()
    await until(() => output().includes('["wait"]'))
    const pid = inner()
    expect(isRunning(pid)).toBe(true)
    wrapper.kill('SIGKILL')
    await exit
    await until(() => !isRunning(pid))
    expect(output()).toContain('got SIGTERM')
  })

  test('without a newer one it says what to do', () => {
    rmSync(join(root, '.runtime', 'node'))
    const { status, stderr } = run('exit', '0')
    expect(status).toBe(1)
    expect(stderr).toMatch(/needs Node 24 or newer; this is v\d+\..*npm start/)
    expect(stderr).not.toMatch(/\n\s+at /)
    symlinkSync(process.execPath, join(root, '.runtime', 'node'))
  })
})
