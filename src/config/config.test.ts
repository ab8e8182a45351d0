/** Configuration from real files: who wins, what is refused and in which words, versions. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import type { AppError } from '../base/errors.ts'
import { exampleEnv, exampleFiles, exampleYaml, variableTable } from './examples.ts'
import type { Config } from './load.ts'
import { ConfigError, loadConfig, withoutSecrets } from './load.ts'
import { keys, rooms } from './rooms.ts'

const root = mkdtempSync(join(tmpdir(), 'om-config-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
let runs = 0
function folder(files: Record<string, string> = {}): string {
  const dir = join(root, String(++runs))
  mkdirSync(join(dir, 'config'), { recursive: true })
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text)
  return dir
}
const load = (files: Record<string, string> = {}, env: Record<string, string> = {}) =>
  loadConfig({ cwd: folder(files), env })
function problemsOf(files: Record<string, string>, env: Record<string, string> = {}): string[] {
  try {
    load(files, env)
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split('\n')
    throw error
  }
  return []
}
const view = (config: Config, path: string) => config.describe().find((v) => v.path === path)!
function fieldsOf(work: () => unknown): Record<string, string> {
  try {
    work()
  } catch (error) {
    expect((error as AppError).status).toBe(422)
    return Object.fromEntries((error as AppError).fields.map((f) => [f.path, f.message]))
  }
  return {}
}

test('every path and every variable stands for one key', () => {
  const all = Object.values(rooms).flatMap((room) => Object.values(room).map((key) => key))
  expect(keys.size).toBe(all.length)
  const variables = all.map((key) => key.env).filter((env) => env !== null)
  expect(new Set(variables).size).toBe(variables.length)
})

test('every default is a right value', () => {
  for (const key of keys.values()) {
    if (key.fallback !== null) expect([key.path, key.parse(key.fallback).ok]).toEqual([key.path, true])
    expect(key.help, key.path).toMatch(/^[A-Z].*\.$/)
  }
})

test('all variables of the contract are there, with their defaults', () => {
  const shown = Object.fromEntries([...keys.values()].filter((k) => k.env).map((k) => [k.env, k.fallback]))
  expect(shown).toMatchObject({
    PORT: 8000,
    HOST: '127.0.0.1',
    DATA_DIR: './data',
    LOG_DIR: './logs',
    ANALYTICS_ML_ENABLED: true,
    ANALYTICS_PREDICTION_HORIZONS: [15, 30, 60, 120],
    ANALYTICS_ANOMALY_THRESHOLD: 2.5,
    AUTO_SCALING_ENABLED: true,
    AUTO_SCALING_MIN_INSTANCES: 1,
    AUTO_SCALING_MAX_INSTANCES: 10,
    AUTO_SCALING_COOLDOWN_PERIOD: 300,
    PERFORMANCE_OPTIMIZATION_STRATEGY: 'balanced',
    PERFORMANCE_OPTIMIZATION_ENABLED: true,
    ALERTING_ENABLED: true,
    ALERTING_EVALUATION_INTERVAL: 30,
    ALERTING_ESCALATION_TIMEOUT: 1800,
    SMTP_SERVER: null,
    SMTP_PORT: 587,
    SMTP_USERNAME: null,
    SMTP_PASSWORD: null,
    SLACK_WEBHOOK_URL: null,
  })
  for (const [file, paths] of [
    ['performance.yaml', ['optimization.strategy', 'optimization.enabled']],
    ['performance.yaml', ['cpu_usage', 'memory_usage', 'response_time'].map((m) => `thresholds.${m}.critical`)],
    ['alerting.yaml', ['alerting.enabled', 'alerting.evaluation_interval', 'alerting.escalation_timeout']],
    ['alerting.yaml', ['channels.email.smtp_port', 'channels.slack.webhook_url']],
  ] as const) {
    for (const path of paths) expect([path, keys.get(path)?.file]).toEqual([path, file])
  }
})

describe('examples', () => {
  const inRepository = (name: string) => new URL(`../../${name}`, import.meta.url).pathname
  test('are the files of the repository', async () => {
    for (const file of exampleFiles) await expect(exampleYaml(file)).toMatchFileSnapshot(inRepository(`config/${file}`))
    await expect(exampleEnv()).toMatchFileSnapshot(inRepository('.env.example'))
    const readme = readFileSync(inRepository('README.md'), 'utf8')
    const written = readme.replace(/^\| Variable .*\n(?:\|.*\n)*/m, `${variableTable()}\n`)
    await expect(written).toMatchFileSnapshot(inRepository('README.md'))
  })
  test('change nothing, as they are and with every line taken in', () => {
    const uncommented = (text: string) => text.replace(/^# ( *[\w]+:)/gm, '$1')
    const all = (change: (text: string) => string) => ({
      ...Object.fromEntries(exampleFiles.map((file) => [`config/${file}`, change(exampleYaml(file))])),
      '.env': change(exampleEnv())
        .replace(/^# (\w+=)/gm, '$1')
        .replace(/^DATA_DIR.*|^LOG_DIR.*/gm, ''),
    })
    const plain = load().current.values
    for (const change of [(text: string) => text, uncommented]) {
      const { values } = load(all(change)).current
      const folders = { dataDir: plain.platform.dataDir, logDir: plain.platform.logDir }
      expect({ ...values, platform: { ...values.platform, ...folders } }).toEqual(plain)
    }
    expect(
      load(all(uncommented))
        .describe()
        .filter((v) => v.source === 'default' && v.value !== null && !v.secret),
    ).toEqual([])
  })
})

