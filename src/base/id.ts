/**
 * Identifiers that sort by time of making: 48 bits of milliseconds, 80 bits of secure randomness, in
 * Crockford's base 32 (the layout of a ULID, github.com/ulid/spec). Unique also for many in one millisecond.
 */
import { randomFillSync } from 'node:crypto'
import type { Millis } from './time.ts'

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'
const TAIL = 16

/** Drawn 256 ids at a time: asking the system for each costs ten times the rest. Every byte is used once. */
const pool = new Uint8Array(256 * TAIL)
let used = pool.length

/** 26 characters, for example `01jk3v9qgm8t2x4r6s0w5yhz7c`. */
export function newId(now: Millis): string {
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  let tail = ''
  for (const end = used + TAIL; used < end; used++) tail += ALPHABET[pool[used]! & 31]
  return timePart(now) + tail
}

/** The least identifier of that moment: all that were made at or after it are not smaller. */
export function idFloor(at: Millis): string {
  return timePart(Math.max(0, at)) + ALPHABET[0]!.repeat(16)
}

/** Makes identifiers of which each is greater than the one before, also within a millisecond. */
export function risingIds(): (now: Millis) => string {
  let last = ''
  return (now) => {
    const fresh = newId(now)
    last = fresh.slice(0, 10) === last.slice(0, 10) ? successor(last) : fresh
    return last
  }
}

function timePart(at: Millis): string {
  let time = Math.floor(at)
  let head = ''
  for (let i = 0; i < 10; i++) {
    head = ALPHABET[time % 32]! + head
    time = Math.floor(time / 32)
  }
  return head
}

/** The next identifier: the last digit that is not the greatest grows, those behind it start again. */
function successor(id: string): string {
  let end = id.length - 1
  while (id[end] === 'z') end--
  return id.slice(0, end) + ALPHABET[ALPHABET.indexOf(id[end]!) + 1]! + ALPHABET[0]!.repeat(id.length - 1 - end)
}
