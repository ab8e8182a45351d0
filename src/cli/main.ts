/**
 * The command line. A command is one file that adds itself to the program; what it needs is loaded when it runs.
 *
 * Exit codes: 0 done, 1 it failed, 2 it was called wrongly. An error is one sentence on stderr; OM_DEBUG=1 shows where
 * it came from.
 */
import { Command, CommanderError } from 'commander'
import { VERSION } from '../app/version.ts'
import { messageOf } from '../base/errors.ts'
import { debugWanted } from '../config/index.ts'
import { backupCommands } from './backup.ts'
import { configCommands } from './config.ts'
import { demoCommand } from './demo.ts'
import { engineForecastCommand } from './engine-forecast.ts'
import { engineScaleCommand } from './engine-scale.ts'
import { importCommands } from './import.ts'
import { queryCommands } from './query.ts'
import { replayDetectCommand } from './replay-detect.ts'
import { replayScaleCommand } from './replay-scale.ts'
import { say } from './say.ts'
import { seriesCommands } from './series.ts'
import { serveCommand } from './serve.ts'
import { tokenCommands } from './token.ts'

const commands: readonly ((program: Command) => void)[] = [
  serveCommand,
  tokenCommands,
  configCommands,
  importCommands,
  seriesCommands,
  queryCommands,
  backupCommands,
  replayDetectCommand,
  replayScaleCommand,
  engineForecastCommand,
  engineScaleCommand,
  demoCommand,
]

/** Runs one command; the exit code of the process is set, or the process has ended, when it returns. */
export async function runCommandLine(args: readonly string[]): Promise<void> {
  const program = new Command('opinion-market')
    .description('An opinion market that runs itself: metrics, analytics, alerting and scaling in one program.')
    .version(VERSION, '-V, --version')
    .showHelpAfterError('(add --help to see what is possible)')
    .showSuggestionAfterError()
    .exitOverride()
    .addHelpText(
      'after',
      `
First steps:
  $ opinion-market serve                                         start; the first start prints a log-in link
  $ opinion-market token create --role viewer --name grafana     a token for a program
  $ curl -H "Authorization: Bearer YOUR_TOKEN" localhost:8000/health

Settings come from config/*.yaml, .env and the environment, the last one wins:
  PORT (8000)  HOST (127.0.0.1)  DATA_DIR (./data)  LOG_DIR (./logs)
  $ opinion-market config show       every setting, its value and where it came from`,
    )
  program
    .command('version')
    .description('print the version')
    .action(() => say(VERSION))
  for (const add of commands) add(program)

  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // `opinion-market config show | head`: whoever read has seen enough.
    process.exit(error.code === 'EPIPE' ? 0 : 1)
  })
  try {
    await program.parseAsync(args, { from: 'user' })
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : 2
      return
    }
    process.stderr.write(`${debugWanted() && error instanceof Error ? error.stack : messageOf(error)}\n`)
    process.exitCode = 1
  }
}
