/**
 * A Deployment or a StatefulSet: its replicas through the scale subresource, how many are ready from its status, its
 * pods one by one. Needs the rights of `deploy/kubernetes/scaling-rbac.yaml` and no more.
 *
 * A change is a PUT of the scale with the resource version that was read: when somebody else wrote in between, the
 * server says 409 and the step is taken anew from what is there. An autoscaler of Kubernetes on the same object (an
 * HPA; KEDA makes one as well) would undo every step: it is looked for, and said as a conflict.
 *
 * What is starting are pods that exist, not what was asked for: where no controller makes them, nothing is starting.
 */
import type { V1DeploymentCondition, V1Pod } from '@kubernetes/client-node'
import { messageOf } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { Scheduler } from '../../base/scheduler.ts'
import { MINUTE, type Millis, SECOND } from '../../base/time.ts'
import type { InstanceView } from '../model.ts'
import type { KubernetesSettings } from '../targets.ts'
import { checkWanted, countsOf, type Driver } from './driver.ts'
import {
  type Client,
  firstLine,
  NoWay,
  openClient,
  plain,
  retryAfterMs,
  saidBy,
  statusOf,
} from './kubernetes-client.ts'

export interface KubernetesOptions {
  readonly target: string
  readonly settings: KubernetesSettings
  readonly scheduler: Scheduler
  readonly log: Log
  /** Where the folders of a pod's account lie; '' but in tests. */
  readonly root?: string
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
  let place: Pick<Client, 'namespace' | 'server'> | null = null
  let fenceSeen = 0
  let conflict: string | null = null
  let lookedAt: number | null = null
  const said = new Set<string>()

  function connect(): Promise<Client> {
    client ??= openClient(settings, root, scheduler).then(
      (opened) => {
        place = opened
        return opened
      },
      (error: unknown) => {
        client = null
        throw error
      },
    )
    return client
  }

  /** After 401, and where no answer came: the token, the authority or the address may be others by now. */
  function readAnew(): void {
    client = null
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
          readAnew()
          continue
        }
        if (status === null) readAnew()
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
    const said = saidBy(error)
    const itsWord = said === null ? '' : `: ${said}`
    if (status === 401) return new Error(`Kubernetes does not know who asks (401)`)
    if (status === 403) {
      // Rights are one reason; an admission webhook or a quota is another.
      const rights = said === null || /forbidden: User /.test(said)
      return new Error(`Kubernetes forbids to ${what} (403)${rights ? ': see scaling-rbac.yaml' : itsWord}`)
    }
    if (status === 404 && what.includes(object)) {
      return new Error(`there is no ${where} in its namespace${place ? ` ${place.namespace}` : ''} (404)`)
    }
    if (status === 409) return new Error(`${where} is changed by others at every try (409)`)
    if (status === 429) return new Error(`Kubernetes is overloaded and asks to wait (429)`)
    if (status !== null) return new Error(`Kubernetes answered ${status} to "${what}"${itsWord}`)
    if (error instanceof Error && /Timeout|Abort/.test(error.name)) {
      return new Error(`no answer from Kubernetes within ${settings.timeoutMs / SECOND} s`)
    }
    return new Error(`Kubernetes${place ? ` at ${place.server}` : ''} cannot be asked: ${plain(error)}`)
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
      // The server leaves out what is 0.
      ready: found.status?.readyReplicas ?? 0,
      pods: found.status?.replicas ?? 0,
      conditions: found.status?.conditions ?? [],
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
      const { replicas, ready, pods: made, conditions, selector } = await read()
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
        starting: Math.max(0, Math.min(replicas, made) - ready),
        draining,
        wanted: replicas,
        instances,
        conflict,
        trouble: ready >= replicas ? null : troubleOf(`${kind} ${name}`, conditions, pods?.items ?? [], clock.now()),
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
          if (status === 401 || status === null) readAnew()
          const pause = retryAfterMs(error) ?? 50 * 2 ** attempt
          const again = status === 409 || status === 429 || status === 401 || (status !== null && status >= 500)
          if (!again || attempt >= TRIES || pause > PAUSE_MAX_MS) throw explained(error, `update ${object}s/scale`)
          await scheduler.sleep(pause)
        }
      }
    },
    async close() {
      client = null
    },
  }
}

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

const CANNOT_START = /BackOff|^Err|Invalid|Error$/
/** A place for a pod may be made meanwhile by whoever adds nodes. */
const UNPLACED_MS = 5 * MINUTE

/** Why pods do not get ready, where Kubernetes says so; null when it does not. */
function troubleOf(
  what: string,
  conditions: readonly Pick<V1DeploymentCondition, 'type' | 'status' | 'reason' | 'message'>[],
  pods: readonly V1Pod[],
  now: Millis,
): string | null {
  const failure = conditions.find(({ type, status }) => type === 'ReplicaFailure' && status === 'True')
  if (failure) return `the ${what} gets no pods: ${firstLine(failure.message ?? failure.reason ?? 'its pods fail')}`
  const living = pods.filter(({ metadata, status }) => !metadata?.deletionTimestamp && status?.phase !== 'Failed')
  const reasons = living.flatMap((pod) => reasonOf(pod, now) ?? [])
  if (reasons.length === 0) return null
  const kinds = [...new Set(reasons)].sort().join(', ')
  return `${reasons.length} of ${living.length} pods of the ${what} cannot start: ${kinds}`
}

/** Why one pod cannot start. */
function reasonOf({ status }: V1Pod, now: Millis): string | null {
  for (const { state } of [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])]) {
    const reason = state?.waiting?.reason
    if (reason && CANNOT_START.test(reason)) return reason
  }
  const placed = status?.conditions?.find(({ type }) => type === 'PodScheduled')
  const since = millisOf(placed?.lastTransitionTime)
  const unplaced = placed?.status === 'False' && placed.reason === 'Unschedulable'
  return unplaced && since !== null && now - since >= UNPLACED_MS ? 'Unschedulable' : null
}

function viewOf(pod: V1Pod): InstanceView {
  const condition = pod.status?.conditions?.find(({ type }) => type === 'Ready')
  const ready = condition?.status === 'True'
  const containers = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])]
  const waiting = containers.some(({ state }) => /BackOff/.test(state?.waiting?.reason ?? ''))
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
