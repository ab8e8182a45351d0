/** What a refusal of the market is to a client: its status, and its facts as fields. */
import { AppError } from '../base/errors.ts'
import type { Refusal, RefusalCode } from './commands.ts'

const STATUS: Readonly<Record<RefusalCode, number>> = {
  account_not_found: 404,
  market_not_found: 404,
  order_not_found: 404,
  position_not_found: 404,
  not_yours: 403,
  not_a_holder: 403,
  idempotency_clash: 409,
  market_not_open: 409,
  market_not_closed: 409,
  already_resolved: 409,
  not_resolved: 409,
  dispute_closed: 409,
  dispute_exists: 409,
  insufficient_funds: 409,
  insufficient_shares: 409,
  price_beyond_limit: 409,
  quote_changed: 409,
  not_fillable: 409,
  order_done: 409,
  too_many_orders: 409,
  too_many_markets: 429,
  amount_below_minimum: 422,
  amount_above_maximum: 422,
  closes_in_the_past: 422,
  invalid: 422,
}
const DAY_SECONDS = 86_400

/** The error that a client gets for a refusal. */
export function refused({ code, detail, facts }: Refusal): AppError {
  const status = STATUS[code]
  return new AppError(status, code, detail, {
    fields: Object.entries(facts ?? {}).map(([path, value]) => ({ path, message: String(value) })),
    // Markets are counted over a day; when the next one is allowed is not told exactly.
    ...(status === 429 ? { retryAfterSeconds: DAY_SECONDS / 24 } : {}),
  })
}
