/**
 * Knows, of a stream of WebSocket frames (RFC 6455, 5.2) that passes by, whether it stands between two frames: only
 * there may front add a frame of its own. Nothing is copied or unmasked.
 */
export interface FrameBoundary {
  /** Tells the next bytes that went by. */
  pass(chunk: Uint8Array): void
  /** True between two frames. */
  readonly atBoundary: boolean
  /** A close frame went by: nothing may follow. */
  readonly closed: boolean
}

export function frameBoundary(): FrameBoundary {
  /** Bytes of the frame's header so far; at most 2 + 8 + 4. */
  const header = new Uint8Array(14)
  let have = 0
  let payloadLeft = 0
  let closed = false
  return {
    pass(chunk) {
      let i = 0
      while (i < chunk.length) {
        if (payloadLeft > 0) {
          const step = Math.min(payloadLeft, chunk.length - i)
          payloadLeft -= step
          i += step
          continue
        }
        header[have++] = chunk[i++]!
        if (have < 2 || have < headerLength(header)) continue
        if ((header[0]! & 0x0f) === 0x8) closed = true
        payloadLeft = payloadLength(header)
        have = 0
      }
    },
    get atBoundary() {
      return have === 0 && payloadLeft === 0
    },
    get closed() {
      return closed
    },
  }
}

function headerLength(header: Uint8Array): number {
  const short = header[1]! & 0x7f
  return 2 + (short === 126 ? 2 : short === 127 ? 8 : 0) + (header[1]! & 0x80 ? 4 : 0)
}

function payloadLength(header: Uint8Array): number {
  const short = header[1]! & 0x7f
  if (short < 126) return short
  let length = 0
  for (let i = 2; i < (short === 126 ? 4 : 10); i++) length = length * 256 + header[i]!
  return length
}

/** A server's close frame: unmasked, `code` and a short reason. */
export function closeFrame(code: number, reason: string): Buffer {
  const text = Buffer.from(reason).subarray(0, 123)
  const frame = Buffer.alloc(4 + text.length)
  frame[0] = 0x88
  frame[1] = 2 + text.length
  frame.writeUInt16BE(code, 2)
  text.copy(frame, 4)
  return frame
}
