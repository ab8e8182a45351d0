import { afterEach, beforeEach, expect, test } from 'vitest'
import { World } from '../../../test/support/alerting-world.ts'
import { type PostedAlert, postedAlerts, postedTable } from './posted.ts'

let world: World
let turns: number
let failing: (batch: number) => boolean
beforeEach(() => {
  world = new World()
  world.db.exec(postedTable)
  turns = 0
  failing = () => false
})
afterEach(() => world.remove())

const start = () => {
  const { db, store, scheduler } = world
  const engine = {
    posted<T>(work: Parameters<typeof world.engine.posted<T>>[0]): T {
      turns++
      if (failing(turns)) throw new Error('the disk is full')
      return world.engine.posted(work)
    },
  }
  return postedAlerts({
    db,
    store,
    scheduler,
    engine,
    channels: () => [],
    escalationMs: () => 0,
  } as unknown as Parameters<typeof postedAlerts>[0])
}
const alert = (n: number): PostedAlert => ({
  labels: [
    ['alertname', 'A'],
    ['n', String(n)],
  ],
  annotations: {},
  startsAt: world.now,
  endsAt: null,
  generatorUrl: '',
})
const opened = () => (world.db.prepare('SELECT count(*) AS n FROM alerts').get() as { n: number }).n

test('requests that wait together are one commit, and each is answered when it is durable', async () => {
  const posted = start()
  const answers = Array.from({ length: 20 }, (_, n) => posted.post([alert(n)]).then(opened))
  expect(opened()).toBe(0)
  expect(await Promise.all(answers)).toEqual(Array(20).fill(20))
  expect(turns).toBe(1)
  posted.stop()
})

test('a large request is taken in parts, and a small one beside it is not lost', async () => {
  const posted = start()
  const large = posted.post(Array.from({ length: 450 }, (_, n) => alert(n)))
  const small = posted.post([alert(1000)])
  await new Promise((done) => setImmediate(done))
  await world.scheduler.run(10)
  await Promise.all([large, small])
  expect([opened(), turns]).toEqual([451, 3])
  posted.stop()
})

test('what cannot be written is refused, to each who sent it, and the next is taken', async () => {
  const posted = start()
  failing = (n) => n === 1 || n === 3
  const three = await Promise.allSettled([0, 1, 2].map((n) => posted.post([alert(n)])))
  expect(three.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  await posted.post([alert(1)])
  expect(opened()).toBe(3)
  posted.stop()
})
