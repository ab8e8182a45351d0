/** What can be configured about collecting; `metrics/config.ts` takes these keys in. */
import { bool, seconds, structure } from '../../base/config-key.ts'
import { parseScrapeJobs, type ScrapeJob } from './scrape-config.ts'

export const collectKeys = {
  collectInterval: seconds('collect.interval', 5, {
    min: 1,
    max: 300,
    env: 'COLLECT_INTERVAL',
    help: 'How often the platform measures this machine and itself.',
  }),
  collectHost: bool('collect.host', true, {
    env: 'COLLECT_HOST',
    help: 'Whether CPU, memory, disk and network of this machine are measured.',
  }),
  scrapeTargets: structure<readonly ScrapeJob[]>('scrape.targets', [], 'a list of targets', parseScrapeJobs, {
    // Tokens and passwords may stand in it; `GET /api/v1/metrics/targets` shows the rest.
    secret: true,
    live: true,
    help: 'Services that are scraped: name, urls or files, interval, timeout, labels, bearer_token or basic_auth, tls.',
  }),
}
