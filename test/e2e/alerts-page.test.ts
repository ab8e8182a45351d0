/**
 * The pages of alerting in a real browser, served by the real program: an alert fires, somebody has it, it is silenced
 * and resolved; a rule is edited with its backtest beside it; a channel is tested to its provider. Set `SHOTS` to a
 * folder to get pictures.
 */
import { readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Visit } from '../support/browser.ts'
import { launch, visit } from '../support/browser.ts'
import { need } from '../support/need.ts'
import type { Platform } from '../support/platform.ts'
import { ADMIN_TOKEN, eventually, startPlatform } from '../support/platform.ts'

const chromium = need('chromium')
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const main = process.env.OM_TEST_MAIN
const API = '/api/v1/intelligent-alerting'

interface AlertJson {
  readonly id: string
  readonly rule_id: string
  readonly status: string
  readonly title: string
}

describe.skipIf(chromium === null)('the pages of alerting', () => {
  let platform: Platform
  let browser: Browser
  let provider: Server
  const received: { event: string; title: string }[] = []
  let visits: Visit[] = []

  beforeAll(async () => {
    provider = createServer((request, response) => {
      let text = ''
      request.on('data', (chunk) => {
        text += chunk
      })
      request.on('end', () => {
        received.push(JSON.parse(text))
        response.end('taken')
      })
    })
    await new Promise<void>((done) => provider.listen(0, '127.0.0.1', done))
    platform = await startPlatform({
      env: { COLLECT_HOST: 'false', ALERTING_ALLOW_NETWORKS: '127.0.0.1', ALERTING_ENABLED: 'false' },
      ...(main ? { main } : {}),
    })
    browser = await launch(chromium!)
    const { port } = provider.address() as AddressInfo
    await made('POST', '/channels', {
      id: 'on-call',
      name: 'On call',
      type: 'webhook',
      config: { url: `http://127.0.0.1:${port}/hook` },
    })
    await made('POST', '/rules', {
      id: 'queue_long',
      name: 'Long queue',
      description: 'Orders wait.',
      metric_name: 'queue_length',
      condition: 'gt',
      threshold: 100,
      recovery_threshold: 80,
      severity: 'warning',
      notification_channels: ['on-call', 'slack'],
      runbook_url: 'https://example.org/queues',
      owner: 'platform',
    })
    // Rules of the platform itself would fire by the load of the machine that tests it: off before anything is judged.
    for (const rule of (await platform.request('GET', `${API}/rules`)).json.data.rules) {
      if (rule.id !== 'queue_long') await made('PUT', `/rules/${rule.id}`, { enabled: false })
    }
    expect((await platform.request('POST', `${API}/start-alerting`)).json.data.changed).toBe(true)
    // An hour of a quiet queue with three bursts, then one that goes on.
    const now = Date.now()
    const points = Array.from({ length: 360 }, (_, i) => {
      const burst = [60, 61, 62, 150, 151, 152, 153, 260, 261].includes(i)
      const value = burst ? 140 + i / 10 : 40 + 10 * Math.sin(i / 20)
      const timestamp = new Date(now - (361 - i) * 10_000).toISOString()
      return { metric_name: 'queue_length', value, timestamp, labels: { shop: 'north' } }
    })
    await platform.request('POST', '/api/v1/advanced-analytics/data-points', points)
  })
  afterAll(async () => {
    await browser?.close()
    await platform?.remove()
    provider?.close()
  })
  /** No page had a fault, none asked anybody else, all are closed. */
  afterEach(async () => {
    const left = visits
    visits = []
    for (const { context, asked, faults } of left) {
      expect(faults).toEqual([])
      expect(
        asked.filter((url) => !/^(data|blob):/.test(url) && new URL(url).host !== new URL(platform.url).host),
      ).toEqual([])
      await context.close()
    }
  })

  async function made(method: string, path: string, body: unknown) {
    const answer = await platform.request(method, API + path, body)
    expect([answer.status, answer.text]).toEqual([method === 'POST' ? 201 : 200, expect.any(String)])
    return answer.json.data
  }
  const push = (value: number, labels = { shop: 'north' }) =>
    platform.request('POST', '/api/v1/advanced-analytics/add-data-point', {
      metric_name: 'queue_length',
      value,
      labels,
    })
  async function alerts(query: string): Promise<AlertJson[]> {
    return (await platform.request('GET', `${API}/alerts?limit=1000&${query}`)).json.data.alerts
  }
  async function fired(ruleId: string): Promise<AlertJson> {
    const found = await eventually(
      () => alerts('status=active'),
      (list) => list.some((alert) => alert.rule_id === ruleId),
    )
    return found.find((alert) => alert.rule_id === ruleId)!
  }
  /** A page with the session of a token. */
  async function open(path: string, token = ADMIN_TOKEN, options: Parameters<typeof visit>[1] = {}): Promise<Page> {
    const one = await visit(browser, options)
    visits.push(one)
    const origin = { origin: platform.url }
    const login = await one.context.request.post(`${platform.url}/api/v1/session`, { data: { token }, headers: origin })
    expect(login.status()).toBe(200)
    await one.page.goto(platform.url + path)
    return one.page
  }
  async function tokenOf(role: string): Promise<string> {
    return (await platform.request('POST', '/api/v1/tokens', { name: `page ${role}`, role })).json.data.token
  }
  const picture = (page: Page, name: string) =>
    process.env.SHOTS ? page.screenshot({ path: join(process.env.SHOTS, `${name}.png`), fullPage: true }) : null
  async function violations(page: Page): Promise<string[]> {
    await page.evaluate(axe)
    return page.evaluate(
      `axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) =>
        violations.flatMap((v) => v.nodes.map((n) => v.id + ': ' + n.html.slice(0, 200) + ' ' + n.failureSummary)))`,
    )
  }

  test('an alert is on the overview at once, and acknowledged from there', async () => {
    const page = await open('/ops')
    await page.getByText(/Nothing needs you\. 1 rule is watching; 3 resolved/).waitFor()
    await push(150)
    const panel = page.locator('#p-alerts')
    await panel.getByRole('heading', { name: 'Long queue: 150, limit 100' }).waitFor()
    expect(await panel.innerText()).toContain('warning')
    expect(await panel.innerText()).toContain('now 150')
    expect(await page.getByRole('link', { name: 'Alerts 1 unacknowledged' }).count()).toBe(1)
    await picture(page, 'overview')
    expect(await violations(page)).toEqual([])
    await panel.getByRole('button', { name: /^Acknowledge.*Long queue/ }).click()
    await panel.getByText(/ since \d\d:\d\d/).waitFor()
    const { id } = (await alerts('status=acknowledged'))[0]!
    await panel.getByRole('link', { name: 'Long queue: 150, limit 100' }).click()
    await page.waitForURL(`**/ops/alerts/${id}`)
    await page.getByRole('heading', { name: 'Long queue: 150, limit 100', level: 1 }).waitFor()
  })

  test('the detail says why, who was told with what answer, and what happened', async () => {
    const [alert] = await alerts('rule_id=queue_long')
    await eventually(
      async () => received.map((notice) => notice.event),
      (events) => events.includes('firing'),
    )
    const page = await open(`/ops/alerts/${alert!.id}`)
    await page.getByText('queue_length was above 100 at').waitFor()
    await page.getByText(/has it since/).waitFor()
    const told = page.getByRole('region', { name: 'Deliveries of this alert' })
    await told.getByText('200 OK').waitFor()
    expect(await page.getByText('1 of 1 channels reached').count()).toBe(1)
    expect(await page.getByText('to on-call; slack: is disabled').count()).toBe(1)
    const timeline = page.getByRole('region', { name: 'Timeline' })
    expect(await timeline.getByRole('listitem').allInnerTexts()).toEqual([
      expect.stringContaining('Fired'),
      expect.stringContaining('Told to on-call'),
      expect.stringContaining('Acknowledged by'),
    ])
    await picture(page, 'detail')
    expect(await violations(page)).toEqual([])
    await page.getByRole('button', { name: /show queue_length as a table/i }).click()
    await page.getByRole('table', { name: /queue_length/ }).waitFor()
  })

  test('a silence hides it, is listed with what it hid, and its end tells', async () => {
    await push(200, { shop: 'south' })
    const { id } = await fired('queue_long')
    const page = await open(`/ops/alerts/${id}`)
    await page.getByRole('heading', { level: 1 }).waitFor()
    await page.keyboard.press('s')
    const dialog = page.getByRole('dialog', { name: 'Silence Long queue' })
    await dialog.getByLabel('Why').fill('moving the south shop')
    await dialog.getByText('until resolved').click()
    expect(await dialog.getByText('It ends when everything it hides is resolved.').count()).toBe(1)
    await picture(page, 'silence-dialog')
    expect(await violations(page)).toEqual([])
    await dialog.getByRole('button', { name: 'Silence' }).click()
    await page.getByText('Silenced').first().waitFor()
    await page.getByRole('navigation', { name: 'Hidden' }).getByRole('link', { name: 'Long queue' }).waitFor()

    await page.getByRole('link', { name: 'Silences' }).click()
    const listed = page.getByRole('article').filter({ hasText: 'moving the south shop' })
    await listed.getByText('hid 1 alert, 1 of them fires now').waitFor()
    expect(await listed.innerText()).toContain('shop="south"')
    await picture(page, 'silences')
    expect(await violations(page)).toEqual([])
    const before = received.length
    await listed.getByRole('button', { name: 'End now' }).click()
    await page.getByText('Nothing is silenced.').waitFor()
    await eventually(
      async () => received.slice(before).map((notice) => notice.event),
      (events) => events.includes('firing'),
    )
  })

  test('j and k go through the list, a acknowledges, e edits the rule; not while typing', async () => {
    const page = await open('/ops/alerts')
    await page.getByRole('navigation', { name: 'Needs someone' }).waitFor()
    await picture(page, 'list')
    expect(await violations(page)).toEqual([])
    await page.keyboard.press('j')
    await page.waitForURL('**/ops/alerts/*')
    const first = page.url()
    await page.keyboard.press('j')
    await page.waitForURL((url) => url.href !== first)
    await page.keyboard.press('k')
    await page.waitForURL(first)
    const id = first.split('/').at(-1)!
    await page.getByRole('searchbox', { name: 'Filter alerts' }).focus()
    await page.keyboard.press('a')
    await page
      .getByText('No alert holds these words.')
      .or(page.getByRole('navigation', { name: 'Needs someone' }))
      .first()
      .waitFor()
    expect((await platform.request('GET', `${API}/alerts/${id}`)).json.data.status).toBe('active')
    await page.getByRole('searchbox').fill('')
    await page.locator('h1').click()
    await page.getByRole('navigation', { name: 'Needs someone' }).waitFor()
    await page.keyboard.press('a')
    await page.getByText(/has it since/).waitFor()
    await page.keyboard.press('e')
    await page.waitForURL('**/ops/rules/queue_long')
  })

  test('resolving asks for the reason, and counts noise', async () => {
    const found = (await alerts('status=acknowledged')).at(-1)!
    const page = await open(`/ops/alerts/${found.id}`)
    await page.getByRole('button', { name: 'Resolve…' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByLabel('What was it, what was done').fill('a drill')
    await dialog.getByLabel(/It was noise/).check()
    await dialog.getByRole('button', { name: 'Resolve' }).click()
    await page.getByText('Marked as noise.').waitFor()
    await page.getByText('“a drill”').waitFor()
    expect((await platform.request('GET', `${API}/stats`)).json.data.stats.false_positives).toBe(1)
    await page.goto(`${platform.url}/ops/alerts`)
    await page.getByRole('row').filter({ hasText: 'by hand, noise' }).waitFor()
  })

  test('the editor shows what the change would have done, and saves it', async () => {
    const page = await open('/ops/rules/queue_long')
    await page.getByText(/Stored rule fired \d+ times/).waitFor()
    await page.getByLabel('Threshold').fill('300')
    await page.getByText('With this change 0 times').waitFor()
    await page.getByText('1 change, not saved').waitFor()
    expect(await page.getByText('was 100').count()).toBe(1)
    await picture(page, 'rule')
    expect(await violations(page)).toEqual([])
    await page.getByRole('button', { name: 'Suggest a threshold' }).click()
    await page.getByRole('button', { name: 'Use it' }).waitFor()
    await page.getByRole('button', { name: 'Test it end to end' }).click()
    await page.getByText(/on-call: delivered, 200 OK/).waitFor()
    await page.getByText(/slack: not sent, the channel is disabled/).waitFor()
    await page.getByRole('button', { name: 'Save the rule' }).click()
    await page.getByText('version 2').first().waitFor()
    await page.getByText('threshold 100 → 300').waitFor()
    expect((await platform.request('GET', `${API}/rules/queue_long`)).json.data).toMatchObject({
      threshold: 300,
      version: 2,
    })
    // What fired by the old one has ended for that reason.
    expect(await alerts('rule_id=queue_long&status=active')).toEqual([])
  })

  test('a rule is made, refused with the reason, and deleted', async () => {
    const page = await open('/ops/rules')
    await page.getByRole('link', { name: 'New rule' }).click()
    await page.getByLabel('Id', { exact: true }).fill('queue_long')
    await page.getByLabel('Name', { exact: true }).fill('A second one')
    await page.getByLabel('Metric').fill('queue_length')
    await page.getByLabel('Threshold').fill('90')
    await page.getByText(/It would have fired \d+ times/).waitFor()
    await page.getByRole('button', { name: 'Save the rule' }).click()
    await page.getByText('There is a rule queue_long already.').waitFor()
    await page.getByLabel('Id', { exact: true }).fill('queue_second')
    await page.getByRole('button', { name: 'Save the rule' }).click()
    await page.waitForURL('**/ops/rules/queue_second')
    page.on('dialog', (dialog) => dialog.accept())
    await page.getByRole('button', { name: 'Delete…' }).click()
    await page.waitForURL('**/ops/rules')
    await page.getByRole('heading', { name: 'Rules' }).waitFor()
    await picture(page, 'rules')
    expect(await violations(page)).toEqual([])
    expect((await platform.request('GET', `${API}/rules/queue_second`)).status).toBe(404)
  })

  test('a channel is tested to its provider; secrets stay where they are', async () => {
    const page = await open('/ops/channels')
    const channel = page.getByRole('article', { name: /On call/ })
    await channel.getByRole('button', { name: 'Test On call' }).click()
    await channel.getByText(/The provider took it: 200 OK/).waitFor()
    expect(received.at(-1)!.event).toBe('test')
    await picture(page, 'channels')
    expect(await violations(page)).toEqual([])
    await channel.getByRole('button', { name: 'Settings… of On call' }).click()
    const dialog = page.getByRole('dialog')
    expect(await dialog.getByLabel('url', { exact: true }).inputValue()).toBe('')
    await dialog.getByLabel('Name').fill('On call, first')
    await dialog.getByRole('button', { name: 'Save' }).click()
    await page
      .getByRole('article', { name: /On call, first/ })
      .getByRole('button', { name: /^Test/ })
      .click()
    await page.getByText(/The provider took it: 200 OK/).waitFor()
  })

  test('deliveries show each answer', async () => {
    const page = await open('/ops/deliveries')
    await page.getByText('Nothing waits: every notice has an answer.').waitFor()
    await page.getByRole('row').filter({ hasText: 'on-call' }).first().getByText('delivered').waitFor()
    await picture(page, 'deliveries')
    expect(await violations(page)).toEqual([])
    await page.getByRole('button', { name: 'given up' }).click()
    await page.getByText('None of this kind.').waitFor()
  })

  test('a viewer sees all, and is told what he may not do', async () => {
    await push(400, { shop: 'west' })
    const { id } = await fired('queue_long')
    const token = await tokenOf('viewer')
    const page = await open(`/ops/alerts/${id}`, token)
    const button = page.getByRole('button', { name: 'Acknowledge' })
    await button.waitFor()
    expect(await button.isDisabled()).toBe(true)
    expect(await page.getByText('Needs the role operator').first().isVisible()).toBe(true)
    await page.keyboard.press('a')
    await page.keyboard.press('s')
    expect(await page.getByRole('dialog').count()).toBe(0)
    await page.goto(`${platform.url}/ops/rules/queue_long`)
    await page.getByText('Needs the role admin').first().waitFor()
    expect(await page.getByRole('button', { name: 'Save the rule' }).isDisabled()).toBe(true)
    expect(await violations(page)).toEqual([])
  })

  test.each([
    [false, ['alerts/one', 'rules/queue_long']],
    [true, ['alerts/one', 'alerts', 'rules', 'rules/queue_long', 'channels', 'silences', 'deliveries']],
  ] as const)(
    'in the dark, on a phone (%s), nothing is wider than the screen and axe finds nothing',
    async (phone, paths) => {
      const viewport = phone ? { width: 390, height: 844 } : { width: 1440, height: 1000 }
      const { id } = await fired('queue_long')
      const page = await open('/ops/alerts', ADMIN_TOKEN, { viewport, colorScheme: 'dark' })
      for (const name of paths) {
        await page.goto(`${platform.url}/ops/${name.replace('one', id)}`)
        await page.locator('main').getByRole('heading').filter({ visible: true }).first().waitFor()
        await page.getByText('Reading').first().waitFor({ state: 'detached' })
        await picture(page, `dark${phone ? '-phone' : ''}-${name.replace('/', '-')}`)
        const wide = await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')
        expect([name, wide]).toEqual([name, 0])
        expect(await violations(page)).toEqual([])
      }
    },
  )

  test('the link of a message asks, acknowledges once, and says so', async () => {
    await push(500, { shop: 'east' })
    const seen = received.length
    const notice = await eventually(
      async () =>
        received.slice(seen === 0 ? 0 : seen - 1).find((n) => n.event === 'firing' && n.title.includes('500')),
      (n) => n !== undefined,
    )
    const url = (notice as unknown as { acknowledge_url?: string }).acknowledge_url
    expect(url).toBeDefined()
    const { context, page, faults } = await visit(browser)
    await page.goto(url!)
    await page.getByRole('heading', { name: 'Long queue: 500, limit 300' }).waitFor()
    await picture(page, 'link')
    expect(await violations(page)).toEqual([])
    expect((await alerts('status=active')).some((a) => a.title.includes('500'))).toBe(true)
    await page.getByLabel(/Your name/).fill('Mira')
    await page.getByRole('button', { name: 'Acknowledge' }).click()
    await page.getByText(/Mira has it since/).waitFor()
    await page.goto(url!)
    await page.getByRole('heading', { name: 'This link was used' }).waitFor()
    await page.goto(`${platform.url}/acknowledge/nothing`)
    await page.getByRole('heading', { name: 'This link is not right' }).waitFor()
    expect(faults).toEqual([])
    await context.close()
  })
})
