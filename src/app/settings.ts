/** Values of the configuration in the form that several processes hand to the same parts. */
import type { Values } from '../config/index.ts'

export const sessionTimesOf = ({ identity }: Values) => ({
  idleMs: identity.sessionIdle * 1000,
  lifetimeMs: identity.sessionLifetime * 1000,
})

export const limitsOf = (platform: Values['platform']) => ({
  bodyBytes: platform.bodyBytes,
  jsonDepth: platform.jsonDepth,
  perPrincipal: { perSecond: platform.requestsPerSecond, burst: platform.requestsBurst },
  perAddress: { perSecond: platform.addressPerSecond, burst: platform.addressBurst },
  sockets: platform.sockets,
})
