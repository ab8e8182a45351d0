/**
 * Keys that are part of the platform's contract and whose rooms come later: they are read and checked from the first
 * version on, so that a configuration written today holds tomorrow. A room that comes takes its keys with it.
 */
import { bool, integer, integers, number, oneOf, optionalText, seconds } from '../base/config-key.ts'

export const analyticsKeys = {
  mlEnabled: bool('analytics.ml_enabled', true, {
    env: 'ANALYTICS_ML_ENABLED',
    live: true,
    help: 'Whether models are trained and forecasts are made.',
  }),
  predictionHorizons: integers('analytics.prediction_horizons', [15, 30, 60, 120], {
    env: 'ANALYTICS_PREDICTION_HORIZONS',
    live: true,
    min: 1,
    max: 10_080,
    help: 'How far forecasts look ahead, in minutes.',
  }),
  anomalyThreshold: number('analytics.anomaly_threshold', 2.5, {
    env: 'ANALYTICS_ANOMALY_THRESHOLD',
    live: true,
    min: 0.5,
    max: 100,
    unit: 'deviations',
    help: 'Distance from the expected value from which a sample is an anomaly.',
  }),
} as const

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

const scaling = { file: 'scaling.yaml', live: true } as const

export const scalingKeys = {
  enabled: bool('scaling.enabled', true, {
    ...scaling,
    env: 'AUTO_SCALING_ENABLED',
    help: 'Whether scaling policies are evaluated.',
  }),
  minInstances: integer('scaling.min_instances', 1, {
    ...scaling,
    env: 'AUTO_SCALING_MIN_INSTANCES',
    min: 0,
    max: 1_000,
    unit: 'instances',
    help: 'Fewest instances that any policy may leave.',
  }),
  maxInstances: integer('scaling.max_instances', 10, {
    ...scaling,
    env: 'AUTO_SCALING_MAX_INSTANCES',
    min: 1,
    max: 1_000,
    unit: 'instances',
    help: 'Most instances that any policy may start.',
  }),
  cooldownPeriod: seconds('scaling.cooldown_period', 300, {
    ...scaling,
    env: 'AUTO_SCALING_COOLDOWN_PERIOD',
    min: 0,
    max: 86_400,
    help: 'Time after an action before the same policy acts again.',
  }),
} as const

const performance = { file: 'performance.yaml', live: true } as const
export const optimizerKeys = {
  strategy: oneOf('optimization.strategy', 'balanced', ['aggressive', 'balanced', 'conservative'], {
    ...performance,
    env: 'PERFORMANCE_OPTIMIZATION_STRATEGY',
    help: 'How eagerly the optimizer acts.',
  }),
  enabled: bool('optimization.enabled', true, {
    ...performance,
    env: 'PERFORMANCE_OPTIMIZATION_ENABLED',
    help: 'Whether the optimizer acts at all.',
  }),
} as const
