/**
 * The audit of the books: what must hold at any moment, over all rows, and what is wrong where it does not. Run at every
 * start and by tests after every step; a store may ask its database the same sums.
 */
import type { AccountRow, HoldingRow, MarketRow, OrderRow, Transfer } from '../books.ts'
import { isOpen } from '../books.ts'
import type { Money } from '../model.ts'
import { PAYOUT } from '../pricing/lmsr.ts'

export interface AllRows {
  readonly accounts: Iterable<AccountRow>
  readonly markets: Iterable<MarketRow>
  /** At least those of markets that are not paid out. */
  readonly holdings: Iterable<HoldingRow>
  /** At least those that are open. */
  readonly orders: Iterable<OrderRow>
}

export interface Audit {
  /** Money with users and markets, less what was issued: 0n. */
  readonly imbalance: Money
  readonly issued: Money
  /** One sentence a fault; empty when all is well. At most `FAULTS_MAX`. */
  readonly faults: readonly string[]
}

const FAULTS_MAX = 100

/** Adds everything up once. */
export function audit(rows: AllRows): Audit {
  const faults: string[] = []
  const fault = (text: string): void => {
    if (faults.length < FAULTS_MAX) faults.push(text)
  }
  const heldMoney = new Map<string, { money: bigint; open: number }>()
  const heldShares = new Map<string, bigint>()
  const openInMarket = new Map<string, number>()
  for (const order of rows.orders) {
    if (!isOpen(order)) {
      if (order.reservedMoney !== 0n) fault(`order ${order.id} is ${order.state} and holds ${order.reservedMoney}`)
      continue
    }
    const of = heldMoney.get(order.userId) ?? { money: 0n, open: 0 }
    of.money += order.reservedMoney
    of.open++
    heldMoney.set(order.userId, of)
    openInMarket.set(order.marketId, (openInMarket.get(order.marketId) ?? 0) + 1)
    if (order.remainingShares <= 0n) fault(`order ${order.id} rests with ${order.remainingShares} shares`)
    if (order.side === 'buy') {
      const needed = (order.remainingShares * order.limit! + 9_999n) / 10_000n
      if (order.reservedMoney !== needed) fault(`order ${order.id} holds ${order.reservedMoney}, not ${needed}`)
    } else {
      const key = `${order.userId}/${order.marketId}/${order.outcome}`
      heldShares.set(key, (heldShares.get(key) ?? 0n) + order.remainingShares)
    }
  }
  let money = 0n
  let issued = 0n
  for (const account of rows.accounts) {
    money += account.available + account.reserved
    issued += account.granted
    if (account.available < 0n || account.reserved < 0n) fault(`account ${account.userId} is below nothing`)
    const held = heldMoney.get(account.userId) ?? { money: 0n, open: 0 }
    if (account.reserved !== held.money)
      fault(`account ${account.userId} has ${account.reserved} reserved, its orders ${held.money}`)
    if (account.openOrders !== held.open)
      fault(`account ${account.userId} counts ${account.openOrders} open orders of ${held.open}`)
  }
  const out = new Map<string, bigint>()
  for (const holding of rows.holdings) {
    const { marketId, outcome, userId } = holding
    const key = `${marketId}/${outcome}`
    out.set(key, (out.get(key) ?? 0n) + holding.shares)
    if (holding.reserved < 0n || holding.shares < holding.reserved || holding.cost < 0n)
      fault(`holding ${holding.id} has ${holding.shares} shares, ${holding.reserved} reserved, cost ${holding.cost}`)
    const held = heldShares.get(`${userId}/${key}`) ?? 0n
    heldShares.delete(`${userId}/${key}`)
    if (holding.reserved !== held) fault(`holding ${holding.id} has ${holding.reserved} reserved, its orders ${held}`)
  }
  for (const [key, shares] of heldShares) fault(`orders hold back ${shares} shares of ${key}, which nobody has`)
  for (const market of rows.markets) {
    money += market.pool + market.escrow + market.fees
    if (market.pool < 0n || market.escrow < 0n || market.fees < 0n) fault(`market ${market.id} is below nothing`)
    const open = openInMarket.get(market.id) ?? 0
    if (market.openOrders !== open) fault(`market ${market.id} counts ${market.openOrders} open orders of ${open}`)
    let most = 0n
    market.sold.forEach((sold, outcome) => {
      const held = out.get(`${market.id}/${outcome}`) ?? 0n
      if (sold !== held) fault(`market ${market.id} has sold ${sold} of outcome ${outcome}, users hold ${held}`)
      if (sold > most) most = sold
    })
    const there = market.pool + market.escrow
    if (there < most * BigInt(PAYOUT)) fault(`market ${market.id} has ${there} for ${most} shares`)
    if (market.paidAt !== null && there !== 0n) fault(`market ${market.id} is paid and has ${there} left`)
  }
  if (money !== issued) fault(`${money} are there, ${issued} were issued`)
  return { imbalance: money - issued, issued, faults }
}

/**
 * Balances as the transfers alone have them, by `money/account/id` or `shares/market/outcome/account/id`: the ledger's other
 * side of the books. `balances` are those of all transfers before, and are added to.
 */
export function balancesOf(transfers: Iterable<Transfer>, balances = new Map<string, bigint>()): Map<string, bigint> {
  for (const transfer of transfers) {
    const asset = transfer.asset === 'money' ? 'money' : `shares/${transfer.marketId}/${transfer.outcome}`
    const from = `${asset}/${transfer.from}/${transfer.fromId}`
    const to = `${asset}/${transfer.to}/${transfer.toId}`
    balances.set(from, (balances.get(from) ?? 0n) - transfer.amount)
    balances.set(to, (balances.get(to) ?? 0n) + transfer.amount)
  }
  return balances
}
