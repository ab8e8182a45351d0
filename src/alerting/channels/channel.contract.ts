/**
 * What every channel has to do, against a real server of its protocol on loopback. The server behaves as it is told;
 * the channel has to say what that means for the message, in time, without leaving secrets in its answer.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { addressGuard } from '../../base/address.ts'
import { createHttpClient } from '../../base/http-client.ts'
import { systemScheduler } from '../../base/scheduler.ts'
import type { Notice } from '../notice.ts'
import type { Channel, ChannelKind, ChannelTools, SendOutcome } from './channel.ts'

export type Behaviour =
  | 'accepts'
  /** Takes the message and never answers. */
  | 'is silent'
  /** Too many messages: come back in 7 s. */
  | 'is busy'
  | 'is broken'
  /** This message will never do. */
  | 'refuses'
  /** Closes the connection within the exchange. */
  | 'closes half-way'

export interface TestServer {
  readonly port: number
  /** Messages taken, as the protocol carried them, and on how many connections. */
  readonly taken: Taken[]
  readonly connections: () => number
  close(): Promise<void>
}

export interface Taken {
  readonly text: string
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
}

export interface Harness {
  readonly kind: ChannelKind
  serve(behaviour: Behaviour, tls: { cert: string; key: string } | null): Promise<TestServer>
  config(port: number, tls: boolean): Record<string, unknown>
  /** SMTP knows no Retry-After, and says "broken" only for good. */
  readonly lacks?: readonly ('Retry-After' | 'try later when broken')[]
}

export const aNotice = (id = 'd1', more: Partial<Notice> = {}): Notice => ({
  id,
  channelId: 'c',
  event: 'firing',
  count: 1,
  orderKey: 'alert:a1',
  isTest: false,
  createdAt: 1_760_000_000_000,
  alerts: [
    {
      alertId: 'a1',
      ruleId: 'response_time_slow',
      title: 'Slow response time: 214 ms, limit 200 ms',
      message: 'It was above 200 ms for 20 s.',
      severity: 'critical',
      status: 'active',
      metricName: 'application.api_response_time',
      labels: { service: 'shop', zone: '<b>' },
      currentValue: 214,
      thresholdValue: 200,
      unit: 'ms',
      triggeredAt: 1_760_000_000_000,
      resolvedAt: null,
      runbookUrl: 'https://runbooks.example/slow',
      tags: ['application'],
      ruleName: 'Slow response time',
      condition: 'gt',
    },
  ],
  ...more,
})

export const context = (signal = new AbortController().signal) => ({
  now: 1_760_000_000_500,
  signal,
  links: {
    explain: (id: string) => `https://om.example/ops/alerts/${id}`,
    acknowledge: (id: string) => `https://om.example/acknowledge/${id}.token`,
    page: (path: string) => `https://om.example${path}`,
  },
})

const SILENCE_MS = 400

