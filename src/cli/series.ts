/** `series top`: which names and labels cost most. */
import type { Command } from 'commander'
import { InvalidArgumentError } from 'commander'
import { type ClientOptions, withClient, withClientOptions } from './client.ts'
import { say, table } from './say.ts'

export function seriesCommands(program: Command): void {
  const series = program.command('series').description('what the stored series are made of')
  withClientOptions(series.command('top'))
    .description('the names and labels that cost most series')
    .option('--limit <n>', 'how many of each', readLimit, 10)
    .option('--json', 'as JSON, for programs')
    .action((options: ClientOptions & { limit: number; json?: boolean }) =>
      withClient(options, 'viewer', 'series top', async (client) => {
        const { data } = (await client.good('GET', `/api/v1/metrics/series/top?limit=${options.limit}`)).json
        if (options.json) return say(JSON.stringify(data, null, 2))
        show(data)
      }),
    )
}

interface Top {
  readonly series: number
  readonly names: readonly { name: string; series: number }[]
  readonly labels: readonly { label: string; values: number; series: number }[]
  readonly pairs: readonly { label: string; value: string; series: number }[]
}

function show({ series, names, labels, pairs }: Top): void {
  const share = (n: number) => `${((n / Math.max(1, series)) * 100).toFixed(1)} %`
  say(`${series} series`)
  say('')
  table([['SERIES', 'SHARE', 'METRIC'], ...names.map((n) => [String(n.series), share(n.series), n.name])])
  say('')
  table([['VALUES', 'SERIES', 'LABEL'], ...labels.map((l) => [String(l.values), String(l.series), l.label])])
  say('')
  const pair = (p: Top['pairs'][number]) => `${p.label}=${JSON.stringify(p.value)}`
  table([['SERIES', 'SHARE', 'LABEL AND VALUE'], ...pairs.map((p) => [String(p.series), share(p.series), pair(p)])])
}

function readLimit(text: string): number {
  const n = Number(text)
  if (Number.isInteger(n) && n >= 1 && n <= 1000) return n
  throw new InvalidArgumentError('Expected a whole number from 1 to 1000.')
}
