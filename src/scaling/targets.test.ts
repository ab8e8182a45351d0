/** What is said of targets that are configured wrong, and what may be seen of those that are right. */
import { expect, test } from 'vitest'
import { scalingKeys } from './config.ts'
import { parseTargets } from './targets.ts'

const hook = { url: 'https://example.org/scale?token=MARKER' }

test.each([
  ['no name', [{ webhook: hook }], '[0].name: small letters, digits, _ and -, at most 64, got nothing'],
  ['no way to scale it', [{ name: 'a' }], '[0]: one of process, kubernetes, webhook'],
  [
    'two ways',
    [{ name: 'a', webhook: hook, kubernetes: { deployment: 'a' } }],
    '[0]: one of process, kubernetes, webhook',
  ],
  [
    'a name that stands twice',
    [
      { name: 'a', webhook: hook },
      { name: 'a', webhook: hook },
    ],
    '"a" stands twice',
  ],
  ['a word that is not known', [{ name: 'a', webhook: hook, max: 3 }], '[0]: "max" is not known there'],
  [
    'a minimum above the maximum',
    [{ name: 'a', webhook: hook, min_instances: 5, max_instances: 2 }],
    '[0].min_instances: at most 2',
  ],
  [
    'a schedule that is none',
    [{ name: 'a', webhook: hook, schedules: [{ name: 's', cron: 'noon', minimum: 1 }] }],
    '[0].schedules[0].cron: five fields',
  ],
  [
    'a password in an address',
    [{ name: 'a', webhook: { url: 'https://u:MARKER@example.org/' } }],
    '[0].webhook.url: no password in it',
  ],
  ['no text in the environment', [{ name: 'a', process: { command: ['x'], environment: { T: ['MARKER'] } } }], '[0]'],
])('%s', (_, raw, sentence) => {
  const said = (() => {
    try {
      parseTargets(raw)
      return 'nothing'
    } catch (error) {
      return String(error)
    }
  })()
  expect(said).toContain(sentence)
  expect(said).not.toContain('MARKER')
})

test('how long a start takes may be said, and need not be', () => {
  const [said, unsaid] = parseTargets([
    { name: 'a', webhook: hook, start_up_seconds: 300 },
    { name: 'b', webhook: hook },
  ])
  expect([said!.startUpMs, unsaid!.startUpMs]).toEqual([300_000, undefined])
})

test('addresses of webhooks and the environment of processes are not shown', () => {
  const targets = parseTargets([
    { name: 'a', webhook: hook },
    { name: 'b', process: { command: ['x'], environment: { TOKEN: 'MARKER' } } },
  ])
  expect(targets[0]!.webhook!.url).toContain('MARKER')
  const shown = scalingKeys.targets.shown(targets)
  expect(JSON.stringify(shown)).not.toContain('MARKER')
  expect(shown).toMatchObject([
    { webhook: { url: '***', url_set: true } },
    { process: { environment: { TOKEN: '***' } } },
  ])
})
