/**
 * The way to Kubernetes, as kubectl finds it: a kubeconfig (tokens, token files, certificates, plug-ins that hand out
 * credentials), or the account of the pod. What the client of Kubernetes leaves out of that is added here: `tokenFile`,
 * servers without TLS (`kubectl proxy`), plug-ins that hang.
 *
 * The client is loaded at the first use: importing it takes half a second of CPU.
 */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, isAbsolute, join, resolve, sep } from 'node:path'
import type {
  AppsV1Api,
  AutoscalingV2Api,
  Cluster,
  CoreV1Api,
  KubeConfig,
  RequestContext,
  User,
} from '@kubernetes/client-node'
import { parse } from 'yaml'
import { messageOf } from '../../base/errors.ts'
import type { Scheduler } from '../../base/scheduler.ts'
import { type Millis, SECOND } from '../../base/time.ts'
import type { KubernetesSettings } from '../targets.ts'

export interface Client {
  readonly apps: AppsV1Api
  readonly core: CoreV1Api
  readonly autoscaling: AutoscalingV2Api
  readonly namespace: string
  /** Its address, for sentences. */
  readonly server: string
}

/** Neither a kubeconfig nor the account of a pod says where Kubernetes is, or who asks. */
export class NoWay extends Error {
  constructor(cause: unknown) {
    super(`no way to Kubernetes: ${firstLine(cause)}`, { cause })
  }
}

type Connections = ReturnType<RequestContext['getDispatcher']>

/** Reads everything anew. Throws `NoWay`. `root`: where the folders of a pod's account lie; '' but in tests. */
export async function openClient(settings: KubernetesSettings, root: string, scheduler: Scheduler): Promise<Client> {
  try {
    return await open(settings, root, scheduler)
  } catch (error) {
    throw error instanceof NoWay ? error : new NoWay(error)
  }
}

