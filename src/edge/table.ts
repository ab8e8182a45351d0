/**
 * Which kind of process answers a path, by its longest prefix in the table. A prefix ends at a segment: `/api/v1/write`
 * covers itself, `/api/v1/write/…` and `/api/v1/write?…`, never `/api/v1/writer`.
 */
export interface EdgeRoute {
  readonly prefix: string
  /** Kind of process: `control`. */
  readonly kind: string
  /** Which limit of body holds: of requests in general, or the larger one of metrics. */
  readonly body: 'normal' | 'ingest'
  /** Asked by monitoring: counted apart, never waits for a process that is away. */
  readonly monitoring: boolean
}

export interface RouteTable {
  /** `url` as it stands in the request line. Null when nothing covers it. */
  find(url: string): EdgeRoute | null
}

export function routeTable(
  routes: readonly (Pick<EdgeRoute, 'prefix' | 'kind'> & Partial<Pick<EdgeRoute, 'body' | 'monitoring'>>)[],
): RouteTable {
  const byLength = routes
    .map((route): EdgeRoute => ({ body: 'normal', monitoring: false, ...route }))
    .sort((a, b) => b.prefix.length - a.prefix.length)
  return {
    find(url) {
      for (const route of byLength) if (covers(route.prefix, url)) return route
      return null
    },
  }
}

function covers(prefix: string, url: string): boolean {
  if (!url.startsWith(prefix)) return false
  if (prefix.endsWith('/') || url.length === prefix.length) return true
  const next = url[prefix.length]
  return next === '/' || next === '?'
}
