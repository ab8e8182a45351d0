/** A client of the dashboard's socket that is no browser; messages wait until they are asked for. */
import type { ClientMessage, ServerMessage } from '../../src/dashboard/protocol.ts'

export interface DashboardSocket {
  next(): Promise<ServerMessage>
  text(): Promise<string>
  send(message: ClientMessage): void
  raw(text: string): void
  close(): void
  readonly closed: Promise<{ code: number; reason: string }>
}

/** Resolves when the socket is open, or closed at once. */
export async function dashboardSocket(url: string, query: string, token: string | null): Promise<DashboardSocket> {
  const address = `${url.replace('http', 'ws')}/api/v1/advanced-dashboard/ws${query}`
  // Node's WebSocket takes headers, which the type of browsers does not know.
  const options = token === null ? {} : { headers: { authorization: `Bearer ${token}` } }
  const socket = new WebSocket(address, options as unknown as string[])
  const texts: string[] = []
  const waiting: ((text: string) => void)[] = []
  socket.addEventListener('message', ({ data }) => {
    const next = waiting.shift()
    if (next) next(String(data))
    else texts.push(String(data))
  })
  const closed = new Promise<{ code: number; reason: string }>((done) =>
    socket.addEventListener('close', ({ code, reason }) => done({ code, reason })),
  )
  await Promise.race([new Promise((done) => socket.addEventListener('open', done)), closed])
  const text = () => {
    const known = texts.shift()
    return known === undefined ? new Promise<string>((done) => waiting.push(done)) : Promise.resolve(known)
  }
  return {
    text,
    next: async () => JSON.parse(await text()) as ServerMessage,
    send: (message) => socket.send(JSON.stringify(message)),
    raw: (line) => socket.send(line),
    close: () => socket.close(),
    closed,
  }
}
