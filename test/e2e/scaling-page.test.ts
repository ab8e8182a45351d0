/**
 * The pages of scaling in a real browser, served by the real program with a real target: how it stands, a decision
 * whole, instances by hand, a pause, a policy edited. Set `SHOTS` to a folder to get pictures.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { launch, type Visit, visit } from '../support/browser.ts'
import { need } from '../support/need.ts'
import { ADMIN_TOKEN, eventually } from '../support/platform.ts'
import { type Load, startLoad, startWorld, type World } from '../support/scaling/world.ts'

const chromium = need('chromium')
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

describe.skipIf(chromium === null)('the pages of scaling', () => {
  let world: World
  let load: Load
  let browser: Browser
  const visits: Visit[] = []

  beforeAll(async () => {
    const policy = {
      name: 'web_throughput',
      metric_name: 'web_requests_per_second',
      scale_up_threshold: 60,
      scale_down_threshold: 20,
      cooldown_period: 2,
      clear_for: 600,
    }
    world = await startWorld({
      workers: 2,
      serviceMs: 20,
      startMs: 300,
      evaluationSeconds: 1,
      maxInstances: 6,
      policies: [policy],
      ...(process.env.OM_TEST_MAIN ? { platform: { main: process.env.OM_TEST_MAIN } } : {}),
    })
    await eventually(
      () => world.counts(),
      ({ ready }) => ready === 1,
      30_000,
    )
    load = startLoad(world, 300)
    load.rate = 80
    await eventually(
      () => world.counts(),
      ({ ready }) => ready >= 3,
      30_000,
    )
    browser = await launch(chromium!)
  }, 120_000)
  afterAll(async () => {
    await browser?.close()
    await load?.stop()
    await world?.remove()
  })
  /** No page had a fault, all are closed. */
  afterEach(async () => {
    for (const { context, faults } of visits.splice(0)) {
      expect(faults).toEqual([])
      await context.close()
    }
  })

  async function open(path: string, options: Parameters<typeof visit>[1] = {}): Promise<Page> {
    const made = await visit(browser, options)
    visits.push(made)
    const { url } = world.platform
    await made.page.request.post(`${url}/api/v1/session`, {
      data: { token: ADMIN_TOKEN },
      headers: { origin: url },
    })
    await made.page.goto(`${url}${path}`)
    return made.page
  }
  async function shot(page: Page, name: string) {
    if (process.env.SHOTS) await page.screenshot({ path: join(process.env.SHOTS, `${name}.png`), fullPage: true })
  }
  async function clean(page: Page) {
    await page.evaluate(axe)
    const found = await page.evaluate(
      `axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] })
        .then(({ violations }) => violations.map((v) => v.id + ': ' + v.nodes[0]?.html))`,
    )
    expect(found).toEqual([])
  }

  test('says how it stands, and every number with its limit', async () => {
    const page = await open('/ops/scaling?target=web')
    await page.waitForSelector('.decision')
    await page.waitForSelector('.facts .blocks')
    const figures = await page.locator('.facts').innerText()
    expect(figures).toMatch(/ready of \d wanted, limits 1 to 6/)
    expect(figures).toMatch(/req\/s/)
    expect(figures).toMatch(/instance-hours today/)
    expect(await page.locator('#h-inst + span').innerText()).toBe('local processes')
    expect(await page.locator('section[aria-label="Each instance"] tbody tr').count()).toBeGreaterThanOrEqual(3)
    expect(await page.locator('.decision').first().innerText()).toContain('web_requests_per_second')
    expect(await page.locator('.decision .trace').first().innerText()).toMatch(/web_throughput[\s\S]*Target/)
    await shot(page, 'scaling-light')
    await clean(page)
  })

  test('in the dark, on a phone, and by keyboard', async () => {
    const dark = await open('/ops', { colorScheme: 'dark' })
    await dark.waitForSelector('.topbar')
    await dark.keyboard.press('g')
    await dark.keyboard.press('s')
    await dark.waitForURL('**/ops/scaling')
    await dark.waitForSelector('#h-pol')
    await dark.goto(`${world.platform.url}/ops/scaling?target=web`)
    await dark.waitForSelector('.decision')
    await shot(dark, 'scaling-dark')
    await clean(dark)
    const phone = await open('/ops/scaling?target=web', { viewport: { width: 390, height: 844 } })
    await phone.waitForSelector('.decision')
    expect(await phone.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true)
    await shot(phone, 'scaling-phone')
  })

  test('a decision tells everything it was made from', async () => {
    const page = await open('/ops/scaling?target=web')
    await page.locator('.decision a').first().click()
    await page.waitForURL('**/ops/scaling/decisions/*')
    await page.waitForSelector('#h-became')
    await page.waitForSelector('text=taken by the provider')
    const text = await page.locator('main').innerText()
    expect(text).toMatch(/web: \d to \d/)
    expect(text).toContain('Demand and capacity around it')
    expect(text).toMatch(/web_requests_per_second\s+\d/)
    expect(text).toContain('web_throughput version 1')
    await shot(page, 'scaling-decision')
    await clean(page)
  })

  test('instances by hand, with a reason', async () => {
    const page = await open('/ops/scaling?target=web')
    await page.waitForSelector('.decision')
    const count = (await world.counts()).wanted === 5 ? 4 : 5
    await page.fill('#m-n', String(count))
    await page.locator('#m-n').blur()
    await page.fill('#m-r', 'a game begins')
    await page.click('text=Set instances')
    await page.waitForSelector('.manual a')
    await eventually(
      () => world.counts(),
      ({ wanted, ready }) => wanted === count && ready === count,
      30_000,
    )
    const [last] = (await world.api('GET', '/decisions?target=web&only=changes&limit=1')).json.data
    expect([last.trigger, last.target_instances, last.policy]).toEqual(['manual', count, expect.any(String)])
    expect(last.reason).toContain('a game begins')
  })

  test('a pause wants a reason, is said, and ends', async () => {
    await world.api('POST', '/resume')
    const page = await open('/ops/scaling?target=web')
    await page.click('text=Pause…')
    await page.fill('#p-r', 'a deployment')
    await clean(page)
    await page.click('dialog >> text=Pause >> nth=-1')
    await page.waitForSelector('text=Resume')
    expect((await world.api('GET', '/summary?target=web')).json.data.pause.reason).toBe('a deployment')
    await page.click('text=Resume')
    await page.waitForSelector('text=Pause…')
    expect((await world.api('GET', '/summary?target=web')).json.data.pause).toBeNull()
  })

  test('a policy is edited; a change made elsewhere meanwhile is not lost', async () => {
    const stored = async () => (await world.api('GET', '/policies')).json.data.policies.web_throughput
    // Also when this runs a second time in the same world.
    await world.api('PUT', '/policies/web_throughput', { scale_up_threshold: 60, scale_down_threshold: 20 })
    const { version } = await stored()
    const page = await open('/ops/scaling/policies/web_throughput')
    await page.waitForSelector('#f-scale_up_threshold')
    await page.fill('#f-scale_up_threshold', '70')
    expect(await page.locator('.field.changed').innerText()).toContain('was 60')
    await clean(page)
    await shot(page, 'scaling-policy')
    await page.click('text=Save')
    await page.waitForSelector(`text=Version ${version + 1}`)
    expect((await stored()).scale_up_threshold).toBe(70)
    await page.fill('#f-scale_down_threshold', '25')
    await world.api('PUT', '/policies/web_throughput', { clear_for: 700 })
    await page.click('text=Save')
    const refusal = page.locator('.refusal[role=alert]')
    await refusal.waitFor()
    expect(await refusal.innerText()).toMatch(/was changed in the meantime/)
    expect((await stored()).clear_for).toBe(700)
  })
})
