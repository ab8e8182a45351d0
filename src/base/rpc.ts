/**
 * Calls between threads over a MessagePort (or a Worker), typed by a record of functions.
 *
 *   caller ──{id, op, args}──▶ answerer     args and answers may move ArrayBuffers instead of copying them
 *          ◀─{id, value|error}──
 *
 * An `AppError` crosses whole (status, code, fields); any other error crosses as its message. When the other side is
 * gone, every open call is refused with 503: nobody waits for ever.
 */

import type { FieldError } from './errors.ts'
import { AppError, messageOf, unavailable } from './errors.ts'

// biome-ignore lint/suspicious/noExplicitAny: a record of functions of any shape; each call is typed by its own key
export type Operations = Record<string, (args: any) => unknown>

export interface PortLike {
  postMessage(message: unknown, transfer?: readonly ArrayBuffer[]): void
  // biome-ignore lint/suspicious/noExplicitAny: what comes is checked by its `rpc` field
  on(event: 'message', listener: (message: any) => void): unknown
}

/** Wrap an answer (or arguments) to move these buffers rather than copy them. */
export class Transfer<T> {
  readonly value: T
  readonly buffers: readonly ArrayBuffer[]
  constructor(value: T, buffers: readonly ArrayBuffer[]) {
    this.value = value
    this.buffers = buffers
  }
}

type Unwrapped<T> = T extends Transfer<infer V> ? V : T

export interface Caller<O extends Operations> {
  call<K extends keyof O & string>(
    op: K,
    args: Parameters<O[K]>[0],
    transfer?: readonly ArrayBuffer[],
  ): Promise<Unwrapped<Awaited<ReturnType<O[K]>>>>
  /** Refuses all open and future calls. */
  close(why: string): void
  readonly open: number
}

interface WireError {
  readonly message: string
  readonly app: { status: number; code: string; fields: readonly FieldError[]; retryAfter: number | undefined } | null
}
interface Request {
  readonly rpc: 'call'
  readonly id: number
  readonly op: string
  readonly args: unknown
}
interface Reply {
  readonly rpc: 'reply'
  readonly id: number
  readonly value?: unknown
  readonly error?: WireError
}

export function caller<O extends Operations>(port: PortLike): Caller<O> {
  let next = 1
  let closed: string | null = null
  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: unknown): void }>()
  port.on('message', (message: Reply) => {
    if (message?.rpc !== 'reply') return
    const call = waiting.get(message.id)
    if (!call) return
    waiting.delete(message.id)
    if (message.error) call.reject(fromWire(message.error))
    else call.resolve(message.value)
  })
  return {
    call(op, args, transfer = []) {
      if (closed !== null) return Promise.reject(unavailable(closed))
      return new Promise((resolve, reject) => {
        const id = next++
        waiting.set(id, { resolve: resolve as (value: unknown) => void, reject })
        const request: Request = { rpc: 'call', id, op, args }
        port.postMessage(request, transfer)
      })
    },
    close(why) {
      closed = why
      for (const call of waiting.values()) call.reject(unavailable(why))
      waiting.clear()
    },
    get open() {
      return waiting.size
    },
  }
}

/** Answers calls on `port`. Other messages on the same port are left alone. */
export function answer<O extends Operations>(port: PortLike, operations: O): void {
  port.on('message', async (message: Request) => {
    if (message?.rpc !== 'call') return
    try {
      const work = operations[message.op]
      if (!work) throw new Error(`no operation ${message.op}`)
      const result = await work(message.args)
      const moved = result instanceof Transfer
      const reply: Reply = { rpc: 'reply', id: message.id, value: moved ? result.value : result }
      port.postMessage(reply, moved ? result.buffers : [])
    } catch (error) {
      const reply: Reply = { rpc: 'reply', id: message.id, error: toWire(error) }
      port.postMessage(reply)
    }
  })
}

function toWire(error: unknown): WireError {
  if (!(error instanceof AppError)) return { message: messageOf(error), app: null }
  const { status, code, fields, retryAfterSeconds } = error
  return { message: error.message, app: { status, code, fields, retryAfter: retryAfterSeconds } }
}

function fromWire(error: WireError): Error {
  if (!error.app) return new Error(error.message)
  const { status, code, fields, retryAfter } = error.app
  return new AppError(status, code, error.message, {
    fields,
    ...(retryAfter === undefined ? {} : { retryAfterSeconds: retryAfter }),
  })
}
