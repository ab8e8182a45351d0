/**
 * Passwords: argon2id with 19 MiB and two passes (OWASP's first choice of parameters), in the thread pool of libuv. A few
 * are worked on at once, a bounded number waits, the rest is sent away with 503: nobody can fill the memory with log-ins.
 */
import { unavailable } from '../../base/errors.ts'
import { secretToken } from '../../base/random.ts'

export interface Passwords {
  hash(password: string): Promise<string>
  /** `stored` null: nobody has that name; takes as long as a password that is wrong, and is false. */
  verify(stored: string | null, password: string): Promise<boolean>
}

const PARAMETERS = { memoryCost: 19_456, timeCost: 2, parallelism: 1 }
const WAITING_MAX = 64

export function createPasswords(atOnce = 2): Passwords {
  let working = 0
  const waiting: (() => void)[] = []
  let nobody: Promise<string> | undefined

  async function inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (working >= atOnce) {
      if (waiting.length >= WAITING_MAX) throw unavailable('Too many people log in at this moment.', 2, 'busy')
      await new Promise<void>((resolve) => waiting.push(resolve))
    } else working++
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next) next()
      else working--
    }
  }
  // Loaded with the first password: most instances of a quiet platform never see one.
  const library = () => import('@node-rs/argon2')
  const hash = async (password: string) => (await library()).hash(password.normalize('NFKC'), PARAMETERS)

  return {
    hash: (password) => inTurn(() => hash(password)),
    async verify(stored, password) {
      // Argon2id is the library's default, and what PARAMETERS leave open.
      nobody ??= hash(secretToken(16))
      const against = stored ?? (await nobody)
      const { verify } = await library()
      return (await inTurn(() => verify(against, password.normalize('NFKC')))) && stored !== null
    },
  }
}

/** What people choose first, and guessers try first; each in its simplest spelling. */
const COMMON = new Set(
  (
    'password passw0rd password1 letmein welcome qwerty qwertyui qwertyuiop asdfghjkl zxcvbnm 1q2w3e4r 1qaz2wsx ' +
    'iloveyou sunshine princess football baseball superman batman trustno1 whatever dragon monkey shadow master ' +
    'michael jennifer charlie computer internet samsung starwars pokemon freedom hello123 abc123 admin administrator ' +
    'changeme secret default access login passwort geheim sommer winter spring summer autumn letmein1 qazwsx'
  ).split(' '),
)

/** Why a password is easy to guess, each a sentence; empty when it is not. `about` is what is known of its owner. */
export function weaknesses(password: string, about: readonly string[]): string[] {
  const reasons: string[] = []
  const plain = password.normalize('NFKC').toLowerCase()
  const letters = [...plain]
  if (letters.length < 8) reasons.push('must have at least 8 characters')
  if (new Set(letters).size < 5) reasons.push('must have at least 5 different characters')
  const core = plain.replace(/[^a-z]+$/, '').replace(/^[^a-z]+/, '')
  if (COMMON.has(plain) || COMMON.has(core) || COMMON.has(plain.replace(/[^a-z0-9]/g, ''))) {
    reasons.push('is one that everybody tries first')
  }
  if (letters.length >= 8 && runs(letters)) reasons.push('is a row of neighbouring characters')
  if (about.some((word) => word.length >= 3 && plain.includes(word.toLowerCase()))) {
    reasons.push('must not contain your name or address')
  }
  return reasons
}

/** `12345678`, `hgfedcba`: nearly every step is the same one up or down. */
function runs(letters: readonly string[]): boolean {
  let same = 0
  for (let i = 2; i < letters.length; i++) {
    const step = letters[i]!.codePointAt(0)! - letters[i - 1]!.codePointAt(0)!
    if (Math.abs(step) <= 1 && step === letters[i - 1]!.codePointAt(0)! - letters[i - 2]!.codePointAt(0)!) same++
  }
  return same >= letters.length - 3
}
