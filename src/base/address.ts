/**
 * Which addresses a message may go to: none of an internal network, unless the configuration allows it. Otherwise
 * whoever may write a channel could make the platform speak to services behind its firewall.
 *
 * The check stands in the look-up of the connection itself, after DNS has answered, and hands on only addresses that
 * passed: the socket goes where the check looked, and no second answer of DNS comes between (no rebinding). IPv6 is
 * read by its bytes, so that an IPv4 address inside it (mapped, 6to4, NAT64) is judged as that.
 *
 * The ranges are those of IANA's special-purpose registries (RFC 6890 and its updates), with multicast and the
 * metadata addresses of clouds. Of IPv6 only global unicast (2000::/3) is open.
 */
import { lookup } from 'node:dns'
import { isIP, type LookupFunction } from 'node:net'
import { lazy } from './lazy.ts'

export interface AddressGuard {
  /** For `net.connect`, `http.request` and the like; these do not ask it for a host that is an address itself. */
  readonly lookup: LookupFunction
  /** Throws `AddressRefused` when the host is an address that is not allowed; names pass and are looked up later. */
  check(host: string): void
}

export class AddressRefused extends Error {
  constructor(key: string) {
    super(`the address is in an internal network, and ${key} does not name it`)
    this.name = 'AddressRefused'
  }
}

/** What of `dns.lookup` is used. */
export type Resolve = (
  host: string,
  options: { all: true; family: number },
  done: (error: Error | null, addresses: { address: string; family: number }[]) => void,
) => void

/**
 * `allowed`: networks (`10.1.0.0/16`), addresses, host names, or `*.example.org` for all names below. `key`: the key of
 * configuration that names them, for the sentence of a refusal.
 */
export function addressGuard(
  allowed: () => readonly string[],
  resolve: Resolve = lookup as Resolve,
  key = 'alerting.allow_networks',
): AddressGuard {
  return {
    lookup(host, options, done) {
      const family = options.family === 'IPv4' ? 4 : options.family === 'IPv6' ? 6 : (options.family ?? 0)
      resolve(host, { all: true, family }, (error, addresses) => {
        if (error) return done(error, '', 0)
        const entries = allowed()
        const good = namesHost(entries, host) ? addresses : addresses.filter((a) => mayReach(a.address, entries))
        const first = good[0]
        if (!first) done(new AddressRefused(key), '', 0)
        else if (options.all) done(null, good)
        else done(null, first.address, first.family)
      })
    },
    check(host) {
      const bare = host.replace(/^\[(.*)\]$/, '$1')
      const entries = allowed()
      if (isIP(bare) !== 0 && !mayReach(bare, entries) && !namesHost(entries, bare)) throw new AddressRefused(key)
    },
  }
}

/** Whether an address is open to everybody or stands in one of the allowed networks. */
export function mayReach(address: string, allowed: readonly string[]): boolean {
  const bytes = bytesOf(address)
  if (bytes === null) return false
  return isOutside(bytes) || allowed.some((entry) => inNetwork(bytes, entry))
}

/** Says what is wrong with an entry of a list of allowed networks; null when nothing is. */
export function wrongEntry(entry: string): string | null {
  if (networkOf(entry) !== null || /^(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$/i.test(entry)) return null
  return `expected a network such as 10.1.0.0/16, an address, or a host name, got ${JSON.stringify(entry)}`
}

// biome-ignore format: a table
const CLOSED_4 = [
  '0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24',
  '192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24',
  '224.0.0.0/4', '240.0.0.0/4', '168.63.129.16/32',
]

/** Parts of 2000::/3 that are not for the open network: protocol assignments with Teredo, and documentation. */
const CLOSED_6 = ['2001::/23', '2001:db8::/32', '3fff::/20']

const ranges = lazy(() => {
  const networks = (texts: readonly string[]) => texts.map((text) => networkOf(text)!)
  return { closed4: networks(CLOSED_4), closed6: networks(CLOSED_6), open6: networkOf('2000::/3')! }
})

function isOutside(bytes: Uint8Array): boolean {
  const { closed4, closed6, open6 } = ranges()
  return bytes.length === 4
    ? !closed4.some((network) => within(bytes, network))
    : within(bytes, open6) && !closed6.some((network) => within(bytes, network))
}

interface Network {
  readonly bytes: Uint8Array
  readonly bits: number
}

function networkOf(text: string): Network | null {
  const [address = '', prefix] = text.split('/')
  const bytes = isIP(address) === 0 ? null : rawBytes(address)
  if (bytes === null) return null
  if (prefix !== undefined && !/^\d{1,3}$/.test(prefix)) return null
  const bits = prefix === undefined ? bytes.length * 8 : Number(prefix)
  return bits <= bytes.length * 8 ? { bytes, bits } : null
}

function inNetwork(bytes: Uint8Array, entry: string): boolean {
  const network = networkOf(entry)
  return network !== null && network.bytes.length === bytes.length && within(bytes, network)
}

function within(bytes: Uint8Array, { bytes: base, bits }: Network): boolean {
  for (let bit = 0; bit < bits; bit += 8) {
    const mask = bits - bit >= 8 ? 0xff : (0xff << (8 - (bits - bit))) & 0xff
    if (((bytes[bit >> 3]! ^ base[bit >> 3]!) & mask) !== 0) return false
  }
  return true
}

function namesHost(entries: readonly string[], host: string): boolean {
  const name = host.toLowerCase().replace(/\.$/, '')
  return entries.some((entry) => {
    const wanted = entry.toLowerCase()
    return wanted.startsWith('*.') ? name.endsWith(wanted.slice(1)) : name === wanted
  })
}

/** Bytes of the address that is really spoken to: the IPv4 one where an IPv6 address carries one. */
function bytesOf(address: string): Uint8Array | null {
  const bytes = rawBytes(address)
  if (bytes === null || bytes.length === 4) return bytes
  const startsWith = (...head: number[]) => head.every((byte, i) => bytes[i] === byte)
  if (startsWith(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff)) return bytes.subarray(12) // mapped, RFC 4291
  if (startsWith(0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0)) return bytes.subarray(12) // NAT64, RFC 6052
  if (startsWith(0x20, 0x02)) return bytes.subarray(2, 6) // 6to4, RFC 3056
  return bytes
}

function rawBytes(text: string): Uint8Array | null {
  const address = text.replace(/%.*$/, '')
  const version = isIP(address)
  if (version === 4) return Uint8Array.from(address.split('.'), Number)
  if (version !== 6) return null
  // The last two groups may be written as IPv4.
  const hex = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a, b, c, d) => {
    return `${((+a << 8) | +b).toString(16)}:${((+c << 8) | +d).toString(16)}`
  })
  const [head = '', tail] = hex.split('::')
  const groups = (part: string | undefined) => (part ? part.split(':') : [])
  const before = groups(head)
  const after = groups(tail)
  const all = [...before, ...Array<string>(8 - before.length - after.length).fill('0'), ...after]
  return Uint8Array.from(all.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]))
}
