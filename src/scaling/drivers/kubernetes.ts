/**
 * A Deployment or a StatefulSet: its replicas through the scale subresource, how many are ready from its status, its
 * pods one by one. Needs the rights of `deploy/kubernetes/scaling-rbac.yaml` and no more.
 *
 * A change is a PUT of the scale with the resource version that was read: when somebody else wrote in between, the
 * server says 409 and the step is taken anew from what is there. An autoscaler of Kubernetes on the same object (an
 * HPA; KEDA makes one as well) would undo every step: it is looked for, and said as a conflict.
 *
 * The client of Kubernetes is loaded at the first use: importing it takes half a second of CPU.
 */
import type { AppsV1Api, AutoscalingV2Api, CoreV1Api, KubeConfig, RequestContext, V1Pod } from '@kubernetes/client-node'
import { messageOf } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { Scheduler } from '../../base/scheduler.ts'
import { MINUTE, type Millis, SECOND } from '../../base/time.ts'
import type { InstanceView } from '../model.ts'
import type { KubernetesSettings } from '../targets.ts'
import { checkWanted, countsOf, type Driver } from './driver.ts'

export interface KubernetesOptions {
  readonly target: string
  readonly settings: KubernetesSettings
  readonly scheduler: Scheduler
  readonly log: Log
  /** Where the folders of a pod's account lie; '' but in tests. */
  readonly root?: string
}

interface Client {
  readonly apps: AppsV1Api
  readonly core: CoreV1Api
  readonly autoscaling: AutoscalingV2Api
  readonly namespace: string
}

const TRIES = 6
const AUTOSCALERS_EVERY_MS = MINUTE
/** A server that asks for a longer pause than this is asked again in the next cycle. */
const PAUSE_MAX_MS = 5 * SECOND
const PODS_MAX = 1000

