/** The front door of configuration. Only `app` and `cli` come in; rooms are handed their values. */
export type { Config, LoadOptions, Override, Snapshot, ValueView } from './load.ts'
export {
  ConfigError,
  debugWanted,
  environmentWith,
  loadConfig,
  passedOn,
  tokenGiven,
  withoutSecrets,
} from './load.ts'
export type { PlatformConfig } from './platform-keys.ts'
export type { Values } from './rooms.ts'
export { keys } from './rooms.ts'
export type { Problem, Source } from './sources.ts'
