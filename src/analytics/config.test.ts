/** Keys of analytics that check more than their kind. */
import { expect, test } from 'vitest'
import { analyticsKeys } from './config.ts'

test('a time zone must exist, not only look like one', () => {
  const { timeZone } = analyticsKeys
  for (const zone of ['UTC', 'Europe/Vienna']) expect(timeZone.parse(zone)).toEqual({ ok: true, value: zone })
  for (const zone of ['Mars/Base', 'Europe/Wien', '', '../etc', 7]) expect(timeZone.parse(zone).ok).toBe(false)
})

test('horizons are named once each', () => {
  const { predictionHorizons } = analyticsKeys
  expect(predictionHorizons.parse('15,15,60')).toEqual({ ok: true, value: [15, 60] })
  expect(predictionHorizons.parse('15,0').ok).toBe(false)
})