export function kubernetesDriver({ target, settings, scheduler, log, root = '' }: KubernetesOptions): Driver {
  const { clock } = scheduler
  const { object, name } = settings
  const kind = object === 'deployment' ? 'Deployment' : 'StatefulSet'
  let client: Promise<Client> | null = null
  let fenceSeen = 0
  let conflict: string | null = null
  let lookedAt: number | null = null
  const said = new Set<string>()

  function connect(): Promise<Client> {
    client ??= open(settings, root).catch((error: unknown) => {
      client = null
      throw new NoWay(`no way to Kubernetes: ${firstLine(error)}`, { cause: error })
    })
    return client
  }

  /**
   * One call with what is tried again by itself: 429 and 5xx after the pause that the server asks for, 401 once with
   * the token read anew (it is rotated under a running pod).
   */
  async function call<T>(what: string, work: (client: Client) => Promise<T>): Promise<T> {
    let renewed = false
    for (let attempt = 1; ; attempt++) {
      try {
        return await work(await connect())
      } catch (error) {
        const status = statusOf(error)
        if (status === 401 && !renewed) {
          renewed = true
          client = null
          continue
        }
        const passing = status === 429 || status === 500 || status === 502 || status === 503 || status === 504
        const pause = retryAfterMs(error) ?? 100 * 2 ** attempt
        if (!passing || attempt >= 3 || pause > PAUSE_MAX_MS) throw explained(error, what)
        await scheduler.sleep(pause)
      }
    }
  }

  function explained(error: unknown, what: string): Error {
    if (error instanceof NoWay) return error
    const status = statusOf(error)
    const where = `${kind} ${name}`
    if (status === 401) return new Error(`Kubernetes does not know who asks (401)`)
    if (status === 403) return new Error(`Kubernetes forbids to ${what} (403): see scaling-rbac.yaml`)
    if (status === 404) return new Error(`there is no ${where} in its namespace (404)`)
    if (status === 409) return new Error(`${where} is changed by others at every try (409)`)
    if (status === 429) return new Error(`Kubernetes is overloaded and asks to wait (429)`)
    if (status !== null) return new Error(`Kubernetes answered ${status} to "${what}"`)
    if (error instanceof Error && /Timeout|Abort/.test(error.name)) {
      return new Error(`no answer from Kubernetes within ${settings.timeoutMs / SECOND} s`)
    }
    return new Error(`Kubernetes cannot be asked: ${plain(error)}`)
  }

  /** What may be missing: said once in the log, and then lived without. */
  async function optional<T>(what: string, work: (client: Client) => Promise<T>): Promise<T | null> {
    try {
      return await call(what, work)
    } catch (error) {
      if (!said.has(what)) log.warn('scaling goes without something of Kubernetes', { target, why: messageOf(error) })
      said.add(what)
      return null
    }
  }

  async function lookForAutoscalers(): Promise<void> {
    const now = clock.monotonic()
    if (lookedAt !== null && now - lookedAt < AUTOSCALERS_EVERY_MS) return
    const list = await optional('list horizontalpodautoscalers', ({ autoscaling, namespace }) =>
      autoscaling.listNamespacedHorizontalPodAutoscaler({ namespace }),
    )
    lookedAt = now
    // Without an answer what was seen last holds: a step into a conflict is worse than a step too late.
    if (list === null) return
    const other = list.items.find(({ spec }) => spec?.scaleTargetRef.kind === kind && spec.scaleTargetRef.name === name)
    if (!other) {
      conflict = null
      return
    }
    const { name: theirs = '', labels = {} } = other.metadata ?? {}
    const keda = labels['app.kubernetes.io/managed-by'] === 'keda-operator' || theirs.startsWith('keda-hpa-')
    conflict = `the HorizontalPodAutoscaler ${theirs}${keda ? ' (made by KEDA)' : ''} also scales the ${kind} ${name}: remove one of the two`
  }

  async function read() {
    const found = await call(`get ${object}s`, async ({ apps, namespace }) =>
      object === 'deployment'
        ? apps.readNamespacedDeployment({ name, namespace })
        : apps.readNamespacedStatefulSet({ name, namespace }),
    )
    return {
      // The API's default where the field is not written.
      replicas: found.spec?.replicas ?? 1,
      ready: found.status?.readyReplicas ?? 0,
      selector: selectorOf(found.spec?.selector.matchLabels, found.spec?.selector.matchExpressions),
    }
  }

  const readScale = () =>
    call(`get ${object}s/scale`, ({ apps, namespace }) =>
      object === 'deployment'
        ? apps.readNamespacedDeploymentScale({ name, namespace })
        : apps.readNamespacedStatefulSetScale({ name, namespace }),
    )

  return {
    kind: 'kubernetes',
    async observe() {
      const { replicas, ready, selector } = await read()
      const [pods] = await Promise.all([
        optional('list pods', ({ core, namespace }) =>
          core.listNamespacedPod({ namespace, labelSelector: selector, limit: PODS_MAX }),
        ),
        lookForAutoscalers(),
      ])
      const instances = pods?.items.map(viewOf) ?? []
      const draining = countsOf(instances).draining
      return {
        at: clock.now(),
        ready,
        starting: Math.max(0, replicas - ready),
        draining,
        wanted: replicas,
        instances,
        conflict,
        trouble: null,
      }
    },
    async scale(wanted, fence) {
      checkWanted(wanted, fence, fenceSeen)
      fenceSeen = Math.max(fenceSeen, fence)
      for (let attempt = 1; ; attempt++) {
        const scale = await readScale()
        if (fence < fenceSeen) checkWanted(wanted, fence, fenceSeen)
        if ((scale.spec?.replicas ?? 0) === wanted) return
        // Name and version alone: what else the server wrote is its own.
        const { metadata } = scale
        const body = {
          apiVersion: 'autoscaling/v1',
          kind: 'Scale',
          metadata: { name, namespace: metadata?.namespace, resourceVersion: metadata?.resourceVersion },
          spec: { replicas: wanted },
        } as typeof scale
        try {
          const { apps, namespace } = await connect()
          const request = { name, namespace, body }
          if (object === 'deployment') await apps.replaceNamespacedDeploymentScale(request)
          else await apps.replaceNamespacedStatefulSetScale(request)
          return
        } catch (error) {
          const status = statusOf(error)
          const pause = retryAfterMs(error) ?? 50 * 2 ** attempt
          const again = status === 409 || status === 429 || status === 401 || (status !== null && status >= 500)
          if (!again || attempt >= TRIES || pause > PAUSE_MAX_MS) throw explained(error, `update ${object}s/scale`)
          if (status === 401) client = null
          await scheduler.sleep(pause)
        }
      }
    },
    async close() {
      client = null
    },
  }
}

type Connections = ReturnType<RequestContext['getDispatcher']>

/** Neither a kubeconfig nor the account of a pod says where Kubernetes is. */
class NoWay extends Error {}

