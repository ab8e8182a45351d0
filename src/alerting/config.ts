/** Keys of alerting. */
import { bool, type ConfigOf, integer, optionalText, seconds } from '../base/config-key.ts'

const alerting = { file: 'alerting.yaml', live: true } as const

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

export type AlertingConfig = ConfigOf<typeof alertingKeys>
