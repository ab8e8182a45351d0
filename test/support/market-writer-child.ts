/**
 * A market-writer as a process of its own, until it is killed or its input ends.
 *   node market-writer-child.ts DIR SETTINGS
 */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Log } from '../../src/base/log.ts'
import { systemScheduler } from '../../src/base/scheduler.ts'
import { createTelemetry } from '../../src/base/telemetry.ts'
import { startMarketWriter } from '../../src/market/store/writer-process.ts'

const [dir = '', settings = '{}'] = process.argv.slice(2)
const quiet = () => {}
const say = (message: string, fields: unknown) => process.stderr.write(`${message} ${JSON.stringify(fields)}\n`)
const log: Log = { debug: quiet, info: quiet, warn: say, error: say, with: () => log }
const socketPath = join(dir, 'market-writer.sock')
rmSync(socketPath, { force: true })
const fail = (error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : error}\n`)
  process.exit(1)
}
const writer = await startMarketWriter({
  path: join(dir, 'market.db'),
  socketPath,
  scheduler: systemScheduler(fail),
  log,
  telemetry: createTelemetry(),
  settings: () => JSON.parse(settings),
  onFailure: fail,
}).catch(fail)
process.stdin.on('end', async () => {
  await writer?.stop()
  process.exit(0)
})
process.stdin.resume()
process.stdout.write('ready\n')
