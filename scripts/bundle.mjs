/**
 * Compiles src/ into a few files: the command line, control and its threads, each with what they share (rolldown, which
 * vite brings; types are checked by `npm run check`, in CI).
 *
 *   node scripts/bundle.mjs --outDir DIR
 *
 * A module of its own costs a start 0.5 ms to find, read and link: there are 700 with those of the packages. Bundled,
 * and with the code cache of `main.ts`, a start takes half the CPU time. Chunks lie in DIR/app, so that a module finds
 * what is beside it (workers, DIR/web, package.json) by the same relative address as in src/ROOM.
 */
import { readdirSync } from 'node:fs'
import http from 'node:http'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const outDir = process.argv[process.argv.indexOf('--outDir') + 1]
const ENTRY = /src\/(main|app\/[^/]+-worker)\.ts$/
const workers = readdirSync(join(root, 'src', 'app')).filter((file) => /-worker\.ts$/.test(file))

/** Packages with parts that are no JavaScript, and those that only one driver loads, when it is asked for. */
const EXTERNAL = /^(better-sqlite3|@node-rs\/argon2|@kubernetes\/client-node|pg|pg-native)(\/|$)/

/**
 * `import 'node:http'` reads every property of it, WebSocket among them, which loads Node's whole fetch: 15 ms in each
 * process and thread. The module itself, asked for by name, does not.
 */
const HTTP = '\0node-http'
const LAZY = new Set(['WebSocket', 'CloseEvent', 'MessageEvent'])
const plainHttp = {
  name: 'plain-http',
  resolveId: (id, _importer, { kind }) => (/^(node:)?http$/.test(id) && kind === 'import-statement' ? HTTP : null),
  load(id) {
    if (id !== HTTP) return null
    const names = Object.keys(http).filter((name) => /^\w+$/.test(name) && !LAZY.has(name))
    const all = names.map((name) => `export const ${name} = http.${name}`).join('\n')
    return `const http = process.getBuiltinModule('node:http')\nexport default http\n${all}\n`
  },
}

const bundle = await rolldown({
  cwd: root,
  input: {
    main: 'src/main.ts',
    ...Object.fromEntries(workers.map((file) => [file.slice(0, -3), `src/app/${file}`])),
  },
  platform: 'node',
  external: EXTERNAL,
  // What our modules do when they are loaded is to define things, but for the entries: what nobody uses is left out.
  treeshake: { moduleSideEffects: (id) => ENTRY.test(id) || (!id.startsWith(join(root, 'src')) && id !== HTTP) },
  plugins: [plainHttp],
})
await bundle.write({
  dir: outDir,
  format: 'esm',
  sourcemap: true,
  entryFileNames: ({ name }) => (name === 'main' ? 'main.js' : 'app/[name].js'),
  chunkFileNames: ({ name }) => (name.length < 60 ? 'app/[name]-[hash].js' : 'app/part-[hash].js'),
  // A chunk for each set of entries that share it; nothing lies in an entry's own file, which would run when it is read.
  codeSplitting: { groups: [{ name: 'part', test: (id) => !ENTRY.test(id), entriesAware: true }] },
})
