/**
 * Receiving bodies: each into ONE buffer of its own, and all of them together within a budget. Each has a limit too, but a
 * hundred senders that stay below it would otherwise fill the memory of the process.
 *
 *   chunk ─▶ within the route's limit? ─▶ room in the budget? ─▶ buffer ─▶ … ─▶ end ─▶ the body
 *               413                          503, Retry-After 1
 *
 * Room is taken as the bytes come, never by what a sender says, and given back when its request is over.
 */
import type { IncomingMessage } from 'node:http'
import { badRequest, unavailable } from '../base/errors.ts'
import { tooLarge } from './body.ts'

/** What bodies that are being received may hold, all together. */
export interface BodyBudget {
  /** False, and nothing is taken, when there is no room. */
  take(bytes: number): boolean
  give(bytes: number): void
  readonly taken: number
}

export const BODY_BUDGET_BYTES = 256 * 1024 * 1024

export function createBodyBudget(bytesMax: number = BODY_BUDGET_BYTES): BodyBudget {
  let taken = 0
  return {
    take(bytes) {
      // One body is always let in, so that a limit above the budget still means what it says.
      if (taken > 0 && taken + bytes > bytesMax) return false
      taken += bytes
      return true
    },
    give(bytes) {
      taken -= bytes
    },
    get taken() {
      return taken
    },
  }
}

/** A sender's word about its length is believed so far; the rest of the memory is taken when the bytes come. */
const FIRST_BYTES_MAX = 1 << 20
/** Of a chunked body, of which nothing is known. */
const FIRST_CHUNK_BYTES = 16 * 1024

/**
 * The whole body. Rejects with 413 beyond `bytesMax`, 503 when the budget is used up, 400 when it breaks off. The buffer
 * belongs to nobody else, so that whoever takes it may move it to another thread.
 */
export function receiveBody(request: IncomingMessage, bytesMax: number, budget: BodyBudget): Promise<Uint8Array> {
  const declared = request.headers['content-length']
  const length = declared === undefined ? -1 : Number(declared)
  return new Promise((resolve, reject) => {
    if (length > bytesMax) return reject(tooLarge(bytesMax))
    let body: Buffer = Buffer.alloc(0)
    let bytes = 0
    let held = 0
    let over = false
    const refuse = (error: Error) => {
      over = true
      body = Buffer.alloc(0)
      giveBack()
      reject(error)
    }
    const giveBack = () => {
      budget.give(held)
      held = 0
    }
    request.on('data', (chunk: Buffer) => {
      if (over) return
      const needed = bytes + chunk.length
      if (needed > bytesMax) return refuse(tooLarge(bytesMax))
      if (needed > body.length) {
        const first = length > 0 ? Math.min(length, FIRST_BYTES_MAX) : FIRST_CHUNK_BYTES
        const next = body.length === 0 ? first : 2 * body.length
        const size = Math.max(needed, Math.min(next, length > 0 ? length : bytesMax))
        if (!budget.take(size - body.length)) {
          return refuse(unavailable('Too many large bodies are being received. Send it again.', 1, 'overloaded'))
        }
        held += size - body.length
        // Its own memory, not a part of Node's pool.
        const larger = Buffer.allocUnsafeSlow(size)
        body.copy(larger, 0, 0, bytes)
        body = larger
      }
      chunk.copy(body, bytes)
      bytes = needed
    })
    request.on('end', () => {
      if (over) return
      over = true
      resolve(bytes === body.length ? body : new Uint8Array(body.subarray(0, bytes)))
    })
    const brokeOff = () => {
      if (!over) refuse(badRequest('The request broke off.', 'broken_off'))
      else giveBack()
    }
    request.on('error', brokeOff)
    request.on('close', brokeOff)
  })
}
