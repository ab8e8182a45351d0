/** Silences: what nobody wants to hear of for a while. */
import Type from 'typebox'
import { AppError, conflict, invalid, messageOf, notFound } from '../../base/errors.ts'
import { newId } from '../../base/id.ts'
import { type Millis, toIso } from '../../base/time.ts'
import type { Route } from '../../http/route.ts'
import { route } from '../../http/route.ts'
import { SilenceCreate, SilenceSchema, silenceJson, silenceOf } from '../schemas.ts'
import { type AlertingRoutesDeps, base, Count, Cursor, doing, etag, Id, Limit, tag } from '../surface.ts'
import { CompiledSilence, type Silence, type SilenceState } from './silence.ts'

const HID_SHOWN = 10

export function silenceRoutes({ engine, store, scheduler }: AlertingRoutesDeps): Route[] {
  const { clock } = scheduler
  const json = ({ silence, state }: { silence: Silence; state: SilenceState }) =>
    silenceJson(silence, state, {
      ...store.hiddenCounts(silence.id),
      alerts: store.hidden(silence.id, HID_SHOWN).flatMap(({ alertId, at }) => {
        const alert = store.get(alertId)
        return alert ? [{ alert, at }] : []
      }),
    })
  const find = (id: string): CompiledSilence => {
    const compiled = engine.silence(id)
    if (!compiled) throw notFound('silence_not_found', 'There is no silence of that id.')
    return compiled
  }
  const show = (compiled: CompiledSilence) => json({ silence: compiled.silence, state: compiled.state(clock.now()) })
  return [
    route({
      method: 'GET',
      path: `${base}/silences`,
      access: 'viewer',
      tag,
      summary: 'Silences, newest first, with what they hid',
      query: Type.Object({
        state: Type.Optional(Type.Array(Type.Enum(['pending', 'active', 'expired']))),
        limit: Limit,
        cursor: Cursor,
      }),
      data: Type.Object({
        silences: Type.Array(SilenceSchema),
        total_count: Count,
        next_cursor: Type.Union([Type.String(), Type.Null()]),
      }),
      handler({ query }) {
        const now = clock.now()
        const all = engine
          .silences()
          .map((silence) => ({ silence, state: engine.silence(silence.id)!.state(now) }))
          .filter(({ state }) => query.state === undefined || query.state.includes(state))
          .sort((a, b) => (a.silence.id < b.silence.id ? 1 : -1))
        const rest = query.cursor === undefined ? all : all.filter(({ silence }) => silence.id < query.cursor!)
        const page = rest.slice(0, query.limit)
        const next = rest.length > page.length ? page.at(-1)!.silence.id : null
        return {
          data: { silences: page.map(json), total_count: all.length, next_cursor: next },
          ...(next === null ? {} : { nextCursor: next }),
        }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/silences/:id`,
      access: 'viewer',
      tag,
      summary: 'One silence, with what it hid',
      params: Id,
      data: SilenceSchema,
      handler({ params }) {
        const compiled = find(params.id)
        return { data: show(compiled), headers: etag(compiled.silence.version) }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/silences`,
      access: 'operator',
      tag,
      summary: 'Silences what matches: shown as suppressed, nobody is told',
      idempotent: true,
      status: 201,
      body: SilenceCreate,
      data: SilenceSchema,
      handler(request) {
        const now = clock.now()
        const by = request.principal!.name
        const wish = silenceOf(request.body, now)
        const stamps = { createdBy: by, createdAt: now, updatedAt: now, endedAt: null }
        const silence = checkedSilence({ id: newId(now), version: 1, ...wish, ...stamps })
        const made = engine.putSilence(silence, 'silence.created', doing(request))
        return { status: 201, data: show(find(made.id)), message: 'The silence is made.', headers: etag(made.version) }
      },
    }),
    route({
      method: 'PUT',
      path: `${base}/silences/:id`,
      access: 'operator',
      tag,
      summary: 'Changes a silence that has not ended',
      params: Id,
      body: Type.Object({ ...SilenceCreate.properties, version: Type.Optional(Type.Integer({ minimum: 0 })) }),
      data: SilenceSchema,
      handler(request) {
        const now = clock.now()
        const { version, ...body } = request.body
        const compiled = mustBeAt(find(request.params.id), request.ifMatch ?? version ?? null, now)
        const { silence: before } = compiled
        const wish = silenceOf(
          body.starts_at === undefined ? { ...body, starts_at: toIso(before.startsAt) } : body,
          now,
        )
        const changed = checkedSilence({ ...before, ...wish, version: before.version + 1, updatedAt: now })
        engine.putSilence(changed, 'silence.changed', doing(request))
        return { data: show(find(before.id)), message: 'The silence is changed.', headers: etag(changed.version) }
      },
    }),
    route({
      method: 'DELETE',
      path: `${base}/silences/:id`,
      access: 'operator',
      tag,
      summary: 'Ends a silence; what it hid and still fires is told',
      params: Id,
      data: SilenceSchema,
      handler(request) {
        const now = clock.now()
        const { silence } = mustBeAt(find(request.params.id), request.ifMatch, now)
        const ended = { ...silence, version: silence.version + 1, updatedAt: now, endedAt: now }
        engine.putSilence(ended, 'silence.ended', doing(request))
        return { data: show(find(silence.id)), message: 'The silence has ended.' }
      },
    }),
  ]
}

function mustBeAt(compiled: CompiledSilence, version: number | null, now: Millis): CompiledSilence {
  const { silence } = compiled
  if (version !== null && version !== silence.version) {
    throw new AppError(412, 'version_stale', `The silence is at version ${silence.version} by now.`)
  }
  if (compiled.state(now) === 'expired') throw conflict('silence_ended', 'The silence has ended already.')
  return compiled
}

/** Throws 422 for a pattern, a schedule or a time zone that is none. */
function checkedSilence(silence: Silence): Silence {
  try {
    new CompiledSilence(silence).state(silence.startsAt)
    return silence
  } catch (error) {
    throw invalid([{ path: silence.schedule ? 'schedule' : 'matchers', message: messageOf(error) }])
  }
}
