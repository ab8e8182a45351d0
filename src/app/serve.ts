/** `opinion-market serve`: front with the values of the configuration. */
import { fileURLToPath } from 'node:url'
import { messageOf } from '../base/errors.ts'
import type { Values } from '../config/index.ts'
import { environmentWith, loadConfig } from '../config/index.ts'
import type { FrontSettings } from './front.ts'
import { runFront } from './front.ts'

/**
 * What glibc's malloc keeps for each thread that ever was at work beside another, V8's compilers among them, is never
 * given back: with two such arenas control is 20 MB smaller when idle, and storing samples costs no more CPU.
 */
const SMALL_ARENAS = { MALLOC_ARENA_MAX: '2' }

/** Runs until the platform is stopped; answers the exit code. What is wrong with the configuration goes to stderr. */
export async function serve(): Promise<number> {
  let values: Values
  try {
    values = loadConfig().current.values
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n`)
    return 1
  }
  const { market, scaling } = values
  const writer = market.enabled && market.databaseUrl === null
  return runFront({
    settings: frontSettings(values),
    readSnapshot: (snapshot) => frontSettings((snapshot as { values: Values }).values),
    entry: fileURLToPath(new URL('../main.js', import.meta.url)),
    processes: [
      { kind: 'control', id: 'control' },
      // On PostgreSQL every instance decides in transactions there.
      ...(writer ? [{ kind: 'market-writer', id: 'market-writer' } as const] : []),
    ],
    instances: market.enabled ? Math.max(1, scaling.minInstances) : null,
    environment: environmentWith(SMALL_ARENAS),
  })
}

function frontSettings({ platform, edge }: Values): FrontSettings {
  return {
    host: platform.host,
    port: platform.port,
    publicUrl: platform.publicUrl,
    dataDir: platform.dataDir,
    logDir: platform.logDir,
    edge: { ...edge, bodyBytesMax: platform.bodyBytes },
    log: {
      level: platform.logLevel,
      console: platform.logConsole === 'auto' ? (process.stdout.isTTY ? 'readable' : 'json') : platform.logConsole,
      fileBytesMax: platform.logFileBytesMax,
      fileAgeMaxMs: platform.logFileAgeMax * 1000,
      filesKept: platform.logFilesKept,
    },
  }
}
