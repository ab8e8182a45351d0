/** Channels, to whom notices go, and deliveries, what became of each notice. */
import Type, { type Static } from 'typebox'
import { badRequest, conflict, invalid, notFound } from '../../base/errors.ts'
import { toIso } from '../../base/time.ts'
import type { Route } from '../../http/route.ts'
import { route } from '../../http/route.ts'
import { audit } from '../../storage/audit.ts'
import { once } from '../../storage/idempotency.ts'
import { OutcomeSchema } from '../alerts/outcome.ts'
import type { ChannelView } from '../index.ts'
import {
  ChannelChange,
  ChannelCreate,
  ChannelId,
  ChannelSchema,
  DELIVERY_STATUSES,
  DeliverySchema,
  deliveryJson,
  iso,
  NullableTime,
  Time,
} from '../schemas.ts'
import { type AlertingRoutesDeps, base, ChannelIdParam, Count, Cursor, etag, Id, Limit, tag } from '../surface.ts'

export function channelRoutes(deps: AlertingRoutesDeps): Route[] {
  const { db, delivery, scheduler } = deps
  const { channels } = delivery
  const { clock } = scheduler
  return [
    route({
      method: 'GET',
      path: `${base}/channels`,
      access: 'viewer',
      tag,
      summary: 'All channels, without secrets',
      data: Type.Object({ channels: Type.Array(ChannelSchema), total_count: Count }),
      handler() {
        const all = channels.list().map((record) => channelJson(channels.view(record)))
        return { data: { channels: all, total_count: all.length } }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/channels/:id`,
      access: 'viewer',
      tag,
      summary: 'One channel, without secrets',
      params: ChannelIdParam,
      data: ChannelSchema,
      handler({ params }) {
        const record = channels.record(params.id)
        if (!record) throw noChannel(params.id)
        return { data: channelJson(channels.view(record)), headers: etag(record.version) }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/channels`,
      access: 'admin',
      tag,
      summary: 'Makes a channel',
      idempotent: true,
      status: 201,
      body: ChannelCreate,
      data: Type.Object({
        id: ChannelId,
        name: Type.String(),
        type: Type.String(),
        enabled: Type.Boolean(),
        configured: Type.Boolean(),
        version: Type.Integer(),
      }),
      handler({ body, principal, claim }) {
        const now = clock.now()
        const deed = { who: principal!.name, now, ifMatch: null }
        const { id, name, type, config, enabled, severity_filter: severityFilter } = body
        const data = once(db, claim, now, () => {
          const made = channels.create({ id, name, type, config, enabled, severityFilter }, deed)
          return { id, name, type, enabled: made.enabled, configured: made.configured, version: made.version }
        })
        return { status: 201, data, message: `The channel ${id} is made.`, headers: etag(data.version) }
      },
    }),
    route({
      method: 'PUT',
      path: `${base}/channels/:id`,
      access: 'admin',
      tag,
      summary: 'Changes a channel; "***" keeps a secret, null takes a setting away',
      params: ChannelIdParam,
      body: ChannelChange,
      data: ChannelSchema,
      handler({ params, body, ifMatch, principal }) {
        if (body.id !== undefined && body.id !== params.id)
          throw invalid([{ path: 'id', message: 'cannot be changed' }])
        const deed = { who: principal!.name, now: clock.now(), ifMatch: ifMatch ?? body.version ?? null }
        const record = channels.update(
          params.id,
          {
            ...(body.name === undefined ? {} : { name: body.name }),
            ...(body.type === undefined ? {} : { type: body.type }),
            ...(body.config === undefined ? {} : { config: body.config }),
            ...(body.enabled === undefined ? {} : { enabled: body.enabled }),
            ...(body.severity_filter === undefined ? {} : { severityFilter: body.severity_filter }),
          },
          deed,
        )
        return {
          data: channelJson(channels.view(record)),
          message: `The channel ${params.id} is changed.`,
          headers: etag(record.version),
        }
      },
    }),
    route({
      method: 'DELETE',
      path: `${base}/channels/:id`,
      access: 'admin',
      tag,
      summary: 'Deletes a channel; what waits for it is cancelled',
      params: ChannelIdParam,
      handler({ params, ifMatch, principal }) {
        const { id } = params
        const used = deps.rules.all().filter((rule) => rule.channels.includes(id))
        if (used.length > 0) {
          const names = used.slice(0, 5).map((rule) => rule.id)
          const more = used.length > names.length ? ` and ${used.length - names.length} more` : ''
          throw conflict('channel_in_use', `Rules tell the channel ${id}: ${names.join(', ')}${more}.`)
        }
        channels.remove(id, { who: principal!.name, now: clock.now(), ifMatch })
        return { message: `The channel ${id} is deleted.` }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/channels/:id/test`,
      access: 'operator',
      tag,
      summary: 'Sends a test message to the provider and reports its answer',
      params: ChannelIdParam,
      data: OutcomeSchema,
      async handler({ params, principal }) {
        if (!channels.record(params.id)) throw noChannel(params.id)
        audit(db, clock.now(), { who: principal!.name, deed: 'channel.tested', what: params.id })
        const outcome = await delivery.testChannel(params.id)
        const words = outcome.status === 'delivered' ? 'took the test' : 'did not take the test'
        return { data: { ...outcome }, message: `The channel ${params.id} ${words}.` }
      },
    }),
  ]
}

const noChannel = (id: string) => notFound('channel_not_found', `There is no channel ${id}.`)

const channelJson = (view: ChannelView): Static<typeof ChannelSchema> => ({
  ...view,
  config: { ...view.config },
  missing: [...view.missing],
  severity_filter: [...view.severity_filter],
})

export function deliveryRoutes({ delivery }: AlertingRoutesDeps): Route[] {
  const { outbox } = delivery
  return [
    route({
      method: 'GET',
      path: `${base}/deliveries`,
      access: 'viewer',
      tag,
      summary: 'The outbox, newest first: each attempt, its answer, the next try',
      query: Type.Object({
        alert_id: Type.Optional(Type.String({ maxLength: 64 })),
        channel_id: Type.Optional(Type.String({ maxLength: 64 })),
        status: Type.Optional(Type.Enum([...DELIVERY_STATUSES])),
        limit: Limit,
        cursor: Cursor,
      }),
      data: Type.Object({
        deliveries: Type.Array(DeliverySchema),
        waiting: Count,
        oldest_waiting_at: NullableTime,
        resting: Type.Array(Type.Object({ channel_id: Type.String(), next_try_at: Time, failing: Type.Boolean() }), {
          description: 'Channels that are tried seldom because they failed, or that asked for patience.',
        }),
        next_cursor: Type.Union([Type.String(), Type.Null()]),
      }),
      handler({ query }) {
        const { alert_id: alertId, channel_id: channelId, status, limit, cursor } = query
        if (cursor !== undefined && !/^\d{1,15}$/.test(cursor)) {
          throw badRequest('The cursor is not one of this list.', 'cursor_unreadable')
        }
        const found = outbox.deliveries({
          ...(alertId === undefined ? {} : { alertId }),
          ...(channelId === undefined ? {} : { channelId }),
          ...(status === undefined ? {} : { status }),
          ...(cursor === undefined ? {} : { before: Number(cursor) }),
          limit: limit + 1,
        })
        const page = found.slice(0, limit)
        const next = found.length > limit ? String(page.at(-1)!.seq) : null
        const { waiting, oldestAt, resting } = outbox.state()
        return {
          data: {
            deliveries: page.map(deliveryJson),
            waiting,
            oldest_waiting_at: iso(oldestAt),
            resting: resting.map(({ channelId, nextTryAt, failing }) => {
              return { channel_id: channelId, next_try_at: toIso(nextTryAt), failing }
            }),
            next_cursor: next,
          },
          ...(next === null ? {} : { nextCursor: next }),
        }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/deliveries/:id/retry`,
      access: 'operator',
      tag,
      summary: 'A dead letter is tried again, under the same delivery id',
      params: Id,
      data: DeliverySchema,
      handler({ params }) {
        const delivery = outbox.delivery(params.id)
        if (!delivery) throw notFound('delivery_not_found', 'There is no delivery of that id.')
        if (!outbox.retry(params.id)) {
          throw conflict('delivery_not_dead', `The delivery is ${delivery.status}; only dead ones can be tried again.`)
        }
        return { data: deliveryJson(outbox.delivery(params.id)!), message: 'It is tried again.' }
      },
    }),
  ]
}
