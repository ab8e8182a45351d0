/** The version of the program, from package.json beside `dist/`. */
import { readFileSync } from 'node:fs'

export const VERSION: string = (() => {
  // dist/app/version.js and src/app/version.ts lie two folders below the package; a build elsewhere may lie deeper.
  for (const up of ['../../', '../../../', '../../../../']) {
    try {
      const found = JSON.parse(readFileSync(new URL(`${up}package.json`, import.meta.url), 'utf8'))
      if (found.name === 'opinion-market') return found.version
    } catch {}
  }
  return 'unknown'
})()
