/**
 * Identifiers that sort by time of making: 48 bits of milliseconds, 80 bits of secure randomness, in
 * Crockford's base 32 (the layout of a ULID, github.com/ulid/spec). Unique also for many in one millisecond.
 */
import { randomBytes } from 'node:crypto'
import type { Millis } from './time.ts'

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'

/** 26 characters, for example `01jk3v9qgm8t2x4r6s0w5yhz7c`. */
export function newId(now: Millis): string {
  let time = Math.floor(now)
  let head = ''
  for (let i = 0; i < 10; i++) {
    head = ALPHABET[time % 32]! + head
    time = Math.floor(time / 32)
  }
  const random = randomBytes(16)
  let tail = ''
  for (let i = 0; i < 16; i++) tail += ALPHABET[random[i]! & 31]
  return head + tail
}
