/**
 * Compiles src/ into a file for each process and thread: the command line, front, control and its threads, an instance,
 * the market-writer (rolldown, which vite brings; types are checked by `npm run check`, in CI).
 *
 *   node scripts/bundle.mjs --outDir DIR
 *
 * A module of its own costs a start 0.5 ms to find, read and link: there are 700 with those of the packages. In one file
 * of its own, and with the code cache of `main.ts`, a process starts in half the CPU time. What is imported by
 * `import()` stays apart, to be loaded when it is needed. All but main.js lies in DIR/app, so that a module finds what
 * is beside it (workers, DIR/web, package.json) by the same relative address as in src/ROOM.
 */
import { readdirSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const outDir = process.argv[process.argv.indexOf('--outDir') + 1]
/** The entry of every process: imports one of the files below. Runs on older Nodes too. */
const MAIN = join(root, 'src', 'main.ts')
/** What `main.ts` imports, and what control starts as threads; by the name of its file in DIR/app. */
const parts = {
  child: 'src/app/child.ts',
  serve: 'src/app/serve.ts',
  control: 'src/app/control.ts',
  instance: 'src/app/instance.ts',
  'market-writer': 'src/app/market-writer.ts',
  'command-line': 'src/cli/main.ts',
}
for (const file of readdirSync(join(root, 'src', 'app'))) {
  if (/-worker\.ts$/.test(file)) parts[file.slice(0, -3)] = `src/app/${file}`
}

/**
 * Packages with parts that are no JavaScript, those that only one driver loads, when it is asked for, and those of
 * fastify that never are.
 */
const EXTERNAL =
  /^(better-sqlite3|@node-rs\/argon2|@kubernetes\/client-node|pg|pg-native|pino|light-my-request|@fastify\/(ajv|fast-json-stringify)-compiler)(\/|$)/

/**
 * Node's own modules. `import 'node:http'` reads every property of it, WebSocket among them, which loads Node's whole
 * fetch; `node:util` and `node:fs` load 34 modules each in the same way: up to 15 ms in each process and thread. The
 * module itself, asked for by name, does not, and only what is used is read.
 */
const BUILTIN = '\0builtin:'
/** Modules that most starts never use: the module itself is loaded when one of its properties is first looked at. */
const LATE = new Set(['node:child_process', 'node:http2', 'node:https', 'node:tls', 'node:zlib'])

const plainBuiltins = {
  name: 'plain-builtins',
  resolveId(id, importer, { kind }) {
    if (importer === MAIN) return null
    const name = id.startsWith('node:') ? id : `node:${id}`
    if (!isBuiltin(name)) return null
    if (LATE.has(name)) return `${BUILTIN}late:${name}`
    return kind === 'import-statement' ? BUILTIN + name : null
  },
  load(id) {
    if (!id.startsWith(BUILTIN)) return null
    const late = id.startsWith(`${BUILTIN}late:`)
    const name = id.slice(BUILTIN.length + (late ? 'late:'.length : 0))
    const names = Object.keys(process.getBuiltinModule(name)).filter((key) => /^\w+$/.test(key))
    if (!late) {
      const all = names.map((key) => `export const ${key} = module.${key}`).join('\n')
      return `const module = process.getBuiltinModule('${name}')\nexport default module\n${all}\n`
    }
    return `const module = () => process.getBuiltinModule('${name}')
for (const name of ${JSON.stringify(names)}) {
  Object.defineProperty(exports, name, { enumerable: true, get: () => module()[name] })
}
`
  },
}

/** Runs when it is loaded; all other modules of ours only define things, and what nobody uses of them is left out. */
const RUNS = /src\/(main|app\/[^/]+-worker)\.ts$/

/** `import('./app/control.ts')` of main.ts is `import('./app/control.js')`, another file. */
const partsOfMain = {
  name: 'parts-of-main',
  resolveId(id, importer, { kind }) {
    if (importer !== MAIN || kind !== 'dynamic-import') return null
    const source = relative(root, join(dirname(MAIN), id))
    const [name] = Object.entries(parts).find(([, path]) => path === source)
    return { id: `./app/${name}.js`, external: true }
  },
}

/**
 * Texts beyond ASCII are written as escapes: V8 keeps a source that has one such letter in two bytes a letter, for as
 * long as the process lives.
 */
const asAscii = {
  name: 'as-ascii',
  renderChunk: (code) => ({
    code: code.replace(/[^\0-\x7f]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`),
    map: null,
  }),
}

async function compile(name, path) {
  const bundle = await rolldown({
    cwd: root,
    input: { [name]: path },
    platform: 'node',
    external: EXTERNAL,
    // The command line needs at once, in one command, what another loads when it is asked for.
    checks: { ineffectiveDynamicImport: false },
    treeshake: {
      moduleSideEffects: (id) => RUNS.test(id) || (!id.startsWith(join(root, 'src')) && !id.startsWith(BUILTIN)),
      // Or each property of Node's modules would still be read.
      propertyReadSideEffects: false,
    },
    plugins: [partsOfMain, plainBuiltins, asAscii],
  })
  await bundle.write({
    dir: outDir,
    format: 'esm',
    sourcemap: true,
    entryFileNames: name === 'main' ? 'main.js' : `app/${name}.js`,
    chunkFileNames: `app/${name}-[name]-[hash].js`,
  })
  await bundle.close()
}

await Promise.all(Object.entries({ main: 'src/main.ts', ...parts }).map(([name, path]) => compile(name, path)))
