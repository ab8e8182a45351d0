/** Front for tests: the real one, with `tiny-child.ts` in place of control. Argument: `FrontSettings` as JSON. */
import { fileURLToPath } from 'node:url'
import type { FrontSettings } from '../../../src/app/front.ts'
import { runFront } from '../../../src/app/front.ts'

/** Instances that front keeps by number, as in the product; without it one that is simply there. */
const instances = process.env.TINY_INSTANCES ? Number(process.env.TINY_INSTANCES) : null
const settings = JSON.parse(process.argv[2]!) as FrontSettings
process.exit(
  await runFront({
    settings,
    readSnapshot: (snapshot) => ({ ...settings, log: { ...settings.log, ...(snapshot as { log: object }).log } }),
    entry: fileURLToPath(new URL('./tiny-child.ts', import.meta.url)),
    processes: [
      { kind: 'control', id: 'control' },
      ...(instances === null ? [{ kind: 'instance', id: 'instance-1' } as const] : []),
    ],
    instances,
  }),
)
