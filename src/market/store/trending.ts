/**
 * The trending score of a market, 0 to 100: how lively its last 24 hours were, the latest hours counting most. Half of
 * the scale is reached by 50 fresh trades (or 1,000 fresh credits), and nothing reaches the end of it.
 */
import { DAY, type Millis } from '../../base/time.ts'

/** Credits (in millionths) that count as much as one trade. */
export const VOLUME_OF_A_TRADE = 20_000_000
const HALF = 50

/** From 1 for what began just now to 0 for what is a day old. `at`: when the hour began. */
export const activityWeight = (at: Millis, now: Millis): number => Math.max(0, Math.min(1, 1 - (now - at) / DAY))

export const trendingOf = (activity: number): number => Math.floor((100 * activity) / (activity + HALF))
