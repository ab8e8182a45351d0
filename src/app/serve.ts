/** `opinion-market serve`: front with the values of the configuration. */
import { fileURLToPath } from 'node:url'
import type { Values } from '../config/index.ts'
import type { FrontSettings } from './front.ts'
import { runFront } from './front.ts'

/** Runs until the platform is stopped; answers the exit code. */
export function serve(values: Values): Promise<number> {
  return runFront({
    settings: frontSettings(values),
    readSnapshot: (snapshot) => frontSettings((snapshot as { values: Values }).values),
    entry: fileURLToPath(new URL('../main.js', import.meta.url)),
    processes: [{ kind: 'control', id: 'control' }],
  })
}

function frontSettings({ platform, edge }: Values): FrontSettings {
  return {
    host: platform.host,
    port: platform.port,
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
