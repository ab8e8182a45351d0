/**
 * Delivery as a whole: channels, outbox, links and heartbeat, built from those above each other. What alerting puts
 * into the outbox leaves the platform here.
 */

import { addressGuard } from '../../base/address.ts'
import { notFound } from '../../base/errors.ts'
import { createHttpClient } from '../../base/http-client.ts'
import { newId } from '../../base/id.ts'
import type { Log } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import type { Scheduler } from '../../base/scheduler.ts'
import type { Telemetry } from '../../base/telemetry.ts'
import type { Database } from '../../storage/database.ts'
import type { SecretBox } from '../../storage/secrets.ts'
import type { AlertingConfig } from '../config.ts'
import { type Heartbeat, startHeartbeat } from '../heartbeat.ts'
import { type AcknowledgeLinks, acknowledgeLinks } from '../links.ts'
import type { Notice, NoticeAlert } from '../notice.ts'
import { createOutbox, type Outbox, type TestDelivery } from '../outbox.ts'
import type { Links } from './channel.ts'
import { type Channels, openChannels } from './channels.ts'

export interface DeliveryOptions {
  readonly db: Database
  readonly box: SecretBox
  readonly config: () => AlertingConfig
  readonly scheduler: Scheduler
  readonly random: Random
  readonly log: Log
  readonly telemetry: Telemetry
  /** Where people reach the platform, without a slash at the end. */
  readonly baseUrl: () => string
  /** Null while the platform can alert; otherwise why not. Stops the heartbeat. */
  readonly ailment: () => string | null
  /** Certificates of authorities (PEM) in place of the system's. */
  readonly trust?: string
}

export interface Delivery {
  readonly channels: Channels
  readonly outbox: Outbox
  readonly links: AcknowledgeLinks
  readonly heartbeat: Heartbeat
  /** A message that says it is a test, all the way to the provider. 404. The channel may be disabled. */
  testChannel(channelId: string): Promise<TestDelivery>
  /** Settings of alerting have changed. */
  configurationChanged(): void
  stop(): Promise<void>
}

/** Page that asks whether to acknowledge; the token follows. */
export const ACKNOWLEDGE_PATH = '/acknowledge/'

export function startDelivery(options: DeliveryOptions): Delivery {
  const { db, box, config, scheduler, random, log, telemetry, baseUrl, ailment, trust } = options
  const { clock } = scheduler
  const guard = addressGuard(() => config().allowNetworks)
  const http = createHttpClient(guard, scheduler, trust)
  const tools = { http, guard, scheduler, ...(trust === undefined ? {} : { trust }) }
  const channels = openChannels({ db, box, config, tools, log })
  const links = acknowledgeLinks(db, box)

  const linksOf = ({ id, createdAt }: Notice): Links => ({
    explain: (alertId) => `${baseUrl()}/ops/alerts/${encodeURIComponent(alertId)}`,
    page: (path) => baseUrl() + path,
    acknowledge: (alertId) => `${baseUrl()}${ACKNOWLEDGE_PATH}${links.create(alertId, id, createdAt)}`,
  })
  const policy = () => {
    const { deliveryAttempts, deliveryAgeMax, retentionDays } = config()
    return { attempts: deliveryAttempts, ageMaxMs: deliveryAgeMax * 1000, retentionDays }
  }
  const outbox = createOutbox({ db, channels, scheduler, random, log, telemetry, policy, linksOf })
  outbox.start()

  const target = () => {
    const { heartbeatUrl, heartbeatInterval } = config()
    return heartbeatUrl === null ? null : { url: heartbeatUrl, intervalMs: heartbeatInterval * 1000 }
  }
  const heartbeat = startHeartbeat({ http, scheduler, log, target, ailment })

  function testOver(alert: NoticeAlert, channelId: string): Notice {
    const id = newId(clock.now())
    const shared = { event: 'test', count: 1, isTest: true, createdAt: clock.now() } as const
    return { id, channelId, alerts: [alert], orderKey: `test:${id}`, ...shared }
  }

  return {
    channels,
    outbox,
    links,
    heartbeat,
    async testChannel(channelId) {
      const record = channels.record(channelId)
      if (!record) throw notFound('channel_not_found', `There is no channel ${channelId}.`)
      const [result] = await outbox.test([testOver(channelTest(channelId, record.name, clock.now()), channelId)])
      return result!
    },
    configurationChanged() {
      channels.configurationChanged()
      heartbeat.configurationChanged()
    },
    async stop() {
      heartbeat.stop()
      await outbox.stop()
      channels.close()
      http.close()
    },
  }
}

/** What a channel test tells of: no alert, but the shape of one. */
function channelTest(channelId: string, name: string, now: number): NoticeAlert {
  return {
    alertId: `test-${newId(now)}`,
    page: '/ops/channels',
    ruleId: 'channel_test',
    title: `Test of the channel ${name}`,
    message: `Messages over the channel ${channelId} arrive here.`,
    severity: 'info',
    status: 'active',
    metricName: 'channel_test',
    labels: {},
    currentValue: 1,
    thresholdValue: 0,
    unit: '',
    triggeredAt: now,
    resolvedAt: null,
    runbookUrl: null,
    tags: ['test'],
    ruleName: 'Channel test',
    condition: 'gt',
  }
}