describe('sources', () => {
  test('the later wins: default, file, .env, environment, change by API; and each says where it came from', () => {
    const yaml = { 'config/platform.yaml': '# comment\nlog:\n  level: warn\n' }
    const dotEnv = { '.env': '# comment\nexport LOG_LEVEL=error\n' }
    expect(view(load(), 'log.level')).toMatchObject({ value: 'info', source: 'default', detail: '' })
    expect(view(load(yaml), 'log.level')).toMatchObject({
      value: 'warn',
      source: 'file',
      detail: 'config/platform.yaml:3',
    })
    const both = { ...yaml, ...dotEnv }
    expect(view(load(both), 'log.level')).toMatchObject({ value: 'error', source: '.env', detail: '.env:2 LOG_LEVEL' })
    const config = load(both, { LOG_LEVEL: 'debug' })
    expect(view(config, 'log.level')).toMatchObject({ value: 'debug', source: 'environment', detail: 'LOG_LEVEL' })
    config.apply(1, config.plan({ 'log.level': 'info' }, 1))
    expect(view(config, 'log.level')).toMatchObject({ value: 'info', source: 'api', detail: 'version 1' })
    expect(view(load(yaml, { LOG_LEVEL: '' }), 'log.level').value).toBe('warn')
  })
  test('a variable that nobody reads and looks misspelt is hinted at', () => {
    const env = {
      ALERTNG_ENABLED: '1',
      OM_ADMIN_TOKN: 'x',
      HOME: '/',
      PATH: '/bin',
      LOGNAME: 'x',
      HOSTNAME: 'x',
      PORT: '1',
    }
    expect(load({ '.env': 'SMTP_PASWORD=x\n' }, env).hints).toEqual([
      'The environment variable ALERTNG_ENABLED is not known; did you mean ALERTING_ENABLED?',
      'The environment variable OM_ADMIN_TOKN is not known; did you mean OM_ADMIN_TOKEN?',
      'The environment variable SMTP_PASWORD is not known; did you mean SMTP_PASSWORD?',
    ])
  })
  test('a file that nobody reads is hinted at', () => {
    expect(
      load({ 'config/platforms.yaml': 'server:\n  port: 1\n', 'config/mine.yml': '', 'config/a.txt': '' }).hints,
    ).toEqual([
      'config/mine.yml is not read; these are: platform.yaml, alerting.yaml, performance.yaml, scaling.yaml.',
      'config/platforms.yaml is not read; did you mean config/platform.yaml?',
    ])
  })
  test('folders are meant from where the platform was started', () => {
    const cwd = folder()
    expect(loadConfig({ cwd, env: {} }).current.values.platform.dataDir).toBe(join(cwd, 'data'))
    expect(loadConfig({ cwd, env: { DATA_DIR: '/srv/x' } }).current.values.platform.dataDir).toBe('/srv/x')
  })
  test('a file may take a value from a variable', () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the file has it so
    const slack = { 'config/alerting.yaml': 'channels:\n  slack:\n    webhook_url: ${MY_HOOK}\n' }
    expect(load(slack, { MY_HOOK: 'https://x.example/y' }).current.values.alerting.slackWebhookUrl).toBe(
      'https://x.example/y',
    )
    expect(problemsOf(slack)).toEqual([
      // biome-ignore lint/suspicious/noTemplateCurlyInString: as above
      'config/alerting.yaml:3: channels.slack.webhook_url names the environment variable ${MY_HOOK}, which is not set',
    ])
  })
  test('files of comments alone, and sections without keys, hold nothing', () => {
    expect(
      problemsOf({
        'config/scaling.yaml': '# nothing\n',
        'config/alerting.yaml': 'alerting:\n  # x: 1\nchannels:\n  email:\n',
      }),
    ).toEqual([])
  })
})

