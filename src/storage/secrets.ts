/**
 * Secrets at rest: AES-256-GCM with a key that is not in any database. The key is `secret.key` in the data directory
 * (made at the first start, mode 0600), or derived from OM_SECRET_KEY.
 *
 *   v1.<nonce>.<ciphertext and tag>       base64url; the context (what and whose) is authenticated with it, so that a
 *                                         sealed value cannot be moved to another row
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, linkSync, mkdirSync, openSync, readFileSync, unlinkSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'

export interface SecretBox {
  seal(text: string, context: string): string
  /** Throws an Error when the value was changed, moved, or sealed with another key. */
  open(sealed: string, context: string): string
}

/** The box of this data directory. `passphrase` (OM_SECRET_KEY) wins over the file. */
export function openSecretBox(keyPath: string, passphrase: string | null): SecretBox {
  if (passphrase !== null) {
    return secretBox(new Uint8Array(hkdfSync('sha256', passphrase, 'opinion-market', 'secrets at rest', 32)))
  }
  const key = Buffer.from(readOrMakeKey(keyPath), 'base64url')
  if (key.length !== 32) throw new Error(`${keyPath} does not hold a key of 32 bytes: restore it from a backup`)
  return secretBox(key)
}

export function secretBox(key: Uint8Array): SecretBox {
  return {
    seal(text, context) {
      const nonce = randomBytes(12)
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(context))
      const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()])
      return `v1.${nonce.toString('base64url')}.${body.toString('base64url')}`
    },
    open(sealed, context) {
      const [version, nonce, body] = sealed.split('.')
      const bytes = Buffer.from(body ?? '', 'base64url')
      if (version !== 'v1' || bytes.length < 16) throw new Error(`the stored secret of ${context} is damaged`)
      try {
        const decipher = createDecipheriv('aes-256-gcm', key, Buffer.from(nonce ?? '', 'base64url'))
        decipher.setAAD(Buffer.from(context)).setAuthTag(bytes.subarray(-16))
        return decipher.update(bytes.subarray(0, -16), undefined, 'utf8') + decipher.final('utf8')
      } catch (error) {
        const why = 'is damaged, or was sealed with another key (secret.key or OM_SECRET_KEY)'
        throw new Error(`the stored secret of ${context} ${why}`, { cause: error })
      }
    },
  }
}

function readOrMakeKey(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  const key = randomBytes(32).toString('base64url')
  const draft = `${path}.${process.pid}`
  const file = openSync(draft, 'w', 0o600)
  writeSync(file, `${key}\n`)
  fsyncSync(file)
  closeSync(file)
  try {
    linkSync(draft, path) // all or nothing: no process ever reads half a key
    return key
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    return readFileSync(path, 'utf8').trim() // another process was faster
  } finally {
    unlinkSync(draft)
  }
}
