/**
 * The part of Kubernetes' API server that scaling speaks to, over real HTTPS with a certificate
 * of its own: deployments and stateful sets with their
 * scale subresource, pods, autoscalers; a controller that makes and removes pods. Checks what a real one checks: token,
 * content type, resource version, rights.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer as createPlain, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'

export interface ApiServer {
  readonly url: string
  readonly port: number
  /** The authority to trust, PEM. */
  readonly ca: string
  /** The token that is good now. */
  token: string
  /** `GET deployments/scale`: verbs on resources that are forbidden. */
  readonly forbidden: Set<string>
  /** Answers given before anything else, one request each. */
  readonly failures: { status: number; retryAfter?: string; message?: string }[]
  /** Never answers while true. */
  silent: boolean
  holdStarts: boolean
  /** No controller and no kubelet: objects are stored, and nothing becomes of them. */
  bare: boolean
  /** Why containers wait that are not ready, and what is said of the object itself. */
  waiting: string | null
  readonly conditions: Record<string, unknown>[]
  /** Called before a PUT is judged: somebody else may write in between. */
  beforePut: (() => void) | null
  /** Connections that were made so far. */
  connections: number
  /** A certificate that it takes from a client in place of a token, PEM. */
  readonly client: { readonly cert: string; readonly key: string }
  readonly requests: { method: string; path: string; contentType: string | undefined }[]
  readonly autoscalers: Record<string, unknown>[]
  readonly objects: { deployment: Workload; statefulset: Workload }
  readyPods(kind: 'deployment' | 'statefulset'): number
  close(): Promise<void>
}

export interface Workload {
  replicas: number
  version: number
}

interface Pod {
  readonly name: string
  readonly owner: 'deployment' | 'statefulset'
  ready: boolean
  terminating: boolean
  readonly since: Date
}

const START_MS = 30

