/** Builds the page into dist/web: names with hashes, each asset also as gzip and brotli, for the server to hand out. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'
import preact from '@preact/preset-vite'
import { defineConfig, type Plugin } from 'vite'

const root = import.meta.dirname

/** Compressed once here instead of at each request. */
function compressed(): Plugin {
  let folder = ''
  return {
    name: 'compressed-assets',
    apply: 'build',
    configResolved(config) {
      folder = join(config.root, config.build.outDir, 'assets')
      if (config.build.outDir.startsWith('/')) folder = join(config.build.outDir, 'assets')
    },
    closeBundle() {
      for (const name of readdirSync(folder)) {
        const path = join(folder, name)
        const bytes = readFileSync(path)
        writeFileSync(`${path}.gz`, gzipSync(bytes, { level: 9 }))
        const quality = { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY }
        writeFileSync(`${path}.br`, brotliCompressSync(bytes, { params: quality }))
      }
    },
  }
}

export default defineConfig({
  root,
  base: '/',
  publicDir: false,
  cacheDir: join(root, '../../../node_modules/.vite'),
  plugins: [preact(), compressed()],
  build: {
    outDir: join(root, '../../../dist/web'),
    emptyOutDir: true,
    target: 'es2022',
    // Nothing may be inlined: the content security policy allows the platform's own files alone.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    cssCodeSplit: false,
    reportCompressedSize: true,
  },
})
