/**
 * The page in a real browser, served by the real program: what an operator sees, with mouse, keyboard and phone.
 * Set `SHOTS` to a folder to get pictures.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Visit } from '../support/browser.ts'
import { launch, visit } from '../support/browser.ts'
import { need } from '../support/need.ts'
import type { Platform } from '../support/platform.ts'
import { ADMIN_TOKEN, eventually, startPlatform } from '../support/platform.ts'

const chromium = need('chromium')
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const main = process.env.OM_TEST_MAIN

/** Evaluated in the page; a text, because types of the browser have no place among those of the server. */
const ask = <T>(page: Page, expression: string): Promise<T> => page.evaluate(expression)
const focused = (page: Page, label: string) =>
  ask<boolean>(page, `document.activeElement.getAttribute('aria-label')?.startsWith('${label}') ?? false`)

describe.skipIf(chromium === null)('the page', () => {
  let platform: Platform
  let browser: Browser
  let visits: Visit[] = []
  /** The session of the login link, for every later visit. */
  let state: { cookies: never[]; origins: never[] }

  beforeAll(async () => {
    platform = await startPlatform({ env: { COLLECT_INTERVAL: '1' }, ...(main ? { main } : {}) })
    browser = await launch(chromium!)
  })
  afterAll(async () => {
    await browser?.close()
    await platform?.remove()
  })

  async function open(path: string, options: Parameters<typeof visit>[1] = {}): Promise<Page> {
    const made = await visit(browser, { storageState: state, ...options })
    visits.push(made)
    await made.page.goto(platform.url + path)
    return made.page
  }
  async function live(path = '/ops', options: Parameters<typeof visit>[1] = {}): Promise<Page> {
    const page = await open(path, options)
    await page.getByRole('status').filter({ hasText: 'Live' }).waitFor()
    return page
  }
  /** After each test: no page of it had a fault, asked anybody else, or stays open. */
  async function leave() {
    const left = visits
    visits = []
    for (const { context, asked, faults } of left) {
      expect(faults).toEqual([])
      const foreign = asked.filter(
        (url) => !/^(data|blob):/.test(url) && new URL(url).host !== new URL(platform.url).host,
      )
      expect(foreign).toEqual([])
      await context.close()
    }
  }
  const picture = (page: Page, name: string, fullPage = false) =>
    process.env.SHOTS ? page.screenshot({ path: join(process.env.SHOTS, `${name}.png`), fullPage }) : null

  async function violations(page: Page) {
    // The policy of the page forbids foreign scripts: axe comes in over the debugger, not through the page.
    await page.evaluate(axe)
    return ask<string[]>(
      page,
      `axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) =>
        violations.flatMap((v) => v.nodes.map((n) => v.id + ': ' + n.html.slice(0, 200) + ' ' + n.failureSummary)))`,
    )
  }

  test('the first login link opens the overview, once', async () => {
    const link = /http:\/\/\S+\/login#code=\S+/.exec(platform.output())![0]
    const { page, context, faults, asked } = await visit(browser)
    await page.goto(link)
    await page.getByRole('heading', { level: 1, name: /Healthy|Degraded|Critical|No data/ }).waitFor()
    expect(new URL(page.url()).pathname).toBe('/ops')
    expect(page.url()).not.toContain('code')
    expect(asked.join()).not.toContain(link.split('code=')[1])
    state = (await context.storageState()) as never
    expect(faults).toEqual([])
    const again = await visit(browser)
    await again.page.goto(link)
    await again.page.getByRole('alert').filter({ hasText: 'A login link works once' }).waitFor()
    await again.context.close()
    await context.close()
  })

  test('without a session it asks for one, and leads back to the same address', async () => {
    const { page, context } = await visit(browser)
    await page.goto(`${platform.url}/ops/metrics/system.memory_usage?range=24h`)
    await page.getByLabel('Token').fill('wrong')
    await page.keyboard.press('Enter')
    await page.getByRole('alert').filter({ hasText: 'not valid' }).waitFor()
    await page.getByLabel('Token').fill(ADMIN_TOKEN)
    await page.getByRole('button', { name: 'Log in' }).click()
    await page.getByRole('heading', { level: 1, name: 'system.memory_usage' }).waitFor()
    expect(new URL(page.url()).search).toBe('?range=24h')
    await page.getByRole('button', { name: /account of/ }).click()
    await page.getByRole('button', { name: 'Log out' }).click()
    await page.getByRole('heading', { name: 'Log in to operations' }).waitFor()
    await page.goto(`${platform.url}/login?return=https://evil.example/`)
    await page.getByLabel('Token').fill(ADMIN_TOKEN)
    await page.keyboard.press('Enter')
    await page.waitForURL(`${platform.url}/ops*`)
    await context.close()
  })

  test('shows this machine, and its values change by themselves', async () => {
    const page = await live()
    const figures = page.locator('.card .value')
    const seen = new Set<string>()
    await eventually(
      async () => seen.add((await figures.allTextContents()).join(' | ')),
      () => seen.size >= 3,
      20_000,
    )
    expect(await page.locator('[data-metric=cpu_usage] .value b').textContent()).toMatch(/^\d{1,3}(\.\d)?$/)
    const answer = await platform.request('GET', '/api/v1/advanced-dashboard/dashboard/summary')
    const memory = Number(await page.locator('[data-metric=memory_usage] .value b').textContent())
    expect(Math.abs(memory - answer.json.data.metrics.memory_usage)).toBeLessThan(10)
    await page.locator('[data-metric=cache_hit_rate]').getByText('No data').waitFor()
    // A busy machine may have an alert.
    const alerts = page.locator('#p-alerts')
    await alerts
      .getByText(/rules are watching/)
      .or(alerts.getByRole('button', { name: /Acknowledge/ }))
      .first()
      .waitFor()
    await page.locator('#p-scale').getByText('control: ready').waitFor()
    // The panel counts instances of the market, as the message does, whatever else runs.
    const { instances, engines, processes } = answer.json.data
    const serving = processes.filter((one: { kind: string }) => one.kind === 'instance')
    expect(serving.length).toBeGreaterThan(0)
    expect(instances.target).toBeGreaterThan(0)
    expect(engines.find((one: { name: string }) => one.name === 'scaling').state).toBe('active')
    expect(await page.locator('#p-scale .now').textContent()).toMatch(/^\d+ ready of \d+ wanted/)
    const sentence = await page.getByRole('img', { name: /^System performance over time/ }).getAttribute('aria-label')
    expect(sentence).toMatch(/CPU [\d.]+.%, between [\d.]+.% and [\d.]+.%; Memory/)
    await picture(page, 'light')
    await leave()
  })

  test('says that it is disconnected when the server dies, keeps what it showed, and comes back by itself', async () => {
    const page = await live('/ops?range=1h')
    const points = async () => {
      const label = await page.getByRole('img', { name: /^System performance/ }).getAttribute('aria-label')
      return label ?? ''
    }
    await eventually(points, (text) => /CPU [\d.]+/.test(text))
    const memory = await page.locator('[data-metric=memory_usage] .value b').textContent()
    const control = platform.processes().find((p) => p.kind === 'control')!
    process.kill(control.pid, 'SIGKILL')
    await page.getByRole('heading', { level: 1, name: /^Not live: these figures are from/ }).waitFor()
    expect(await page.locator('[data-metric=memory_usage] .value b').textContent()).toBe(memory)
    await page.getByRole('button', { name: 'Try now' }).waitFor()
    await picture(page, 'disconnected')
    await page.getByRole('status').filter({ hasText: 'Live' }).waitFor()
    await page.getByRole('heading', { level: 1, name: /^(Healthy|Degraded|Critical)/ }).waitFor()
    await eventually(points, (text) => /CPU [\d.]+/.test(text))
    await page.locator('#p-scale').getByText('restarted once, last because of').waitFor()
    await leave()
  })

  test('a server that says nothing makes the page stale, and live again when it speaks', async () => {
    const page = await live()
    const control = platform.processes().find((p) => p.kind === 'control')!
    process.kill(control.pid, 'SIGSTOP')
    try {
      await page.getByRole('heading', { level: 1, name: /^Stale: these figures are from/ }).waitFor()
      await page.locator('[data-metric=memory_usage]').getByText('as of').waitFor()
      expect(await page.locator('.card .tag').count()).toBe(0)
      await picture(page, 'stale')
    } finally {
      process.kill(control.pid, 'SIGCONT')
    }
    await page.getByRole('heading', { level: 1, name: /^(Healthy|Degraded|Critical)/ }).waitFor({ timeout: 45_000 })
    await leave()
  })

  test('loading shows the boxes of the page, and only when it takes long', async () => {
    const made = await visit(browser, { storageState: state })
    visits.push(made)
    const { page } = made
    await page.routeWebSocket(/\/ws/, () => {})
    await page.goto(`${platform.url}/ops`)
    await page.getByRole('heading', { level: 1, name: 'Reading the state of the platform' }).waitFor()
    expect(await page.locator('main').getAttribute('aria-busy')).toBe('true')
    expect(await page.locator('.card').count()).toBe(6)
    await page.locator('.is-early').waitFor({ state: 'detached' })
    await page.getByRole('heading', { name: 'Active alerts' }).waitFor()
    await picture(page, 'loading')
    await leave()
  })

  test('a whole keyboard is enough', async () => {
    const page = await live('/ops?range=1h')
    await page.keyboard.press('Tab')
    expect(await ask(page, 'document.activeElement.textContent')).toBe('Skip to content')
    await page.keyboard.press('?')
    await page.getByRole('dialog', { name: 'Keys' }).waitFor()
    await page.keyboard.press('2')
    expect(page.url()).toContain('range=1h')
    await page.keyboard.press('Escape')
    await page.getByRole('dialog').waitFor({ state: 'hidden' })
    expect(await ask(page, 'document.activeElement.textContent')).toBe('Skip to content')
    await page.keyboard.press('2')
    await page.waitForURL(/range=3h/)
    await page.getByText('Means of 30 seconds').first().waitFor()

    const chart = page.getByRole('img', { name: /^System performance/ })
    for (let i = 0; i < 40 && !(await focused(page, 'System performance')); i++) await page.keyboard.press('Tab')
    expect(await focused(page, 'System performance')).toBe(true)
    await page.keyboard.press('End')
    const figures = chart.locator('.tip')
    await figures.getByText(/UTC$/).waitFor()
    expect(await figures.textContent()).toMatch(/CPU.*%Memory.*%/)
    const other = page.getByRole('img', { name: /^Cache performance/ })
    expect(await other.locator('.crosshair').isVisible()).toBe(true)
    expect(await other.locator('.tip').isVisible()).toBe(false)
    await page.keyboard.press('Home')
    await figures.getByText('no data').first().waitFor()
    await page.keyboard.press('Escape')
    await figures.waitFor({ state: 'hidden' })

    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    const table = page.getByRole('table', { name: /^System performance/ })
    await table.waitFor()
    expect(await table.locator('tbody').last().locator('tr').count()).toBe(360)
    await page.keyboard.press('Enter')
    await chart.waitFor()

    await page.keyboard.press('g')
    await page.keyboard.press('e')
    await page.getByRole('heading', { level: 1, name: 'Metrics' }).waitFor()
    await page.keyboard.press('/')
    expect(await ask(page, 'document.activeElement.type')).toBe('search')
    await page.keyboard.type('t2')
    expect(await ask(page, 'document.documentElement.dataset.theme ?? null')).toBeNull()
    await page.keyboard.press('Escape')
    await ask(page, 'document.activeElement.blur()')
    await page.keyboard.press('g')
    await page.keyboard.press('o')
    await page.getByRole('heading', { name: 'Active alerts' }).waitFor()
    await leave()
  })

  test('single keys can be switched off, and stay off', async () => {
    const page = await live('/ops?range=1h')
    await page.keyboard.press('?')
    await page.getByRole('checkbox', { name: /^Single keys/ }).uncheck()
    await page.getByRole('button', { name: 'Close' }).click()
    await page.keyboard.press('3')
    await page.reload()
    await page.getByRole('status').filter({ hasText: 'Live' }).waitFor()
    await page.keyboard.press('3')
    expect(page.url()).toContain('range=1h')
    await page.keyboard.press('?')
    await page.getByRole('dialog', { name: 'Keys' }).waitFor()
    await leave()
  })

  test('light or dark: the system decides until the user does, who is remembered', async () => {
    const ground = (page: Page) => ask(page, 'getComputedStyle(document.body).backgroundColor')
    const dark = await live('/ops', { colorScheme: 'dark' })
    expect(await ground(dark)).toBe('rgb(12, 15, 20)')
    await picture(dark, 'dark')
    await dark.getByRole('button', { name: 'Switch between light and dark' }).click()
    expect(await ground(dark)).toBe('rgb(244, 245, 247)')
    await dark.reload()
    await dark.getByRole('status').filter({ hasText: 'Live' }).waitFor()
    expect(await ground(dark)).toBe('rgb(244, 245, 247)')
    await dark.keyboard.press('t')
    expect(await ground(dark)).toBe('rgb(12, 15, 20)')
    await leave()
  })

  test('fits a phone: nothing sideways, alerts before figures, targets for a thumb', async () => {
    const page = await live('/ops', { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true })
    expect(await ask(page, 'document.documentElement.scrollWidth')).toBe(390)
    const top = async (selector: string) => (await page.locator(selector).boundingBox())!.y
    expect(await top('#p-alerts')).toBeLessThan(await top('.cards'))
    expect(await top('.cards')).toBeLessThan(await top('#p-c1'))
    for (const button of await page.getByRole('button').all()) {
      const box = await button.boundingBox()
      if (box) expect(Math.min(box.height, box.width)).toBeGreaterThanOrEqual(24)
    }
    await picture(page, 'phone', true)
    await page.goto(`${platform.url}/ops/metrics/system.cpu_usage`)
    await page.getByRole('heading', { level: 1, name: 'system.cpu_usage' }).waitFor()
    expect(await ask(page, 'document.documentElement.scrollWidth')).toBe(390)
    await leave()
  })

  test.each(['light', 'dark'] as const)('axe finds nothing, %s', async (colorScheme) => {
    const page = await live('/ops', { colorScheme })
    expect(await violations(page)).toEqual([])
    await page.getByRole('button', { name: /^Table\s*: show System/ }).click()
    await page.keyboard.press('?')
    expect(await violations(page)).toEqual([])
    await page.goto(`${platform.url}/ops/metrics/system.cpu_usage`)
    await page.getByRole('heading', { name: 'Series' }).waitFor()
    await page.getByRole('row', { name: /opinion-market/ }).waitFor()
    expect(await violations(page)).toEqual([])
    await picture(page, `metric-${colorScheme}`)
    const login = await visit(browser, { colorScheme })
    await login.page.goto(`${platform.url}/login`)
    await login.page.getByLabel('Token').waitFor()
    expect(await violations(login.page)).toEqual([])
    await login.context.close()
    await leave()
  })

  test.each(['/ops?range=1h', '/ops/metrics/system.cpu_usage?range=1h'])(
    'nothing jumps on %s: not while it loads, not with later messages',
    async (path) => {
      const page = await open(path)
      await page.getByRole('status').filter({ hasText: 'Live' }).waitFor()
      await page.waitForTimeout(5000)
      const { sum: shift, moved } = await ask<{ sum: number; moved: string[] }>(
        page,
        `new Promise((done) => {
        let sum = 0
        const moved = []
        new PerformanceObserver((list) => {
          for (const { value, sources } of list.getEntries()) {
            sum += value
            for (const { node } of sources) moved.push(value.toFixed(3) + ' ' + (node?.parentElement?.outerHTML ?? node?.nodeName)?.slice(0, 120))
          }
        }).observe({ type: 'layout-shift', buffered: true })
        setTimeout(() => done({ sum, moved }), 300)
      })`,
      )
      expect(shift, moved.join(', ')).toBeLessThan(0.05)
      await leave()
    },
  )

  test('what others pushed is text, whatever it looks like', async () => {
    const evil = '<img src=x onerror="document.title=1">'
    const pushed = await platform.request('POST', '/api/v1/advanced-analytics/add-data-point', {
      metric_name: 'evil.metric',
      value: 7,
      labels: { note: evil },
    })
    expect(pushed.status).toBeLessThan(300)
    const page = await live('/ops/metrics/evil.metric')
    await page.getByRole('row', { name: 'note=' }).waitFor()
    expect(await page.getByRole('row', { name: 'note=' }).textContent()).toContain(JSON.stringify(evil))
    expect(await page.locator('img').count()).toBe(0)
    expect(await page.title()).not.toBe('1')
    const none = await live(`/ops/metrics/${encodeURIComponent(evil)}`)
    await none.getByRole('heading', { level: 1, name: evil }).waitFor()
    await leave()
  })

  test('lists metrics, searches them, and says where samples come from', async () => {
    const page = await live('/ops/metrics')
    await page.getByRole('row', { name: /^host [1-9]/ }).waitFor()
    await page.getByLabel('Search names').fill('memory usage')
    await page.getByRole('link', { name: 'system_memory_usage' }).click()
    await page.getByRole('heading', { level: 1, name: 'system_memory_usage' }).waitFor()
    await page
      .getByRole('row', { name: /opinion-market/ })
      .first()
      .waitFor()
    await leave()
  })

  test('a session that ends leads to the login page, with the way back', async () => {
    const { page, context } = await visit(browser)
    await page.goto(`${platform.url}/ops?range=24h`)
    await page.getByLabel('Token').fill(ADMIN_TOKEN)
    await page.keyboard.press('Enter')
    await page.getByRole('status').filter({ hasText: 'Live' }).waitFor()
    await ask(page, "fetch('/api/v1/session', { method: 'DELETE' }).then(() => true)")
    await page.getByRole('heading', { name: 'Log in to operations' }).waitFor({ timeout: 15_000 })
    expect(new URL(page.url()).searchParams.get('return')).toBe('/ops?range=24h')
    await context.close()
  })
})
