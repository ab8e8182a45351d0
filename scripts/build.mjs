/**
 * Compiles the program into dist/ (bundle.mjs) and the page into dist/web (vite), if their sources changed since.
 * What is made is made aside and moved into place in one step, its stamp with it: a build that is killed half-way leaves
 * the former one as it was. Needs Node 24 and installed packages: `prepare.mjs --build` calls it.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const WEB = join('src', 'dashboard', 'web')
const BUNDLE = join('scripts', 'bundle.mjs')
const VITE = join('node_modules', 'vite', 'bin', 'vite.js')

/** What dist/ would be built from, as two hashes; `web` is null while there is no page. */
export function sourceStamp() {
  const files = readdirSync(join(root, 'src'), { recursive: true })
    .map((file) => join('src', file.toString()))
    .sort()
  const isWeb = (file) => file.startsWith(WEB)
  const isServer = (file) => /\.ts$/.test(file) && !/\.(test|contract)\.ts$/.test(file)
  const common = ['package-lock.json', join('scripts', 'build.mjs'), BUNDLE]
  return {
    server: hash([...common, 'tsconfig.json', ...files.filter((f) => !isWeb(f) && isServer(f))]),
    // The page shares types of the server's protocol files.
    web: existsSync(join(root, WEB, 'vite.config.ts'))
      ? hash([...common, ...files.filter((f) => isWeb(f) || /protocol\.ts$/.test(f))])
      : null,
  }
}

/** What dist/ was built from; `{}` when there is no whole build. */
export function builtStamp() {
  try {
    return JSON.parse(readFileSync(join(root, 'dist', '.stamp'), 'utf8'))
  } catch {
    return {}
  }
}

export const isBuilt = () => {
  const [want, have] = [sourceStamp(), builtStamp()]
  return want.server === have.server && want.web === have.web
}

/** Builds what changed. Throws with the compiler's own words when it fails. */
export function build(say) {
  const [want, have] = [sourceStamp(), builtStamp()]
  if (want.server === have.server && want.web === have.web) return
  const next = join(root, '.runtime', `build-${process.pid}`)
  rmSync(next, { recursive: true, force: true })
  mkdirSync(next, { recursive: true })
  try {
    say('compiling the program')
    run(BUNDLE, ['--outDir', next])
    const web = join(next, 'web')
    if (want.web && want.web === have.web) cpSync(join(root, 'dist', 'web'), web, { recursive: true })
    else if (want.web) {
      say('building the page')
      run(VITE, [
        'build',
        '--config',
        join(WEB, 'vite.config.ts'),
        '--outDir',
        web,
        '--emptyOutDir',
        '--logLevel',
        'warn',
      ])
    }
    writeFileSync(join(next, '.stamp'), JSON.stringify(want))
    const old = join(root, '.runtime', `old-${process.pid}`)
    if (existsSync(join(root, 'dist'))) renameSync(join(root, 'dist'), old)
    renameSync(next, join(root, 'dist'))
    rmSync(old, { recursive: true, force: true })
  } finally {
    rmSync(next, { recursive: true, force: true })
  }
}

function run(script, args) {
  const done = spawnSync(process.execPath, [join(root, script), ...args], { cwd: root, encoding: 'utf8' })
  if (done.error) throw done.error
  const words = `${done.stdout}${done.stderr}`.trim()
  if (done.status !== 0) throw new Error(`${script} failed (${done.signal ?? `exit ${done.status}`})\n${words}`)
}

function hash(files) {
  const sum = createHash('sha256')
  for (const file of files) {
    let bytes
    try {
      bytes = readFileSync(join(root, file))
    } catch (error) {
      if (error.code === 'EISDIR' || error.code === 'ENOENT') continue
      throw error
    }
    sum.update(`${file}\0${bytes.length}\0`).update(bytes)
  }
  return sum.digest('hex')
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    build((what) => process.stderr.write(`${what} …\n`))
  } catch (error) {
    process.stderr.write(`${error.message}\n`)
    process.exit(1)
  }
}
