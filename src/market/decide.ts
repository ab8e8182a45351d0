/**
 * What a command does to the market: the one decision that the writer, PostgreSQL's transactions, tests and benches share.
 *
 *   (books, envelope, settings, now) ──▶ a refusal, which has changed nothing, or the effects, which are then a fact
 *
 * Pure: the same books, command, ids and time give the same effects. Each kind of command checks in its own fixed order
 * (account, market, state, amounts, holdings, price, funds) and then changes; keys and fingerprints are the store's matter.
 */
import type { Decide } from './books.ts'
import { Changes } from './ledger/changes.ts'
import {
  closeMarket,
  createMarket,
  decideDisputes,
  editMarket,
  openAccount,
  openDispute,
  resolveMarket,
  suspendMarket,
  tick,
  verifyMarket,
} from './life.ts'
import { amendOrder, cancelAll, cancelOrder, closePosition, type Deciding, placeOrder, trade } from './trading.ts'

export const decide: Decide = (books, envelope, settings, now) => {
  const { actor, command } = envelope
  const on: Deciding = { books, actor, settings, now, changes: new Changes(books, settings.newId, now) }
  switch (command.type) {
    case 'trade':
      return trade(on, command)
    case 'place_order':
      return placeOrder(on, command)
    case 'amend_order':
      return amendOrder(on, command)
    case 'cancel_order':
      return cancelOrder(on, command)
    case 'cancel_all':
      return cancelAll(on, command)
    case 'close_position':
      return closePosition(on, command)
    case 'open_account':
      return openAccount(on, command)
    case 'create_market':
      return createMarket(on, command)
    case 'edit_market':
      return editMarket(on, command)
    case 'close_market':
      return closeMarket(on, command)
    case 'suspend_market':
      return suspendMarket(on, command)
    case 'verify_market':
      return verifyMarket(on, command)
    case 'resolve_market':
      return resolveMarket(on, command)
    case 'open_dispute':
      return openDispute(on, command)
    case 'decide_disputes':
      return decideDisputes(on, command)
    case 'tick':
      return tick(on, command)
  }
}
