/**
 * What analytics found, in a real browser over the real program: samples are pushed, the engine detects, forecasts and
 * finds by itself, and a person judges. Set `SHOTS` to a folder to get pictures.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Visit } from '../support/browser.ts'
import { launch, visit } from '../support/browser.ts'
import { need } from '../support/need.ts'
import type { Platform } from '../support/platform.ts'
import { eventually, startPlatform } from '../support/platform.ts'

const chromium = need('chromium')
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const main = process.env.OM_TEST_MAIN
const API = '/api/v1/advanced-analytics'
const MIN = 60_000
/** Which of its looks sees the jump first is the detector's own choice. */
const STEP = /^(Sudden step|Beyond all)/

const ask = <T>(page: Page, expression: string): Promise<T> => page.evaluate(expression)

describe.skipIf(chromium === null)('analytics on the page', () => {
  let platform: Platform
  let browser: Browser
  let visits: Visit[] = []
  const states: Record<string, { cookies: never[]; origins: never[] }> = {}

  beforeAll(async () => {
    platform = await startPlatform({ env: { COLLECT_INTERVAL: '1' }, ...(main ? { main } : {}) })
    browser = await launch(chromium!)
    await pushHistory()
    for (const role of ['viewer', 'operator']) {
      const made = await platform.request('POST', '/api/v1/tokens', { name: role, role })
      const { page, context } = await visit(browser)
      await page.goto(`${platform.url}/login`)
      await page.getByLabel('Token').fill(made.json.data.token)
      await page.keyboard.press('Enter')
      await page.waitForURL(`${platform.url}/ops*`)
      states[role] = (await context.storageState()) as never
      await context.close()
    }
  })
  afterAll(async () => {
    await browser?.close()
    await platform?.remove()
  })
  afterEach(async () => {
    const left = visits
    visits = []
    for (const { context, faults } of left) {
      expect(faults).toEqual([])
      await context.close()
    }
  })

  async function push(points: { metric_name: string; value: number; at: number; labels?: Record<string, string> }[]) {
    const body = points.map(({ at, ...point }) => ({ ...point, timestamp: new Date(at).toISOString() }))
    const answer = await platform.request('POST', `${API}/data-points`, body)
    expect(answer.json.data).toMatchObject({ accepted: points.length, rejected: [] })
  }

  /** Hours of the platform's own figures, so that there is something to forecast; two series of a shop that jump. */
  async function pushHistory() {
    const now = Date.now()
    const labels = { service: 'opinion-market' }
    const hours = Array.from({ length: 8 * 60 }, (_, i) => now - 2 * MIN - i * MIN).reverse()
    await push(
      hours.flatMap((at) => [
        { metric_name: 'system.cpu_usage', value: 40 + 10 * Math.sin(at / 4e6) + Math.sin(at), at, labels },
        { metric_name: 'system.memory_usage', value: 60 + Math.sin(at), at, labels },
        { metric_name: 'system.disk_usage', value: 70 + (at - hours[0]!) / 36e5, at, labels },
      ]),
    )
    await push(
      ['a', 'b'].flatMap((host) =>
        hours.slice(-240).map((at) => ({
          metric_name: 'shop_queue',
          value: (host === 'b' ? 500 : 50) + Math.sin(at),
          at,
          labels: { host },
        })),
      ),
    )
    const regular = Array.from({ length: 260 }, (_, i) => now - 50 * MIN + i * 10_000)
    const shop = (name: string, times: readonly number[], level: number) =>
      times.map((at) => ({ metric_name: name, value: level + Math.sin(at / 30_000) + Math.sin(at), at }))
    await push([...shop('shop_orders', regular, 100), ...shop('shop_latency', regular, 30)])
    const jump = Array.from({ length: 6 }, (_, i) => regular.at(-1)! + (i + 1) * 10_000)
    await push([...shop('shop_orders', jump, 300), ...shop('shop_latency', jump.slice(4), 90)])
    const seen = () => platform.request('GET', `${API}/anomalies?limit=1000`)
    await eventually(seen, ({ json }) => {
      const names = json.data.map((one: { metric_name: string }) => one.metric_name)
      return names.includes('shop_orders') && names.includes('shop_latency')
    })
  }

  async function open(path: string, role = 'operator', options: Parameters<typeof visit>[1] = {}): Promise<Page> {
    const made = await visit(browser, { storageState: states[role]!, ...options })
    visits.push(made)
    await made.page.goto(platform.url + path)
    await made.page.getByRole('status').filter({ hasText: 'Live' }).waitFor()
    return made.page
  }
  const picture = (page: Page, name: string) =>
    process.env.SHOTS
      ? page.screenshot({ path: join(process.env.SHOTS, `analytics-${name}.png`), fullPage: true })
      : null

  async function violations(page: Page) {
    await page.evaluate(axe)
    return ask<string[]>(
      page,
      `axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) =>
        violations.flatMap((v) => v.nodes.map((n) => v.id + ': ' + n.html.slice(0, 200) + ' ' + n.failureSummary)))`,
    )
  }

  test('an operator starts a cycle, and what it found is there with its numbers and a chart', async () => {
    const page = await open('/ops/insights')
    await page.getByRole('button', { name: 'Look again' }).click()
    await page.getByText(/^A cycle started at \d\d:\d\d/).waitFor()
    const list = page.getByRole('navigation', { name: 'Insights' })
    await list.getByRole('link', { name: /^Disk usage reaches/ }).click({ timeout: 30_000 })
    expect(page.url()).toMatch(/\/ops\/insights\/\w+/)
    await page.getByRole('heading', { level: 2, name: /^Disk usage reaches 90/ }).waitFor()
    await page
      .getByText(/^→|Free disk space/)
      .first()
      .waitFor()
    await page.getByRole('img', { name: /^From .* UTC, between/ }).waitFor()
    expect(await page.locator('.evidence').textContent()).toMatch(/limit90.*reached at/)
    await picture(page, 'insights')
    expect(await violations(page)).toEqual([])
    await page.goto(`${platform.url}/ops/insights/none`)
    await page.getByText('no longer listed').waitFor()
  })

  test('the overview shows insights of the engine with their evidence one press away', async () => {
    const page = await open('/ops')
    const insight = page.locator('#p-ins .insight').filter({ hasText: 'Disk usage reaches' })
    await insight.getByText(/confidence 0\.\d\d/).waitFor()
    await page
      .locator('#p-ins')
      .getByText(/^last cycle \d\d:\d\d/)
      .waitFor()
    await page
      .locator('.page-foot')
      .getByText(/Analytics, cycle/)
      .waitFor()
    await insight.getByRole('link', { name: /^Evidence/ }).click()
    await page.getByRole('heading', { level: 2, name: /^Disk usage reaches/ }).waitFor()
    await page.getByRole('heading', { level: 3, name: 'Evidence' }).waitFor()
  })

  test('forecasts stand on cards and charts, with time and interval, for eyes, keyboard and ears', async () => {
    const answer = await eventually(
      () => platform.request('GET', `${API}/predictions?metric_name=system.cpu_usage`),
      ({ json }) => json.data.length > 0,
      30_000,
    )
    const newest = answer.json.data[0].created_at
    const made = answer.json.data.filter((one: { created_at: string }) => one.created_at === newest)
    expect(made.map((one: { time_horizon: number }) => one.time_horizon)).toEqual([15, 30, 60, 120])
    const page = await open('/ops?range=3h')
    const { json } = await platform.request('GET', '/api/v1/advanced-dashboard/dashboard/summary')
    const shown = json.data.forecast.cpu_usage
    expect(shown.map((point: { horizon: number }) => point.horizon)).toEqual([15, 30, 60, 120])
    const used = shown.filter((point: { withdrawn: string | null }) => point.withdrawn === null)
    const near = used.filter((point: { horizon: number }) => point.horizon <= 60)
    // A forecast has to beat plain guesses to be shown; on a smooth wave ours does.
    expect(near.length).toBeGreaterThan(0)
    const time = near[0].target_time.slice(11, 16)
    const chart = page.getByRole('img', { name: /^System performance/ })
    expect(await chart.getAttribute('aria-label')).toContain(` at ${time}`)
    if (near[0].horizon <= 30) {
      await page.locator('[data-metric=cpu_usage]').getByText(time, { exact: true }).waitFor()
      expect(await page.locator('[data-metric=cpu_usage] .spark .c-band').count()).toBe(1)
    }
    await chart.focus()
    await page.keyboard.press('End')
    await page.keyboard.press('ArrowRight')
    await chart.locator('.tip').getByText('UTC, forecast').waitFor()
    expect(await chart.locator('.tip').textContent()).toMatch(/CPU[\d.]+.% \([\d.]+(–[\d.]+)?\)|CPUno forecast/)
    await page.getByRole('button', { name: /^Table\s*: show System/ }).click()
    await page.getByRole('row', { name: new RegExp(`^${time}, forecast`) }).waitFor()
    await page.getByRole('button', { name: /^Chart\s*: show System/ }).click()
    await picture(page, 'overview')
    await page.goto(`${platform.url}/ops/metrics/system.cpu_usage`)
    const quality = page.getByRole('region', { name: 'Forecast quality by horizon' })
    await quality.getByRole('row', { name: /^15 min/ }).waitFor()
    expect(await quality.getByRole('row').count()).toBe(5)
    await page.getByRole('region', { name: 'Forecast by horizon' }).getByText('horizon 120 min').waitFor()
    await picture(page, 'metric')
  })

  test('series of one metric are forecast each: the one that is chosen is drawn', async () => {
    const ofB = `${API}/predictions?metric_name=shop_queue&labels=${encodeURIComponent('{"host":"b"}')}`
    await platform.request('POST', `${API}/generate-insights`)
    await eventually(
      () => platform.request('GET', ofB),
      ({ json }) => json.data.length > 0,
      30_000,
    )
    const page = await open('/ops/metrics/shop_queue?range=3h')
    await page.getByText('2 series of this metric are forecast, each for itself: choose one below.').waitFor()
    await page.getByRole('button', { name: 'host="b"' }).click()
    const table = page.getByRole('region', { name: 'Forecast by horizon' })
    await table.getByText('horizon 60 min').waitFor()
    const near = table.getByRole('row', { name: /horizon 15 min/ })
    expect(await near.textContent()).toMatch(/(49|50)\d|Withdrawn/)
    await picture(page, 'series')
    expect(await violations(page)).toEqual([])
  })

  test('a withdrawn forecast has no band, and says why', async () => {
    const page = await open('/ops/metrics/system.memory_usage?range=3h')
    const why = 'naive did better by 7 % over 48 outcomes'
    await page.route('**/predictions?*', async (route) => {
      const { data } = await (await route.fetch()).json()
      await route.fulfill({
        json: { success: true, data: data.map((one: object) => ({ ...one, model: 'withdrawn: naive' })) },
      })
    })
    await page.route('**/forecast-quality?*', async (route) => {
      const { data } = await (await route.fetch()).json()
      await route.fulfill({ json: { success: true, data: data.map((one: object) => ({ ...one, why })) } })
    })
    await page.reload()
    const table = page.getByRole('region', { name: 'Forecast by horizon' })
    await table.getByText(`Withdrawn: ${why}.`).first().waitFor()
    await page.getByText(`no forecast: ${why}`).waitFor()
    const sentence = await page.getByRole('img', { name: /^Over time/ }).getAttribute('aria-label')
    expect(sentence).not.toContain('Forecast')
  })

  test('a jump is a ring on the chart; noise hides it everywhere, undo brings it back', async () => {
    const page = await open('/ops/metrics/shop_orders?range=1h')
    const rings = page.getByRole('group', { name: /anomal(y|ies) in Over time$/ })
    const ring = rings.getByRole('button', { name: /high anomaly/ }).first()
    await ring.waitFor()
    const before = await rings.getByRole('button').count()
    await page.getByRole('heading', { level: 2, name: /^Anomalies/ }).waitFor()
    expect(await page.locator('[data-anomaly]').count()).toBe(before)
    await ring.focus()
    await rings
      .locator('.tip')
      .getByText(/deviations$/)
      .waitFor()
    await picture(page, 'ring')
    await page.keyboard.press('Enter')
    const popover = page.getByRole('dialog', { name: STEP })
    await popover
      .getByText(/^Noise would hide one anomaly of the last 90 days, and those to come: shop_orders/)
      .waitFor()
    await picture(page, 'popover')
    expect(await violations(page)).toEqual([])
    await page.keyboard.press('Tab')
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    await popover.getByText(/^Noise, said operator at .* It hides one anomaly/).waitFor()
    await page.getByText('1 hidden by a verdict').waitFor()
    await eventually(
      () => rings.getByRole('button').count(),
      (count) => count === before - 1,
    )
    const listed = await platform.request('GET', `${API}/anomalies?metric_name=shop_orders`)
    expect(listed.json.data).toHaveLength(before - 1)
    await popover.getByRole('button', { name: /^Undo/ }).click()
    await popover.getByRole('button', { name: /^Noise/ }).waitFor()
    await page.keyboard.press('Escape')
    await popover.waitFor({ state: 'hidden' })
    await eventually(
      () => rings.getByRole('button').count(),
      (count) => count === before,
    )
  })

  test('a verdict in the list stays where it was given, and is another page’s too', async () => {
    const page = await open('/ops/metrics/shop_latency?range=1h')
    const item = page.locator('[data-anomaly]').first()
    await item.getByRole('button', { name: /^Real/ }).click()
    await item.getByText(/^Real, said operator at/).waitFor()
    const other = await open('/ops/metrics', 'viewer')
    const event = other.locator('.event').filter({ hasText: 'shop_latency' })
    await event.getByText(/^Real, said operator at/).waitFor()
    await item.getByRole('button', { name: /^Undo/ }).click()
    await item.getByRole('button', { name: /^Noise/ }).click()
    // The pointer is on it: it waits there with its way back.
    await item.getByText(/^Noise, said operator/).waitFor()
    await page.getByText('1 hidden by a verdict').waitFor()
    await item.getByRole('button', { name: /^Undo/ }).click()
    await item.getByRole('button', { name: /^Noise/ }).waitFor()
  })

  test('what moved together is one event, and what moved first stands first', async () => {
    const page = await open('/ops/metrics')
    const event = page.locator('.event').filter({ hasText: 'shop_orders' })
    await event.getByText(/series moved together/).waitFor()
    const names = await event.locator('h3').allTextContents()
    expect(names.indexOf('shop_orders')).toBeGreaterThanOrEqual(0)
    expect(names.indexOf('shop_orders')).toBeLessThan(names.indexOf('shop_latency'))
    await event.getByText('moved first').waitFor()
    await picture(page, 'events')
    expect(await violations(page)).toEqual([])
    await event.getByRole('link', { name: 'shop_latency' }).first().click()
    await page.getByRole('heading', { level: 1, name: 'shop_latency' }).waitFor()
  })

  test('a viewer sees all of it, and the buttons say whose they are', async () => {
    const page = await open('/ops/metrics/shop_orders?range=1h', 'viewer')
    const item = page.locator('[data-anomaly]').first()
    await item.getByText('Needs the role operator').waitFor()
    expect(await item.getByRole('button', { name: /^Noise/ }).isDisabled()).toBe(true)
    await page.goto(`${platform.url}/ops/insights`)
    await page.getByText('Needs the role operator').waitFor()
    expect(await page.getByRole('button', { name: 'Look again' }).isDisabled()).toBe(true)
  })

  test('what the platform refuses is said in its words, beside the button', async () => {
    const page = await open('/ops/metrics/shop_orders?range=1h')
    const item = page.locator('[data-anomaly]').first()
    const detail = 'The disk is full.'
    await page.route('**/feedback', (route) => route.fulfill({ status: 503, json: { success: false, detail } }))
    await item.getByRole('button', { name: /^Noise/ }).click()
    await item.getByRole('alert').filter({ hasText: detail }).waitFor()
    expect(await item.getByRole('button', { name: /^Noise/ }).isEnabled()).toBe(true)
    await page.route('**/anomalies?*', (route) => route.fulfill({ status: 503, json: { success: false, detail } }))
    await page.reload()
    await page
      .locator('section', { has: page.locator('#h-anomalies') })
      .getByRole('alert')
      .getByText(detail)
      .waitFor()
    await page.unroute('**/anomalies?*')
    await page.getByRole('button', { name: 'Try again' }).click()
    await item.waitFor()
  })

  test.each(['light', 'dark'] as const)(
    'a phone has it all within its width, and axe finds nothing, %s',
    async (colorScheme) => {
      const phone = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, colorScheme }
      const page = await open('/ops/metrics/shop_orders?range=1h', 'operator', phone)
      const ring = page.getByRole('button', { name: /high anomaly/ }).first()
      await ring.tap()
      const box = (await page.getByRole('dialog', { name: STEP }).boundingBox())!
      expect(box.x).toBeGreaterThanOrEqual(0)
      expect(box.x + box.width).toBeLessThanOrEqual(390)
      await picture(page, `phone-${colorScheme}`)
      expect(await violations(page)).toEqual([])
      for (const path of ['/ops', '/ops/metrics', '/ops/metrics/system.cpu_usage', '/ops/insights']) {
        await page.goto(platform.url + path)
        await page.getByRole('status').filter({ hasText: 'Live' }).waitFor()
        await page.waitForLoadState('networkidle')
        expect(await ask(page, 'document.documentElement.scrollWidth'), path).toBe(390)
        expect(await violations(page), path).toEqual([])
      }
    },
  )
})
