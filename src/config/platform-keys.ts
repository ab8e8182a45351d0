/** What can be configured of the platform as a whole: where it listens, where it keeps things, how it logs and limits. */
import type { ConfigOf } from '../base/config-key.ts'
import { integer, number, oneOf, optionalText, seconds, text } from '../base/config-key.ts'

export const platformKeys = {
  port: integer('server.port', 8000, {
    env: 'PORT',
    min: 0,
    max: 65_535,
    help: 'The port that clients reach; 0 takes any that is free.',
  }),
  host: text('server.host', '127.0.0.1', {
    env: 'HOST',
    pattern: /^[A-Za-z0-9.:_-]{1,253}$/,
    expected: 'an address or host name, such as 127.0.0.1 or 0.0.0.0',
    help: 'The address to listen on. 0.0.0.0 opens the platform to the network.',
  }),
  publicUrl: optionalText('server.public_url', {
    env: 'PUBLIC_URL',
    pattern: /^https?:\/\/[^\s/?#]+\/?$/,
    expected: 'an address without a path, such as https://opinions.example.org',
    live: true,
    help: 'Where people reach the platform, when a reverse proxy stands before it; login links use it.',
  }),
  dataDir: text('server.data_dir', './data', {
    env: 'DATA_DIR',
    pattern: /\S/,
    expected: 'a folder',
    help: 'Everything that must last: databases, metrics, keys. Used by one running platform at a time.',
  }),
  environment: text('server.environment', 'production', {
    env: 'OM_ENVIRONMENT',
    pattern: /^[\w.-]{1,50}$/,
    expected: 'a name of letters, digits, dots and dashes',
    help: 'The name that /health tells: production, staging, ….',
  }),
  secretKey: optionalText('server.secret_key', {
    env: 'OM_SECRET_KEY',
    secret: true,
    pattern: /^.{32,}$/,
    expected: 'at least 32 characters',
    help: 'Encrypts stored secrets. Without it the key is the file secret.key in the data directory.',
  }),
  logDir: text('log.dir', './logs', {
    env: 'LOG_DIR',
    pattern: /\S/,
    expected: 'a folder',
    help: 'Where app.log and error.log are written.',
  }),
  logLevel: oneOf('log.level', 'info', ['debug', 'info', 'warn', 'error'], {
    env: 'LOG_LEVEL',
    live: true,
    help: 'The least level that is logged.',
  }),
  logConsole: oneOf('log.console', 'auto', ['auto', 'readable', 'json', 'off'], {
    env: 'LOG_CONSOLE',
    live: true,
    help: 'What the console shows; auto is readable on a terminal and JSON elsewhere.',
  }),
  logFileBytesMax: integer('log.file_bytes_max', 20_971_520, {
    min: 65_536,
    max: 1_073_741_824,
    unit: 'bytes',
    live: true,
    help: 'A log file larger than this is put aside.',
  }),
  logFileAgeMax: seconds('log.file_age_max', 86_400, {
    min: 60,
    max: 31_536_000,
    live: true,
    help: 'A log file older than this is put aside.',
  }),
  logFilesKept: integer('log.files_kept', 7, {
    min: 0,
    max: 1_000,
    unit: 'files',
    live: true,
    help: 'How many log files that were put aside are kept, for each of app.log and error.log.',
  }),
  bodyBytes: integer('limits.body_bytes', 1_048_576, {
    min: 1_024,
    max: 1_073_741_824,
    unit: 'bytes',
    help: 'Most bytes of a request body, unpacked, on routes that set no limit of their own.',
  }),
  jsonDepth: integer('limits.json_depth', 32, {
    min: 4,
    max: 256,
    unit: 'levels',
    live: true,
    help: 'Deepest nesting of a JSON body.',
  }),
  requestsPerSecond: number('limits.requests_per_second', 5_000, {
    min: 0.1,
    max: 1_000_000,
    live: true,
    help: 'Requests a second of one token or session, for ever; beyond it the answer is 429.',
  }),
  requestsBurst: integer('limits.requests_burst', 10_000, {
    min: 1,
    max: 1_000_000,
    live: true,
    help: 'Requests that one token or session may send at once.',
  }),
  addressPerSecond: number('limits.address_requests_per_second', 500, {
    min: 0.1,
    max: 1_000_000,
    live: true,
    help: 'Requests a second of one address without a token that holds.',
  }),
  addressBurst: integer('limits.address_requests_burst', 2_000, {
    min: 1,
    max: 1_000_000,
    live: true,
    help: 'Requests that one address may send at once without a token that holds.',
  }),
  sockets: integer('limits.sockets', 5_000, {
    min: 1,
    max: 100_000,
    live: true,
    help: 'Most WebSockets open at once; the next is closed with 1013.',
  }),
} as const

export type PlatformConfig = ConfigOf<typeof platformKeys>