describe('what is wrong is said, all of it at once', () => {
  test('with place, key, value and what would be right', () => {
    const files = {
      'config/platform.yaml': 'server:\n  prot: 1\n  host: "a b"\nlogs: 3\n',
      'config/alerting.yaml': 'alerting:\n  evaluation_interval: 0\noptimization:\n  enabled: true\n',
      'config/scaling.yaml': 'scaling:\n  min_instances: 5\n  max_instances: [3]\n',
      '.env': 'X=1\nSMTP_PORT=99999\n',
    }
    expect(problemsOf(files, { PORT: 'abc' }).sort()).toEqual(
      [
        'config/platform.yaml:2: server.prot is not known here; did you mean server.port?',
        'config/platform.yaml:4: logs is not known here',
        'config/alerting.yaml:4: optimization.enabled belongs in config/performance.yaml',
        'environment variable PORT: server.port expected a whole number from 0 to 65535, got "abc"',
        'config/platform.yaml:3: server.host expected an address or host name, such as 127.0.0.1 or 0.0.0.0, got "a b"',
        'config/alerting.yaml:2: alerting.evaluation_interval expected a number of seconds from 1 to 3600, got 0',
        '.env:2 SMTP_PORT: channels.email.smtp_port expected a whole number from 1 to 65535, got "99999"',
        'config/scaling.yaml:3: scaling.max_instances expected a whole number of instances from 1 to 1000, got [3]',
      ].sort(),
    )
  })
  test('also in a file that the environment overrules, and where a section has a value', () => {
    const files = { 'config/platform.yaml': 'server:\n  port: x\nlog: 5\n' }
    expect(problemsOf(files, { PORT: '8001' }).sort()).toEqual([
      'config/platform.yaml:2: server.port expected a whole number from 0 to 65535, got "x"',
      'config/platform.yaml:3: log expected keys and values below it',
    ])
  })
  test('a line of .env that is none, but not a value of several lines', () => {
    const lines = [
      '# comment',
      '',
      'export A=1',
      'KEY="first',
      'second line',
      'end" # said',
      'PORT 9000',
      'B=2',
      '"lost',
    ]
    expect(problemsOf({ '.env': lines.join('\n') })).toEqual([
      '.env:7: .env expected NAME=value, or # before a comment',
      '.env:9: .env expected NAME=value, or # before a comment',
    ])
  })
  test('values that contradict each other', () => {
    expect(problemsOf({}, { AUTO_SCALING_MIN_INSTANCES: '20' })).toEqual([
      'environment variable AUTO_SCALING_MIN_INSTANCES: scaling.min_instances has to be at most 10, the value of scaling.max_instances',
    ])
    const thresholds = { 'config/performance.yaml': 'thresholds:\n  cpu_usage:\n    warning: 90\n' }
    expect(problemsOf(thresholds)[0]).toContain('thresholds.cpu_usage.warning has to be at most 85')
  })
  test('a secret is not shown, however wrong', () => {
    const said = problemsOf({}, { SLACK_WEBHOOK_URL: 'MARKER-1', OM_ADMIN_TOKEN: 'MARKER-2' }).join()
    expect(said).toContain('channels.slack.webhook_url expected an address')
    expect(said).not.toContain('MARKER')
  })
  test.each([
    ['a: [', /^config\/platform\.yaml:\d+: config\/platform\.yaml/],
    ['- 1\n', /expected keys and values/],
    ['just text', /expected keys and values/],
    ['server:\n  port: 1\n  port: 2\n', /Map keys must be unique/],
    ['1: 2\n', /is not known here/],
    ['? [a, b]\n: 1\n', /is not known here/],
  ])('a file that is %j', (text, message) => {
    expect(problemsOf({ 'config/platform.yaml': text })[0]).toMatch(message)
  })
  test('no file whatever makes it fall over', () => {
    const cwd = folder()
    const line = fc.oneof(
      fc.string(),
      fc.constantFrom('server:', '  port: 1', '  host: &a x', 'log: *a', '? ', '- ', '<<: {}', '!!js x'),
    )
    fc.assert(
      fc.property(fc.array(line, { maxLength: 6 }), (lines) => {
        writeFileSync(join(cwd, 'config/platform.yaml'), lines.join('\n'))
        try {
          loadConfig({ cwd, env: {} })
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigError)
        }
      }),
      { numRuns: 300 },
    )
  })
})

