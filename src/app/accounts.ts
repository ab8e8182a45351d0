/** Who calls, of both kinds: operators (identity.db of this platform) and traders (where accounts are). */
import type { Clock } from '../base/clock.ts'
import type { Authenticator } from '../http/auth.ts'
import type { AccountLimits, Identity, OpenAccounts } from '../identity/index.ts'
import { openIdentityFile, postgresAccounts, sqliteAccounts, TRADER_TOKEN } from '../identity/index.ts'
import { principalOfTrader, traderSession } from '../identity/routes.ts'

export interface CallersOf extends OpenAccounts {
  authenticator(identity: Identity, clock: Clock): Authenticator
}

/** Accounts in PostgreSQL where `databaseUrl` says so, else in the file of identity. */
export async function openAccounts(
  databaseUrl: string | null,
  identityFile: string,
  limits: () => AccountLimits,
): Promise<CallersOf> {
  const open =
    databaseUrl === null
      ? sqliteAccounts(openIdentityFile(identityFile), limits)
      : await postgresAccounts(databaseUrl, limits)
  return {
    ...open,
    authenticator: (identity, clock) => ({
      byToken(token) {
        if (!token.startsWith(TRADER_TOKEN)) return identity.byToken(token, clock.now())
        const found = open.byToken(token, clock.now())
        return found instanceof Promise
          ? found.then((trader) => trader && principalOfTrader(trader))
          : found && principalOfTrader(found)
      },
      bySession: (cookie) => identity.bySession(cookie, clock.now()),
      alive(credential) {
        const session = traderSession(credential)
        return session === null ? identity.alive(credential, clock.now()) : open.alive(session, clock.now())
      },
    }),
  }
}