async function open(settings: KubernetesSettings, root: string, scheduler: Scheduler): Promise<Client> {
  const { timeoutMs } = settings
  const k8s = await import('@kubernetes/client-node')
  const config = new k8s.KubeConfig()
  if (settings.kubeconfig !== null) config.loadFromFile(settings.kubeconfig)
  else if (root !== '') config.loadFromCluster(root)
  else config.loadFromDefault()
  complete(config, settings.kubeconfig)
  limitPlugins(config, timeoutMs)
  if (settings.context !== null) config.setCurrentContext(settings.context)
  const cluster = config.getCurrentCluster()
  if (!cluster) throw new Error('no cluster is named by the kubeconfig or by the account of a pod')
  // The client makes connections of its own for every call; those of the first serve all that follow.
  let connections: Connections
  const configuration = k8s.createConfiguration({
    baseServer: new k8s.ServerConfiguration(cluster.server, {}),
    authMethods: {
      default: {
        getName: () => config.getName(),
        async applySecurityAuthentication(context) {
          const late = `the credentials did not come within ${timeoutMs / SECOND} s`
          await inTime(config.applySecurityAuthentication(context), timeoutMs, late, scheduler).catch((error) => {
            throw new NoWay(error)
          })
        },
      },
    },
    promiseMiddleware: [
      {
        async pre(context) {
          connections ??= context.getDispatcher()
          if (connections) context.setDispatcher(connections)
          context.setSignal(AbortSignal.timeout(timeoutMs))
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
    server: cluster.server,
  }
}

const namespaceOf = (config: KubeConfig): string | null =>
  config.getContextObject(config.getCurrentContext())?.namespace?.trim() || null

/** What plug-ins are told; some refuse to run without it. */
const execInfo = (apiVersion: unknown) =>
  JSON.stringify({ kind: 'ExecCredential', apiVersion, spec: { interactive: false } })

interface Named {
  readonly name?: string
  readonly user?: { readonly tokenFile?: string }
}

/** Adds what the client does not read of a kubeconfig. `file`: the one that the target names. */
function complete(config: KubeConfig, file: string | null): void {
  const folder = file === null ? '' : dirname(file)
  const { users } = (file === null ? {} : parse(readFileSync(file, 'utf8'))) as { users?: readonly Named[] }
  const tokens = new Map((users ?? []).map(({ name, user }) => [name, user?.tokenFile]))
  config.loadFromOptions({
    clusters: config.clusters.map(
      (cluster): Cluster => ({
        ...cluster,
        server: cluster.server.replace(/\/+$/, ''),
        // There is no certificate to check; the client would refuse to speak.
        skipTLSVerify: cluster.skipTLSVerify || cluster.server.startsWith('http:'),
      }),
    ),
    users: config.users.map((user): User => {
      const tokenFile = tokens.get(user.name)
      const { exec } = user
      if (exec) return { ...user, exec: pluginOf(exec, folder) }
      if (tokenFile === undefined) return user
      // As kubectl does: the file counts more than a token beside it, and is read again.
      const { token: _, ...rest } = user
      return { ...rest, authProvider: { name: 'tokenFile', config: { tokenFile: resolve(folder, tokenFile) } } }
    }),
    contexts: config.contexts,
    currentContext: config.currentContext,
  })
}

function pluginOf(exec: NonNullable<User['exec']>, folder: string) {
  const relative =
    folder !== '' && typeof exec.command === 'string' && exec.command.includes(sep) && !isAbsolute(exec.command)
  return {
    ...exec,
    command: relative ? join(folder, exec.command) : exec.command,
    env: [{ name: 'KUBERNETES_EXEC_INFO', value: execInfo(exec.apiVersion) }, ...(exec.env ?? [])],
  }
}

type Spawn = (command: string, args: readonly string[], options: object) => ReturnType<typeof spawn>

/** A plug-in is ended when it takes too long, and has nobody to ask. */
function limitPlugins(config: KubeConfig, timeoutMs: Millis): void {
  const authenticators = Reflect.get(config, 'authenticators') as object[]
  const limited: Spawn = (command, args, options) =>
    spawn(command, args ?? [], {
      ...options,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    })
  for (const one of authenticators) if ('execFn' in one) one.execFn = limited
}

function inTime<T>(work: Promise<T>, ms: Millis, late: string, scheduler: Scheduler): Promise<T> {
  return new Promise((resolve, reject) => {
    const limit = scheduler.after(ms, () => reject(new Error(late)))
    work.then(resolve, reject).finally(() => limit.cancel())
  })
}

// ------------------------------------------------------------------------------------------- what it answers

/** The status of an answer that was none of success; null where no answer came. */
export function statusOf(error: unknown): number | null {
  const code = error instanceof Error && 'code' in error ? error.code : null
  return typeof code === 'number' && code >= 100 && code <= 599 ? code : null
}

export function retryAfterMs(error: unknown): Millis | null {
  if (!(error instanceof Error) || !('headers' in error)) return null
  const value = (error.headers as Readonly<Record<string, string>> | undefined)?.['retry-after']
  const seconds = value === undefined ? Number.NaN : Number(value)
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * SECOND : null
}

/** What the server says itself: the message of its `Status`; null when it says nothing. */
export function saidBy(error: unknown): string | null {
  if (!(error instanceof Error) || !('body' in error)) return null
  try {
    const body = typeof error.body === 'string' ? JSON.parse(error.body) : error.body
    const message = (body as { message?: unknown } | null)?.message
    return typeof message === 'string' && message !== '' ? firstLine(message).slice(0, 120) : null
  } catch {
    return null
  }
}

/** What the network said, without what the client wraps around it. */
export function plain(error: unknown): string {
  const cause = error instanceof Error && error.cause ? error.cause : error
  const code = cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : null
  return code ?? firstLine(cause)
}

/** Without the lines of a file that the reader of YAML shows: tokens stand there. */
export const firstLine = (error: unknown) => messageOf(error).split('\n')[0]!.slice(0, 200)
