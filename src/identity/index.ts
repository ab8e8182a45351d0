/** The front door of identity: who may do what. */
export type { AccountLimits, Accounts, Trader, User } from './accounts/accounts.ts'
export { TRADER_TOKEN } from './accounts/accounts.ts'
export type { OpenAccounts } from './accounts/open.ts'
export { postgresAccounts, sqliteAccounts } from './accounts/open.ts'
export type { IdentityConfig } from './config.ts'
export type { Caller, Identity, NewToken, Role, SessionTimes, TokenView } from './identity.ts'
export { FIRST_LINK_MS, LINK_MS, openIdentity, openIdentityFile, parseLifetime, ROLES } from './identity.ts'