async function open(settings: KubernetesSettings, root: string): Promise<Client> {
  const k8s = await import('@kubernetes/client-node')
  const config = new k8s.KubeConfig()
  if (settings.kubeconfig !== null) config.loadFromFile(settings.kubeconfig)
  else if (root !== '') config.loadFromCluster(root)
  else config.loadFromDefault()
  if (settings.context !== null) config.setCurrentContext(settings.context)
  const cluster = config.getCurrentCluster()
  if (!cluster) throw new Error('no cluster is named by the kubeconfig or by the account of a pod')
  // The client makes connections of its own for every call; those of the first serve all that follow.
  let connections: Connections
  const configuration = k8s.createConfiguration({
    baseServer: new k8s.ServerConfiguration(cluster.server, {}),
    authMethods: { default: config },
    promiseMiddleware: [
      {
        async pre(context) {
          connections ??= context.getDispatcher()
          if (connections) context.setDispatcher(connections)
          context.setSignal(AbortSignal.timeout(settings.timeoutMs))
          context.setHeaderParam('User-Agent', 'opinion-market')
          return context
        },
        post: async (context) => context,
      },
    ],
  })
  return {
    apps: new k8s.AppsV1Api(configuration),
    core: new k8s.CoreV1Api(configuration),
    autoscaling: new k8s.AutoscalingV2Api(configuration),
    namespace: settings.namespace ?? namespaceOf(config) ?? 'default',
  }
}

const namespaceOf = (config: KubeConfig): string | null =>
  config.getContextObject(config.getCurrentContext())?.namespace?.trim() || null

/** The status of an answer that was none of success; null where no answer came. */
function statusOf(error: unknown): number | null {
  const code = error instanceof Error && 'code' in error ? error.code : null
  return typeof code === 'number' && code >= 100 && code <= 599 ? code : null
}

function retryAfterMs(error: unknown): Millis | null {
  if (!(error instanceof Error) || !('headers' in error)) return null
  const value = (error.headers as Readonly<Record<string, string>> | undefined)?.['retry-after']
  const seconds = value === undefined ? Number.NaN : Number(value)
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * SECOND : null
}

/** What the network said, without what the client wraps around it. */
function plain(error: unknown): string {
  const cause = error instanceof Error && error.cause ? error.cause : error
  const code = cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : null
  return code ?? firstLine(cause)
}

/** Without the lines of a file that the reader of YAML shows: tokens stand there. */
const firstLine = (error: unknown) => messageOf(error).split('\n')[0]!.slice(0, 200)

interface Expression {
  readonly key: string
  readonly operator: string
  readonly values?: readonly string[]
}

/** A selector as the query parameter of a list wants it. */
export function selectorOf(
  labels: Readonly<Record<string, string>> | undefined,
  expressions: readonly Expression[] | undefined,
): string {
  const equal = Object.entries(labels ?? {}).map(([key, value]) => `${key}=${value}`)
  const others = (expressions ?? []).map(({ key, operator, values = [] }) => {
    if (operator === 'Exists') return key
    if (operator === 'DoesNotExist') return `!${key}`
    return `${key} ${operator === 'NotIn' ? 'notin' : 'in'} (${values.join(',')})`
  })
  return [...equal, ...others].join(',')
}

function viewOf(pod: V1Pod): InstanceView {
  const condition = pod.status?.conditions?.find(({ type }) => type === 'Ready')
  const ready = condition?.status === 'True'
  const waiting = pod.status?.containerStatuses?.some(({ state }) => /BackOff/.test(state?.waiting?.reason ?? ''))
  const state = pod.metadata?.deletionTimestamp
    ? 'draining'
    : pod.status?.phase === 'Failed'
      ? 'failed'
      : pod.status?.phase === 'Succeeded'
        ? 'stopped'
        : ready
          ? 'ready'
          : waiting
            ? 'backing_off'
            : 'starting'
  return {
    id: pod.metadata?.name ?? '',
    provider: 'kubernetes',
    state,
    startedAt: millisOf(pod.status?.startTime ?? pod.metadata?.creationTimestamp),
    readyAt: ready ? millisOf(condition?.lastTransitionTime) : null,
    cpu: null,
    memory: null,
    inFlight: null,
  }
}

function millisOf(date: Date | undefined): Millis | null {
  const at = date?.getTime() ?? Number.NaN
  return Number.isFinite(at) ? at : null
}
