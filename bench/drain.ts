/**
 * Instances removed and added under load, as scaling does it: every request of every client is answered as it should be.
 *   node bench/drain.ts [removals]
 * Half of the load are reads, half are trades, each with one connection of its own.
 */
import { eventually, startPlatform } from '../test/support/platform.ts'

const removals = Number(process.argv[2] ?? 100)
const CLIENTS = 8
const print = (line: string) => process.stdout.write(`${line}\n`)

const platform = await startPlatform({ env: { IDENTITY_REGISTRATIONS: '1000' } })
const account = { username: 'drainer', password: 'Korrekt.Pferd' }
await platform.request('POST', '/api/v1/auth/register', { ...account, email: 'drainer@example.org' })
const { data } = (await platform.request('POST', '/api/v1/auth/login', account)).json
const own = { authorization: `Bearer ${data.access_token}` }
const made = await platform.request(
  'POST',
  '/api/v1/markets',
  {
    title: 'Drain',
    question: 'Does it hold?',
    outcome_a: 'Yes',
    outcome_b: 'No',
    category: 'technology',
    closes_at: '2099-01-01T00:00:00Z',
    total_liquidity: 500,
    min_trade_amount: 0.0001,
  },
  own,
)
const id: string = made.json.data.id

let stop = false
let answered = 0
const failed: string[] = []
const load = Array.from({ length: CLIENTS }, async (_, n) => {
  while (!stop) {
    const trade = { market_id: id, trade_type: 'buy', outcome: 'outcome_a', amount: 0.0001 }
    const answer = await (n % 2 === 0
      ? platform.request('GET', `/api/v1/markets/${id}`)
      : platform.request('POST', '/api/v1/trades', trade, own)
    ).catch((error: Error) => ({ status: 0, text: `${error.message}: ${String(error.cause)}` }))
    if (answer.status === 200 || answer.status === 201) answered++
    else failed.push(`${n % 2 === 0 ? 'read' : 'trade'}: ${answer.status} ${answer.text}`)
  }
})

const instances = () => platform.processes().filter(({ kind }) => kind === 'instance').length
async function want(target_instances: number) {
  const asked = await platform.request('POST', '/api/v1/auto-scaling/scale-manual', { target_instances })
  if (asked.status !== 200) throw new Error(asked.text)
  await eventually(
    async () => [instances(), await platform.request('GET', '/ready')] as const,
    ([count, ready]) => count === target_instances && ready.status === 200,
    60_000,
  )
}
for (let i = 0; i < removals; i++) {
  await want(2)
  await want(1)
  if (i % 10 === 9) print(`${i + 1} removals, ${answered} answered, ${failed.length} failed`)
}
stop = true
await Promise.all(load)
const trades = (await platform.request('GET', `/api/v1/trades?market_id=${id}&limit=1`)).json.data.total
print(`${removals} removals: ${answered} requests answered, ${failed.length} failed; ${trades} trades in the books`)
for (const line of failed.slice(0, 10)) print(line)
await platform.remove()
process.exitCode = failed.length === 0 ? 0 : 1