/** `tls` false: as `kubectl proxy` and servers of before serve, without a certificate. */
export async function startApiServer({ namespace = 'shop', name = 'web', tls = true } = {}): Promise<ApiServer> {
  let pods: Pod[] = []
  let serial = 0
  const objects = { deployment: { replicas: 0, version: 1 }, statefulset: { replicas: 0, version: 1 } }
  const timer = setInterval(control, 10)

  function control() {
    if (server.bare) return
    for (const owner of ['deployment', 'statefulset'] as const) {
      const alive = pods.filter((pod) => pod.owner === owner && !pod.terminating)
      for (let i = alive.length; i < objects[owner].replicas; i++) {
        const pod = { name: `${name}-${owner}-${serial++}`, owner, ready: false, terminating: false, since: new Date() }
        pods.push(pod)
      }
      for (const pod of alive.slice(objects[owner].replicas)) {
        pod.terminating = true
        setTimeout(() => {
          pods = pods.filter((one) => one !== pod)
        }, START_MS)
      }
      for (const pod of alive) {
        if (!server.holdStarts && !pod.terminating && Date.now() - pod.since.getTime() >= START_MS) pod.ready = true
      }
    }
  }

  const asked = { ...certificate(), ca: certificate().cert, requestCert: true, rejectUnauthorized: false }
  const http = tls ? createServer(asked, answer) : createPlain(answer)

  async function answer(request: IncomingMessage, response: ServerResponse) {
    const body = await read(request)
    const url = new URL(request.url ?? '/', 'http://server')
    server.requests.push({ method: request.method!, path: url.pathname, contentType: request.headers['content-type'] })
    if (server.silent) return
    const send = (status: number, value: unknown, headers = {}) =>
      response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value))
    const fail = (status: number, reason: string, headers = {}) =>
      send(
        status,
        { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason, code: status, message: reason },
        headers,
      )

    const known = (request.socket as TLSSocket).authorized || request.headers.authorization === `Bearer ${server.token}`
    if (!known) return fail(401, 'Unauthorized')
    const failure = server.failures.shift()
    if (failure) {
      const headers = failure.retryAfter ? { 'retry-after': failure.retryAfter } : {}
      return fail(failure.status, failure.message ?? 'made up', headers)
    }
    const parts = /^\/apis\/apps\/v1\/namespaces\/([^/]+)\/(deployments|statefulsets)\/([^/]+)(\/scale)?$/.exec(
      url.pathname,
    )
    if (parts) {
      const [, space, plural = '', wanted, scale = ''] = parts
      if (server.forbidden.has(`${request.method} ${plural}${scale}`)) return fail(403, 'Forbidden')
      if (space !== namespace || wanted !== name) return fail(404, 'NotFound')
      const kind = plural === 'deployments' ? 'deployment' : 'statefulset'
      const object = objects[kind]
      const metadata = () => ({ name, namespace, uid: `uid-${kind}`, resourceVersion: String(object.version) })
      const selector = { app: name, owner: kind }
      const own = pods.filter((pod) => pod.owner === kind && !pod.terminating)
      if (scale === '') {
        if (request.method !== 'GET') return fail(405, 'MethodNotAllowed')
        const ready = own.filter((pod) => pod.ready).length
        return send(200, {
          apiVersion: 'apps/v1',
          kind: kind === 'deployment' ? 'Deployment' : 'StatefulSet',
          metadata: metadata(),
          spec: { replicas: object.replicas, selector: { matchLabels: selector }, template: {} },
          // A real server leaves out what is 0.
          status: {
            ...(own.length > 0 ? { replicas: own.length } : {}),
            ...(ready > 0 ? { readyReplicas: ready } : {}),
            ...(server.conditions.length > 0 ? { conditions: server.conditions } : {}),
          },
        })
      }
      const scaled = () => ({
        apiVersion: 'autoscaling/v1',
        kind: 'Scale',
        metadata: metadata(),
        spec: object.replicas === 0 ? {} : { replicas: object.replicas },
        status: { replicas: own.length, selector: `app=${name}` },
      })
      if (request.method === 'GET') return send(200, scaled())
      if (request.method !== 'PUT') return fail(405, 'MethodNotAllowed')
      if (!/^application\/json/.test(request.headers['content-type'] ?? '')) return fail(415, 'UnsupportedMediaType')
      server.beforePut?.()
      const sent = JSON.parse(body)
      if (sent.kind !== 'Scale' || sent.apiVersion !== 'autoscaling/v1') return fail(400, 'BadRequest')
      if (sent.metadata?.name !== name || sent.metadata?.namespace !== namespace) return fail(400, 'BadRequest')
      if (sent.metadata.resourceVersion && sent.metadata.resourceVersion !== String(object.version)) {
        return fail(409, 'Conflict')
      }
      if (!Number.isInteger(sent.spec?.replicas ?? 0) || (sent.spec?.replicas ?? 0) < 0) return fail(422, 'Invalid')
      object.replicas = sent.spec?.replicas ?? 0
      object.version++
      return send(200, scaled())
    }
    if (url.pathname === `/api/v1/namespaces/${namespace}/pods` && request.method === 'GET') {
      if (server.forbidden.has('GET pods')) return fail(403, 'Forbidden')
      const owner = /owner=(\w+)/.exec(url.searchParams.get('labelSelector') ?? '')?.[1]
      const items = pods.filter((pod) => pod.owner === owner).map((pod) => podJson(pod, server.waiting))
      return send(200, { apiVersion: 'v1', kind: 'PodList', metadata: { resourceVersion: '1' }, items })
    }
    if (url.pathname === `/apis/autoscaling/v2/namespaces/${namespace}/horizontalpodautoscalers`) {
      if (server.forbidden.has('GET horizontalpodautoscalers')) return fail(403, 'Forbidden')
      const items = server.autoscalers
      return send(200, { apiVersion: 'autoscaling/v2', kind: 'HorizontalPodAutoscalerList', metadata: {}, items })
    }
    return fail(404, 'NotFound')
  }
  await new Promise<void>((done) => http.listen(0, '127.0.0.1', done))
  const { port } = http.address() as { port: number }

  http.on('secureConnection', () => {
    server.connections++
  })
  const server: ApiServer = {
    url: `${tls ? 'https' : 'http'}://127.0.0.1:${port}`,
    ca: certificate().cert,
    port,
    token: 'first-token',
    forbidden: new Set(),
    failures: [],
    silent: false,
    holdStarts: false,
    bare: false,
    waiting: null,
    conditions: [],
    beforePut: null,
    connections: 0,
    client: certificate(),
    requests: [],
    autoscalers: [],
    objects,
    readyPods: (kind) => pods.filter((pod) => pod.owner === kind && pod.ready && !pod.terminating).length,
    async close() {
      clearInterval(timer)
      http.closeAllConnections()
      await new Promise((done) => http.close(done))
    },
  }
  return server
}

function podJson({ name, owner, ready, terminating, since }: Pod, reason: string | null) {
  return {
    metadata: {
      name,
      labels: { owner },
      creationTimestamp: since.toISOString(),
      ...(terminating ? { deletionTimestamp: since.toISOString() } : {}),
    },
    status: {
      phase: 'Running',
      startTime: since.toISOString(),
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'False', lastTransitionTime: since.toISOString() }],
      containerStatuses: ready || reason === null ? [] : [{ name, state: { waiting: { reason } } }],
    },
  }
}

async function read(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}

let made: { cert: string; key: string } | null = null

function certificate() {
  if (made === null) {
    const dir = mkdtempSync(join(tmpdir(), 'om-ca-'))
    const [cert, key] = [join(dir, 'cert.pem'), join(dir, 'key.pem')]
    const what = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
    const whom = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert]
    execFileSync('openssl', [...what, ...whom], { stdio: 'ignore' })
    made = { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') }
    rmSync(dir, { recursive: true })
  }
  return made
}
