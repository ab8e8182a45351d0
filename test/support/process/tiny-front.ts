/** Front for tests: the real one, with `tiny-child.ts` in place of control. Argument: `FrontSettings` as JSON. */
import { fileURLToPath } from 'node:url'
import type { FrontSettings } from '../../../src/app/front.ts'
import { runFront } from '../../../src/app/front.ts'

const settings = JSON.parse(process.argv[2]!) as FrontSettings
process.exit(
  await runFront({
    settings,
    readSnapshot: (snapshot) => ({ ...settings, log: { ...settings.log, ...(snapshot as { log: object }).log } }),
    entry: fileURLToPath(new URL('./tiny-child.ts', import.meta.url)),
    processes: [
      { kind: 'control', id: 'control' },
      { kind: 'instance', id: 'instance-1' },
    ],
  }),
)