export function testChannel(name: string, harness: Harness): void {
  describe(`the channel ${name}`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'om-tls-'))
    const certs = { right: certificate(folder, 'right', '127.0.0.1'), other: certificate(folder, 'other', '10.9.9.9') }
    const undo: (() => void | Promise<void>)[] = []
    afterEach(async () => {
      for (const step of undo.splice(0).reverse()) await step()
    })
    afterAll(() => rmSync(folder, { recursive: true }))

    /** Against a silent server the limits of time are cut short; everything else is as in the product. */
    function tools(allowed: readonly string[], trust?: string, limitMs = Number.POSITIVE_INFINITY): ChannelTools {
      const real = systemScheduler((error) => {
        throw error
      })
      const scheduler = { ...real, after: (ms: number, work: () => void) => real.after(Math.min(ms, limitMs), work) }
      const guard = addressGuard(() => allowed)
      const http = createHttpClient(guard, scheduler, trust)
      undo.push(() => http.close())
      return { guard, http, scheduler, ...(trust === undefined ? {} : { trust }) }
    }

    function open(config: Record<string, unknown>, with_: ChannelTools): Channel {
      expect(harness.kind.missing(config)).toEqual([])
      const channel = harness.kind.open(config, with_)
      undo.push(() => channel.close?.())
      return channel
    }

    async function against(behaviour: Behaviour): Promise<{ server: TestServer; channel: Channel }> {
      const server = await harness.serve(behaviour, null)
      undo.push(() => server.close())
      const limited = tools(['127.0.0.0/8'], undefined, behaviour === 'is silent' ? SILENCE_MS : undefined)
      return { server, channel: open(harness.config(server.port, false), limited) }
    }

    test('delivers, with title, figures, links and delivery id', async () => {
      const { server, channel } = await against('accepts')
      const outcome = await channel.send(aNotice('01delivery'), context())
      expect(outcome).toMatchObject({ kind: 'accepted' })
      expect(server.taken).toHaveLength(1)
      const { text } = server.taken[0]!
      expect(text).toContain('Slow response time: 214 ms, limit 200 ms')
      expect(text).toContain('acknowledge/a1.token')
    })

    test('keeps its connection from message to message', async () => {
      const { server, channel } = await against('accepts')
      for (let i = 0; i < 5; i++)
        expect(await channel.send(aNotice(`d${i}`), context())).toMatchObject({ kind: 'accepted' })
      expect(server.taken).toHaveLength(5)
      expect(server.connections()).toBe(1)
    })

    test('sends side by side', async () => {
      const { server, channel } = await against('accepts')
      const sent = Array.from({ length: 20 }, (_, i) => channel.send(aNotice(`d${i}`), context()))
      expect((await Promise.all(sent)).map((o) => o.kind)).toEqual(sent.map(() => 'accepted'))
      expect(server.taken).toHaveLength(20)
    })

    test('gives up on silence, and says how long it waited', async () => {
      const { channel } = await against('is silent')
      expect(await channel.send(aNotice(), context())).toMatchObject({
        kind: 'try_later',
        answer: expect.stringMatching(/^no answer within [\d.]+ s$/),
      })
    })

    test('gives up when it is told to', async () => {
      const { channel } = await against('is silent')
      const stop = new AbortController()
      const sent = channel.send(aNotice(), context(stop.signal))
      await new Promise((done) => setTimeout(done, 50))
      stop.abort('stopped')
      expect((await sent).kind).not.toBe('accepted')
    })

    test('tries later when nobody listens', async () => {
      const server = await harness.serve('accepts', null)
      await server.close()
      const channel = open(harness.config(server.port, false), tools(['127.0.0.1']))
      expect(await channel.send(aNotice(), context())).toMatchObject({ kind: 'try_later', retryAfterMs: null })
    })

    test('obeys the wish for patience', async () => {
      const { channel } = await against('is busy')
      expect(await channel.send(aNotice(), context())).toMatchObject({
        kind: 'try_later',
        retryAfterMs: harness.lacks?.includes('Retry-After') ? null : 7000,
        answer: expect.stringMatching(/^4\d\d /),
      })
    })

    test('tries later when the server is broken', async () => {
      const { channel } = await against('is broken')
      expect((await channel.send(aNotice(), context())).kind).toBe(
        harness.lacks?.includes('try later when broken') ? 'refused' : 'try_later',
      )
    })

    test('knows when no retry will mend it', async () => {
      const { channel } = await against('refuses')
      expect(await channel.send(aNotice(), context())).toMatchObject({
        kind: 'refused',
        answer: expect.stringMatching(/^[45]\d\d /),
      })
    })

    test('tries later when the connection breaks within the exchange', async () => {
      const { channel } = await against('closes half-way')
      expect(await channel.send(aNotice(), context())).toMatchObject({ kind: 'try_later', retryAfterMs: null })
    })

    test('goes on after each of these', async () => {
      const { server, channel } = await against('closes half-way')
      await channel.send(aNotice(), context())
      await server.close()
      const again = await harness.serve('accepts', null)
      undo.push(() => again.close())
      const next = open(harness.config(again.port, false), tools(['127.0.0.1']))
      expect((await next.send(aNotice(), context())).kind).toBe('accepted')
    })

    describe('over TLS', () => {
      const cases: [string, 'right' | 'other', 'right' | 'other', SendOutcome['kind']][] = [
        ['the right certificate', 'right', 'right', 'accepted'],
        ['a certificate of an unknown authority', 'right', 'other', 'try_later'],
        ['a certificate of another host', 'other', 'other', 'try_later'],
      ]
      test.each(cases)('%s', async (_, shown, trusted, kind) => {
        const server = await harness.serve('accepts', certs[shown])
        undo.push(() => server.close())
        const channel = open(harness.config(server.port, true), tools(['127.0.0.1'], certs[trusted].cert))
        const outcome = await channel.send(aNotice(), context())
        expect(outcome).toMatchObject({ kind })
        expect(server.taken).toHaveLength(kind === 'accepted' ? 1 : 0)
      })

      test('a server that speaks no TLS', async () => {
        const server = await harness.serve('accepts', null)
        undo.push(() => server.close())
        const channel = open(harness.config(server.port, true), tools(['127.0.0.1']))
        expect((await channel.send(aNotice(), context())).kind).toBe('try_later')
        expect(server.taken).toHaveLength(0)
      })
    })

    test('speaks to no internal network that is not allowed', async () => {
      const server = await harness.serve('accepts', null)
      undo.push(() => server.close())
      const channel = open(harness.config(server.port, false), tools([]))
      const outcome = await channel.send(aNotice(), context())
      expect(outcome).toMatchObject({ kind: 'refused', answer: expect.stringContaining('internal network') })
      expect(server.connections()).toBe(0)
    })
  })
}

/** A self-signed certificate for one address; it is its own authority. */
export function certificate(folder: string, name: string, address: string): { cert: string; key: string } {
  const [cert, key] = [join(folder, `${name}.crt`), join(folder, `${name}.key`)]
  const subject = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=IP:${address}`]
  const make = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  execFileSync('openssl', [...make, '-keyout', key, '-out', cert, ...subject], { stdio: 'ignore' })
  return { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') }
}
