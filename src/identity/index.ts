/** The front door of identity: who may do what. */
export type { IdentityConfig } from './config.ts'
export type { Caller, Identity, NewToken, Role, SessionTimes, TokenView } from './identity.ts'
export { FIRST_LINK_MS, LINK_MS, openIdentity, parseLifetime, ROLES } from './identity.ts'
