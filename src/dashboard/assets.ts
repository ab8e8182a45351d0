/**
 * The built page: everything under `dist/web`, read once. Names of assets carry a hash of their content, so they may
 * be cached for ever; each stands there in three encodings, made when it was built.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export interface Asset {
  readonly type: string
  readonly plain: Uint8Array
  readonly gzip: Uint8Array | null
  readonly brotli: Uint8Array | null
}

export interface WebAssets {
  /** The HTML of every page; null when the page was not built. */
  readonly shell: string | null
  /** By name below `/assets/`. */
  readonly files: ReadonlyMap<string, Asset>
}

const TYPES: Readonly<Record<string, string>> = {
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.woff2': 'font/woff2',
}

/** Beside the compiled program, where the build puts it. */
const built = fileURLToPath(new URL('../web/', import.meta.url))

export function loadAssets(folder: string = built): WebAssets {
  const index = join(folder, 'index.html')
  const assets = join(folder, 'assets')
  const files = new Map<string, Asset>()
  for (const name of existsSync(assets) ? readdirSync(assets) : []) {
    const type = TYPES[extname(name)]
    if (!type) continue
    const path = join(assets, name)
    files.set(name, { type, plain: readFileSync(path), gzip: readIf(`${path}.gz`), brotli: readIf(`${path}.br`) })
  }
  return { shell: existsSync(index) ? readFileSync(index, 'utf8') : null, files }
}

const readIf = (path: string): Uint8Array | null => (existsSync(path) ? readFileSync(path) : null)

/** The smallest encoding that the client takes (RFC 9110, 12.5.3; a weight of 0 refuses). */
export function negotiated(asset: Asset, acceptEncoding: string): { body: Uint8Array; encoding: string | null } {
  const accepted = new Set(
    acceptEncoding
      .toLowerCase()
      .split(',')
      .map((part) => part.trim().split(/\s*;\s*/))
      .filter(([, weight]) => !weight || !/^q=0(\.0*)?$/.test(weight))
      .map(([name]) => name),
  )
  if (asset.brotli && accepted.has('br')) return { body: asset.brotli, encoding: 'br' }
  if (asset.gzip && accepted.has('gzip')) return { body: asset.gzip, encoding: 'gzip' }
  return { body: asset.plain, encoding: null }
}
