/** What can be configured of identity. */
import type { ConfigOf } from '../base/config-key.ts'
import { integer, optionalText, seconds } from '../base/config-key.ts'

export const identityKeys = {
  adminToken: optionalText('identity.admin_token', {
    env: 'OM_ADMIN_TOKEN',
    secret: true,
    pattern: /^[\x21-\x7e]{16,512}$/,
    expected: 'at least 16 visible characters without spaces',
    help: 'Becomes the first admin token when the platform starts for the first time; later it is ignored.',
  }),
  sessionIdle: seconds('identity.session_idle', 12 * 3600, {
    min: 60,
    max: 30 * 86_400,
    live: true,
    help: 'A session of the page ends after this long without a request.',
  }),
  sessionLifetime: seconds('identity.session_lifetime', 7 * 86_400, {
    min: 300,
    max: 90 * 86_400,
    live: true,
    help: 'A session of the page ends this long after the log-in, whatever happens.',
  }),
  registrations: integer('identity.registrations', 5, {
    env: 'IDENTITY_REGISTRATIONS',
    min: 1,
    max: 1_000_000,
    live: true,
    help: 'Most accounts that one address may register in 5 minutes.',
  }),
  loginFailures: integer('identity.login_failures', 10, {
    env: 'IDENTITY_LOGIN_FAILURES',
    min: 1,
    max: 1_000_000,
    live: true,
    help: 'Most failed log-ins of one account, and of one address, in 5 minutes.',
  }),
} as const

export type IdentityConfig = ConfigOf<typeof identityKeys>
