/** The live feed of a market: `WS /ws/market/{id}`, open to all as its page is; `?since=` goes on after that number. */
import type { Route } from '../../http/route.ts'
import type { MarketId } from '../model.ts'
import type { MarketRouteDeps } from '../surface.ts'

export function liveRoutes({ feed }: Pick<MarketRouteDeps, 'feed'>): Route[] {
  return [
    {
      method: 'SOCKET',
      path: '/ws/market/:id',
      access: 'open',
      tag: 'markets',
      summary: 'A snapshot of a market, then trades, prices, the book and its status, numbered; resumes with ?since=',
      inQuery: { since: 'Goes on after this number rather than with a snapshot' },
      socket(socket, { url }) {
        const { pathname, searchParams } = new URL(url, 'http://localhost')
        const id = decoded(pathname.replace(/\/$/, '').split('/').pop()!) as MarketId
        const since = searchParams.get('since')
        if (since !== null && !/^\d{1,15}$/.test(since)) return socket.close(4400, 'since is not a number')
        socket.on('close', () => feed.leave(id, socket))
        feed.join(id, socket, since === null ? null : Number(since))
      },
    },
  ]
}

function decoded(part: string): string {
  try {
    const id = decodeURIComponent(part)
    return id.includes('\0') ? '' : id
  } catch {
    return ''
  }
}
