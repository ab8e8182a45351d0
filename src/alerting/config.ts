/** Keys of alerting. */

import { wrongEntry } from '../base/address.ts'
import { bool, type ConfigOf, integer, type KeyOptions, optionalText, seconds, structure } from '../base/config-key.ts'

const alerting = { file: 'alerting.yaml', live: true } as const

const MAIL_ADDRESS = /^[^\s@<>,;:"]{1,64}@[A-Za-z0-9._-]{1,253}$/

export const alertingKeys = {
  enabled: bool('alerting.enabled', true, {
    ...alerting,
    env: 'ALERTING_ENABLED',
    help: 'Whether alert rules are evaluated.',
  }),
  evaluationInterval: seconds('alerting.evaluation_interval', 30, {
    ...alerting,
    env: 'ALERTING_EVALUATION_INTERVAL',
    min: 1,
    max: 3_600,
    help: 'Time between two evaluations of all rules.',
  }),
  escalationTimeout: seconds('alerting.escalation_timeout', 1_800, {
    ...alerting,
    env: 'ALERTING_ESCALATION_TIMEOUT',
    min: 10,
    max: 604_800,
    help: 'An alert that nobody acknowledged for this long rises by one severity.',
  }),
  suppressionWindow: seconds('alerting.suppression_window', 300, {
    ...alerting,
    min: 0,
    max: 86_400,
    help: 'Alerts of one metric beyond the first few within this time are told together; 0 tells each by itself.',
  }),
  maxAlertsPerMetric: integer('alerting.max_alerts_per_metric', 5, {
    ...alerting,
    min: 1,
    max: 1_000_000,
    unit: 'alerts',
    help: 'How many alerts of one metric are told one by one within the suppression window.',
  }),
  retentionDays: integer('alerting.alert_retention_days', 30, {
    ...alerting,
    min: 1,
    max: 3_650,
    unit: 'days',
    help: 'How long resolved alerts and deliveries are kept.',
  }),
  deliveryAttempts: integer('alerting.delivery_attempts', 12, {
    ...alerting,
    min: 1,
    max: 1_000,
    unit: 'attempts',
    help: 'How often a notice may fail before it is dead; a webhook says so itself (retry_attempts).',
  }),
  deliveryAgeMax: seconds('alerting.delivery_age_max', 21_600, {
    ...alerting,
    min: 10,
    max: 604_800,
    help: 'A notice that could not be delivered for this long is dead.',
  }),
  allowNetworks: texts('alerting.allow_networks', 'a list of networks such as 10.1.0.0/16, addresses, or host names', {
    ...alerting,
    env: 'ALERTING_ALLOW_NETWORKS',
    help: 'Internal networks and hosts that channels may speak to; all others are refused.',
    wrong: wrongEntry,
  }),
  heartbeatUrl: optionalText('alerting.heartbeat.url', {
    ...alerting,
    env: 'ALERTING_HEARTBEAT_URL',
    secret: true,
    pattern: /^https?:\/\/\S+$/,
    expected: 'an address that begins with https://',
    help: 'Asked again and again while the platform can alert, so that a service outside notices its silence.',
  }),
  heartbeatInterval: seconds('alerting.heartbeat.interval', 60, {
    ...alerting,
    env: 'ALERTING_HEARTBEAT_INTERVAL',
    min: 1,
    max: 86_400,
    help: 'Time between two heartbeats.',
  }),
  emailEnabled: bool('channels.email.enabled', false, { ...alerting, help: 'Whether the email channel sends.' }),
  smtpServer: optionalText('channels.email.smtp_server', {
    ...alerting,
    env: 'SMTP_SERVER',
    pattern: /^[A-Za-z0-9.:_-]{1,253}$/,
    expected: 'a host name, such as smtp.example.org',
    help: 'The mail server of the email channel.',
  }),
  smtpPort: integer('channels.email.smtp_port', 587, {
    ...alerting,
    env: 'SMTP_PORT',
    min: 1,
    max: 65_535,
    help: 'The port of the mail server.',
  }),
  smtpUsername: optionalText('channels.email.username', {
    ...alerting,
    env: 'SMTP_USERNAME',
    help: 'The user at the mail server.',
  }),
  smtpPassword: optionalText('channels.email.password', {
    ...alerting,
    env: 'SMTP_PASSWORD',
    secret: true,
    help: 'The password at the mail server.',
  }),
  emailFrom: optionalText('channels.email.from_email', {
    ...alerting,
    env: 'SMTP_FROM',
    pattern: MAIL_ADDRESS,
    expected: 'an address such as alerts@example.org',
    help: 'The sender of the email channel; the user at the mail server when that is an address.',
  }),
  emailTo: texts('channels.email.to_emails', 'a list of addresses such as ops@example.org', {
    ...alerting,
    env: 'SMTP_TO',
    help: 'Who gets the mails of the email channel.',
    wrong: (text) => (MAIL_ADDRESS.test(text) ? null : `expected an address such as ops@example.org, got "${text}"`),
  }),
  slackEnabled: bool('channels.slack.enabled', false, { ...alerting, help: 'Whether the Slack channel sends.' }),
  slackWebhookUrl: optionalText('channels.slack.webhook_url', {
    ...alerting,
    env: 'SLACK_WEBHOOK_URL',
    secret: true,
    pattern: /^https?:\/\/\S+$/,
    expected: 'an address that begins with https://',
    help: 'The incoming webhook of the Slack channel.',
  }),
} as const

/** Texts, as a list or separated by commas; none unless given. `wrong` says what is wrong with one. */
function texts(path: string, expected: string, options: KeyOptions & { wrong: (text: string) => string | null }) {
  const { wrong, ...rest } = options
  return structure<readonly string[]>(
    path,
    [],
    expected,
    (raw) => {
      const parts = typeof raw === 'string' ? raw.split(',').map((part) => part.trim()) : raw
      if (raw === null || raw === '') return []
      if (!Array.isArray(parts) || !parts.every((part) => typeof part === 'string')) throw new Error(expected)
      const problem = parts.map(wrong).find((text) => text !== null)
      if (problem) throw new Error(problem)
      return parts
    },
    rest,
  )
}

export type AlertingConfig = ConfigOf<typeof alertingKeys>
