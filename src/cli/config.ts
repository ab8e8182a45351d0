/** `check-config` and `config show`: what the platform would run with, without starting it. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { openConfigStore } from '../app/config-store.ts'
import { openOps } from '../app/ops-db.ts'
import { silentLog } from '../base/log.ts'
import type { Config } from '../config/index.ts'
import { loadConfig } from '../config/index.ts'
import { openSecretBox } from '../storage/secrets.ts'
import { say, table } from './say.ts'

export function configCommands(program: Command): void {
  program
    .command('check-config')
    .description('check config/*.yaml, .env and the environment; print everything that is wrong (exit code 1)')
    .action(() => {
      const config = loadConfig()
      const values = config.describe()
      const set = values.filter((value) => value.source !== 'default')
      say(`The configuration is right: ${values.length} settings, ${set.length} of them not at their default.`)
      for (const value of set) say(`  ${value.path} from ${value.detail}`)
      for (const hint of config.hints) say(hint)
    })

  const config = program.command('config').description('the settings')
  config
    .command('show')
    .description('every setting, its value and where it came from; secrets are never shown')
    .option('--json', 'as JSON, for scripts')
    .action((options: { json?: boolean }) => {
      const config = loadConfig()
      takeStoredChanges(config)
      const values = config.describe()
      if (options.json) return say(JSON.stringify({ version: config.current.version, values }, null, 2))
      table([
        ['SETTING', 'VARIABLE', 'VALUE', 'FROM'],
        ...values.map((v) => [
          v.path,
          v.variable ?? '',
          textOf(v.value),
          v.source === 'default' ? 'default' : v.detail,
        ]),
      ])
    })
}

/** Changes made through the API stand in the data directory; there are none before the first start. */
function takeStoredChanges(config: Config): void {
  const { platform } = config.current.values
  const path = join(platform.dataDir, 'ops.db')
  if (!existsSync(path)) return
  const db = openOps(path)
  try {
    openConfigStore(db, config, openSecretBox(join(platform.dataDir, 'secret.key'), platform.secretKey), silentLog)
  } finally {
    db.close()
  }
}

function textOf(value: unknown): string {
  if (value === null) return '(none)'
  return Array.isArray(value) ? value.join(',') : typeof value === 'object' ? JSON.stringify(value) : String(value)
}
