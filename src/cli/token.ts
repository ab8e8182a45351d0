/**
 * `token` and `login-link`. They open identity.db themselves, whether or not the server runs: who can read the data
 * directory is the administrator.
 */
import { join } from 'node:path'
import type { Command } from 'commander'
import { InvalidArgumentError, Option } from 'commander'
import { runningAddress } from '../app/front-lock.ts'
import { loginLink, platformUrl } from '../app/urls.ts'
import { systemClock } from '../base/clock.ts'
import type { Config } from '../config/index.ts'
import { loadConfig } from '../config/index.ts'
import type { Identity, Role } from '../identity/index.ts'
import { LINK_MS, openIdentity, parseLifetime, ROLES } from '../identity/index.ts'
import { openSecretBox } from '../storage/secrets.ts'
import { say, table } from './say.ts'

const WHO = 'command line'
const clock = systemClock

export function tokenCommands(program: Command): void {
  const token = program.command('token').description('tokens of programs: create, list, revoke')
  const role = () =>
    new Option(
      '--role <role>',
      'viewer reads; operator also acknowledges, tests, scales; admin also changes everything',
    ).choices(ROLES)

  token
    .command('create')
    .description('make a token and print it; it is never shown again')
    .addOption(role().makeOptionMandatory())
    .requiredOption('--name <name>', 'what it is for, to find it again', readName)
    .option('--expires <lifetime>', 'how long it holds, such as 90d or 12h; for ever when absent', readLifetime)
    .option('--plain', 'print the token alone, for scripts')
    .addHelpText(
      'after',
      `
Examples:
  $ opinion-market token create --role admin --name me
  $ opinion-market token create --role viewer --name grafana --expires 90d
  $ TOKEN=$(opinion-market token create --role operator --name ci --plain)`,
    )
    .action((options: { role: Role; name: string; expires?: number; plain?: boolean }) =>
      withIdentity((identity) => {
        const now = clock.now()
        const expiresAt = options.expires === undefined ? null : now + options.expires
        const made = identity.createToken({ name: options.name, role: options.role, expiresAt }, WHO, now)
        if (options.plain) return say(made.secret)
        say(`Token ${made.token.id} (${options.role}, ${expiresAt ? `until ${made.token.expires_at}` : 'no expiry'}):`)
        say('')
        say(`  ${made.secret}`)
        say('')
        say('Keep it: only its hash is stored. Use it as')
        say(`  curl -H "Authorization: Bearer ${made.secret}" …`)
      }),
    )

  token
    .command('list')
    .description('all tokens, the newest first; never the tokens themselves')
    .action(() =>
      withIdentity((identity) => {
        const tokens = identity.tokens()
        if (tokens.length === 0) return say('There is no token yet: opinion-market token create --help')
        const state = (t: (typeof tokens)[number]) => {
          if (t.revoked_at !== null) return `revoked ${t.revoked_at}`
          if (t.expires_at === null) return 'holds'
          return Date.parse(t.expires_at) > clock.now() ? `until ${t.expires_at}` : `expired ${t.expires_at}`
        }
        table([
          ['ID', 'NAME', 'ROLE', 'BEGINS', 'LAST USED', 'STATE'],
          ...tokens.map((t) => [t.id, t.name, t.role, `${t.prefix}…`, t.last_used_at ?? 'never', state(t)]),
        ])
      }),
    )

  token
    .command('revoke')
    .argument('<token>', 'its id, or its name where only one has it')
    .description('end a token at once, in every process')
    .action((idOrName: string) =>
      withIdentity((identity) => {
        const revoked = identity.revokeToken(idOrName, WHO, clock.now())
        say(`The token ${revoked.name} (${revoked.id}) is revoked.`)
      }),
    )

  program
    .command('login-link')
    .description('print a link for one log-in to the page, good for ten minutes')
    .option('--operator <name>', 'who logs in; made when there is none of that name', readName, 'admin')
    .addOption(role().default('admin'))
    .addHelpText(
      'after',
      `
Examples:
  $ opinion-market login-link
  $ opinion-market login-link --operator ada --role operator`,
    )
    .action((options: { operator: string; role: Role }) =>
      withIdentity((identity, config) => {
        const { platform, identity: settings } = config.current.values
        identity.firstStart(settings.adminToken, clock.now())
        const url = platform.publicUrl ?? runningAddress(platform.dataDir) ?? platformUrl(platform)
        say(loginLink(url, identity.createLoginCode(options.operator, options.role, LINK_MS, WHO, clock.now())))
      }),
    )
}

function withIdentity(work: (identity: Identity, config: Config) => void): void {
  process.umask(0o077)
  const config = loadConfig()
  const { platform, identity: settings } = config.current.values
  const box = openSecretBox(join(platform.dataDir, 'secret.key'), platform.secretKey)
  const identity = openIdentity(join(platform.dataDir, 'identity.db'), box, () => ({
    idleMs: settings.sessionIdle * 1000,
    lifetimeMs: settings.sessionLifetime * 1000,
  }))
  try {
    work(identity, config)
  } finally {
    identity.close()
  }
}

function readName(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is refused
  if (/^[^\u0000-\u001f\u007f]{1,100}$/.test(text)) return text
  throw new InvalidArgumentError('A name has 1 to 100 characters.')
}

function readLifetime(text: string): number {
  const ms = parseLifetime(text)
  if (ms !== null && ms > 0) return ms
  throw new InvalidArgumentError('A lifetime is a number with s, m, h or d: 90d, 12h.')
}