describe('changes by API', () => {
  test('make the next snapshot; the one before stays as it was', () => {
    const config = load()
    const before = config.current
    const heard: number[] = []
    const leave = config.subscribe((snapshot) => heard.push(snapshot.version))
    config.apply(1, config.plan({ 'dashboard.period': 5, 'log.level': 'debug' }, 1))
    expect(config.current.values.dashboard.period).toBe(5)
    expect(before.values.dashboard.period).toBe(2)
    expect(Object.isFrozen(config.current.values.dashboard)).toBe(true)
    config.apply(2, config.plan({ 'dashboard.period': null }, 2))
    expect(config.current.values.dashboard.period).toBe(2)
    expect(view(config, 'log.level').detail).toBe('version 1')
    leave()
    config.apply(3, [])
    expect(heard).toEqual([1, 2])
  })
  test('are refused field by field, and then nothing changes', () => {
    const config = load()
    const changes = { 'log.level': 'loud', 'log.levle': 'info', 'server.port': 1, 'dashboard.period': 5 }
    expect(fieldsOf(() => config.plan(changes, 1))).toEqual({
      'log.levle': 'is not known; did you mean "log.level"?',
      'server.port': 'takes effect at a start alone: set it in config/platform.yaml or PORT',
    })
    expect(fieldsOf(() => config.plan({ 'log.level': 'loud' }, 1))).toEqual({
      'log.level': 'expected one of debug, info, warn, error, got "loud"',
    })
    expect(fieldsOf(() => config.plan({ 'scaling.min_instances': 11 }, 1))['scaling.min_instances']).toContain(
      'at most 10',
    )
    expect(config.current.version).toBe(0)
  })
  test('of secrets are masked, kept by "***", and stay in this process', () => {
    const config = load()
    const hook = 'https://hooks.example/MARKER'
    config.apply(1, config.plan({ 'channels.slack.webhook_url': hook }, 1))
    expect(view(config, 'channels.slack.webhook_url')).toMatchObject({ value: '***', value_set: true })
    expect(view(config, 'channels.email.password')).toMatchObject({ value: null, value_set: false })
    config.apply(2, config.plan({ 'channels.slack.webhook_url': '***', 'log.level': 'warn' }, 2))
    expect(config.current.values.alerting.slackWebhookUrl).toBe(hook)
    expect(JSON.stringify(config.describe())).not.toContain('MARKER')
    expect(JSON.stringify(withoutSecrets(config.current))).not.toContain('MARKER')
    expect(withoutSecrets(config.current).values.platform.logLevel).toBe('warn')
  })
  test('that no longer hold are left out, the others stay', () => {
    const config = load()
    const dropped = config.apply(7, [
      { path: 'log.level', value: 'loud', version: 3 },
      { path: 'gone.key', value: 1, version: 4 },
      { path: 'server.port', value: 1, version: 5 },
      { path: 'dashboard.period', value: 5, version: 6 },
    ])
    expect(dropped.map((p) => p.key).sort()).toEqual(['gone.key', 'log.level', 'server.port'])
    expect(config.current.version).toBe(7)
    expect(config.current.values.dashboard.period).toBe(5)
    expect(config.current.values.platform.logLevel).toBe('info')
  })
  test('overrides that contradict what files say by now cannot stop a start', () => {
    const config = load({}, { AUTO_SCALING_MAX_INSTANCES: '3' })
    const dropped = config.apply(1, [{ path: 'scaling.min_instances', value: 5, version: 1 }])
    expect(dropped).toHaveLength(1)
    expect(config.current.values.scaling.minInstances).toBe(1)
  })
})
