/**
 * From sample to webhook, over HTTP at both ends, everything durable: paced breaches of one series each, then a burst
 * of 1,000 at once, ungrouped.
 *   node bench/alerting-delivery.ts [main.js]
 */
import { startAlerting, startReceiver } from '../test/support/notices.ts'
import { ADMIN_TOKEN, sleep } from '../test/support/platform.ts'

const RATE = 100
const SECONDS = 20
const BURST = 1000
const print = (line: string) => process.stdout.write(`${line}\n`)
const main = process.argv[2]

const receiver = await startReceiver()
const platform = await startAlerting(receiver, main ? { main } : {})
const points = `${platform.url}/api/v1/advanced-analytics`

async function post(path: string, body: unknown): Promise<void> {
  const response = await fetch(`${points}/${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${ADMIN_TOKEN}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  const text = await response.text()
  if (response.status === 503) {
    refused++
    await sleep(5)
    return post(path, body)
  }
  if (!response.ok) throw new Error(`${response.status} ${text}`)
}
const point = (n: string) => ({ metric_name: 'delivery_test', labels: { n }, value: 90 })

/** Answers 503, after which the sample was sent again: the time counts from the first try. */
let refused = 0
const started = new Map<string, number>()
function figures(prefix: string): string {
  const ms = receiver.received
    .filter((r) => r.event === 'firing' && r.n.startsWith(prefix))
    .map((r) => r.at - started.get(r.n)!)
    .sort((a, b) => a - b)
  const at = (q: number) => `${ms[Math.min(ms.length - 1, Math.floor(q * ms.length))]!.toFixed(1)} ms`
  return `${ms.length} received, p50 ${at(0.5)}, p90 ${at(0.9)}, p99 ${at(0.99)}, most ${at(1)}`
}

for (let i = 0; i < 50; i++) {
  started.set(`w${i}`, performance.now())
  await post('add-data-point', point(`w${i}`))
}
await sleep(1000)

const sent: Promise<void>[] = []
const begin = performance.now()
for (let i = 0; i < RATE * SECONDS; i++) {
  const due = begin + (i * 1000) / RATE
  if (due > performance.now()) await sleep(due - performance.now())
  started.set(`p${i}`, performance.now())
  sent.push(post('add-data-point', point(`p${i}`)))
}
await Promise.all(sent)
await receiver.until(() => receiver.received.filter((r) => r.n.startsWith('p')).length >= RATE * SECONDS, 30_000)
print(`paced, ${RATE} a second: ${figures('p')}${refused > 0 ? `; ${refused} answers were 503` : ''}`)

await sleep(2000)
const now = performance.now()
for (let i = 0; i < BURST; i++) started.set(`b${i}`, now)
await post(
  'data-points',
  Array.from({ length: BURST }, (_, i) => point(`b${i}`)),
)
await receiver.until(() => receiver.received.filter((r) => r.n.startsWith('b')).length >= BURST, 30_000)
print(`burst of ${BURST}: ${figures('b')}`)
await platform.remove()
await receiver.close()
