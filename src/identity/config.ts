/** What can be configured of identity. */
import type { ConfigOf } from '../base/config-key.ts'
import { optionalText, seconds } from '../base/config-key.ts'

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
} as const

export type IdentityConfig = ConfigOf<typeof identityKeys>
