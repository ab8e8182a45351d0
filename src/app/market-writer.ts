/** The market-writer: the process that owns market.db and decides every command of the embedded market. */
import { join } from 'node:path'
import { AppError, messageOf } from '../base/errors.ts'
import { measureRuntime } from '../base/runtime.ts'
import { systemScheduler } from '../base/scheduler.ts'
import { createTelemetry } from '../base/telemetry.ts'
import { SECOND } from '../base/time.ts'
import { loadConfig, type Values } from '../config/index.ts'
import { startMarketWriter } from '../market/index.ts'
import type { Child } from './child.ts'
import { childLog, performanceLine } from './log.ts'

/** What front forks. Ends with exit code 1 and one sentence when it cannot start. */
export async function runMarketWriter(child: Child): Promise<void> {
  process.umask(0o077)
  let { values } = loadConfig().current
  const scheduler = systemScheduler((error) => log.error('a timer failed', { error }))
  const log = childLog(child.id, values.platform.logLevel, scheduler.clock)
  child.onConfig((snapshot) => {
    values = (snapshot as { values: Values }).values
    log.setLevel(values.platform.logLevel)
  })
  try {
    const telemetry = createTelemetry()
    measureRuntime(telemetry, scheduler, child.id)
    const writer = await startMarketWriter({
      path: join(values.platform.dataDir, 'market.db'),
      socketPath: child.socketPath,
      scheduler,
      log,
      telemetry,
      settings: () => ({
        disputeWindowMs: values.market.disputeWindow * SECOND,
        marketsPerDay: values.market.marketsPerDay,
        ordersPerUser: values.market.ordersPerUser,
      }),
      onFailure(error) {
        log.error('the market-writer ends', { error })
        process.exit(1)
      },
    })
    child.onStop(() => writer.stop())
    child.listening()
    child.ready(true)
    performanceLine(log, scheduler)
    log.info('the market-writer is ready')
  } catch (error) {
    log.error('the market-writer cannot start', {
      why: messageOf(error),
      ...(error instanceof AppError ? {} : { error }),
    })
    process.exit(1)
  }
}
