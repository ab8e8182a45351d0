/** Which addresses are internal, in whatever form they come. */
import { connect, createServer } from 'node:net'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AddressRefused, addressGuard, mayReach, type Resolve, wrongEntry } from './address.ts'

// biome-ignore format: a table
const INTERNAL = [
  '0.0.0.0', '10.0.0.1', '100.64.0.1', '100.100.100.200', '127.0.0.1', '127.255.255.254', '169.254.169.254', '172.16.0.1',
  '172.31.255.255', '192.0.0.192', '192.168.1.1', '198.18.0.1', '198.19.255.255', '203.0.113.9', '224.0.0.1',
  '239.255.255.250', '240.0.0.1', '255.255.255.255', '168.63.129.16',
  '::', '::1', 'fe80::1', 'fe80::1%eth0', 'fc00::1', 'fd00:ec2::254', 'ff02::1', 'fec0::1', '2001:db8::1', '2001::1',
  '64:ff9b:1::1', '100::1', '5f00::1', '::127.0.0.1', '::ffff:0:127.0.0.1',
  '::ffff:127.0.0.1', '::ffff:7f00:1', '0:0:0:0:0:ffff:10.0.0.1', '2002:7f00:1::', '2002:c0a8:101::1', '64:ff9b::10.0.0.1',
  '64:ff9b::a9fe:a9fe', 'not an address', '',
]
// biome-ignore format: a table
const OUTSIDE = [
  '1.1.1.1', '8.8.8.8', '9.255.255.255', '11.0.0.0', '100.63.255.255', '100.128.0.0', '126.255.255.255', '128.0.0.0',
  '169.253.255.255', '172.15.255.255', '172.32.0.0', '192.167.255.255', '192.169.0.0', '198.17.255.255', '198.20.0.0',
  '223.255.255.255', '2606:4700::1111', '2a00::1', '2001:200::1', '::ffff:1.1.1.1', '64:ff9b::8.8.8.8', '2002:808:808::1',
]

test.each(INTERNAL)('%j is internal', (address) => expect(mayReach(address, [])).toBe(false))
test.each(OUTSIDE)('%s is outside', (address) => expect(mayReach(address, [])).toBe(true))

test.each([
  ['10.1.2.3', ['10.1.0.0/16'], true],
  ['10.2.2.3', ['10.1.0.0/16'], false],
  ['10.1.2.3', ['10.1.2.3'], true],
  ['10.1.2.4', ['10.1.2.3'], false],
  ['10.1.2.7', ['10.1.2.4/30'], true],
  ['10.1.2.8', ['10.1.2.4/30'], false],
  ['::ffff:10.1.2.3', ['10.1.0.0/16'], true],
  ['fd12::1', ['fd00::/8'], true],
  ['127.0.0.1', ['0.0.0.0/0'], true],
  ['::1', ['0.0.0.0/0'], false],
  ['127.0.0.1', ['localhost'], false],
])('%s with %j allowed: %s', (address, allowed, may) => expect(mayReach(address, allowed)).toBe(may))

test('an IPv4 address inside an IPv6 one is judged as itself', () => {
  fc.assert(
    fc.property(fc.ipV4(), (address) => {
      const may = mayReach(address, [])
      expect(mayReach(`::ffff:${address}`, [])).toBe(may)
      expect(mayReach(`64:ff9b::${address}`, [])).toBe(may)
    }),
  )
})

test('no text is taken for an outside address by mistake, and none throws', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.ipV6(), fc.ipV4()), (text) => {
      expect(typeof mayReach(text, ['10.0.0.0/8', 'x'])).toBe('boolean')
      wrongEntry(text)
    }),
  )
})

test.each(['10.0.0.0/8', '::1', 'fd00::/8', 'relay.internal', '*.example.org', 'localhost'])(
  '%s may stand in the list',
  (entry) => expect(wrongEntry(entry)).toBeNull(),
)
test.each(['10.0.0.0/33', 'fd00::/129', 'a b', 'http://x', '*', '', '10.0.0.0/', '1.2.3.4/-1'])('%j may not', (entry) =>
  expect(wrongEntry(entry)).not.toBeNull(),
)

describe('the look-up', () => {
  const answering =
    (...addresses: string[]): Resolve =>
    (_, __, done) =>
      done(
        null,
        addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      )
  const ask = (guard: ReturnType<typeof addressGuard>, host: string, all = true) =>
    new Promise<unknown>((resolve) => {
      guard.lookup(host, { all }, (error, found) => resolve(error ?? found))
    })

  test('hands on only addresses that passed', async () => {
    const guard = addressGuard(() => [], answering('10.0.0.1', '1.1.1.1', '::1'))
    expect(await ask(guard, 'x.example')).toEqual([{ address: '1.1.1.1', family: 4 }])
    expect(await ask(guard, 'x.example', false)).toBe('1.1.1.1')
  })

  test('refuses a host whose addresses are all internal', async () => {
    expect(
      await ask(
        addressGuard(() => [], answering('10.0.0.1', 'fd00::1')),
        'x.example',
      ),
    ).toBeInstanceOf(AddressRefused)
  })

  test.each([
    ['relay.internal', true],
    ['RELAY.internal.', true],
    ['a.b.shop.example', true],
    ['shop.example', false],
    ['evilshop.example', false],
  ])('names that are allowed may resolve to anything: %s', async (host, may) => {
    const guard = addressGuard(() => ['relay.internal', '*.shop.example'], answering('10.0.0.1'))
    expect(Array.isArray(await ask(guard, host))).toBe(may)
  })

  test('a name that changes its address between two questions gains nothing', async () => {
    let asked = 0
    const rebinding: Resolve = (_, __, done) =>
      done(null, [{ address: asked++ === 0 ? '1.1.1.1' : '127.0.0.1', family: 4 }])
    const server = createServer((socket) => socket.end('inside')).listen(0, '127.0.0.1')
    await new Promise((done) => server.on('listening', done))
    const { port } = server.address() as { port: number }
    const guard = addressGuard(() => [], rebinding)
    const heard = (): Promise<string> =>
      new Promise((resolve) => {
        const socket = connect({ host: 'x.example', port, lookup: guard.lookup, signal: AbortSignal.timeout(300) })
        socket.on('data', (data) => resolve(data.toString()))
        socket.on('error', (error) => resolve(error.name))
      })
    expect(await heard()).not.toBe('inside')
    expect(await heard()).toBe('AddressRefused')
    server.close()
  })

  test.each(['127.0.0.1', '[::1]', '::1', '10.0.0.1'])(
    'an address in place of a name is checked as well: %s',
    (host) => {
      expect(() => addressGuard(() => []).check(host)).toThrow(AddressRefused)
      expect(() => addressGuard(() => ['127.0.0.1', '::1', '10.0.0.0/8']).check(host)).not.toThrow()
    },
  )
})
