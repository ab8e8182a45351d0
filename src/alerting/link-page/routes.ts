/**
 * Where the link in a message leads: a page that says which alert it is and asks, and a button that acknowledges it. No
 * token of the platform is needed, the signed link is the proof; it works once. A program that follows links
 * acknowledges nothing, for that takes the button.
 */
import { createHash } from 'node:crypto'
import type { Scheduler } from '../../base/scheduler.ts'
import { toIso } from '../../base/time.ts'
import type { ForeignShape, RawReply, Route } from '../../http/route.ts'
import { foreignRoute } from '../../http/route.ts'
import type { Database } from '../../storage/database.ts'
import { tx } from '../../storage/database.ts'
import type { Engine } from '../engine.ts'
import { ACKNOWLEDGE_PATH, type Delivery, type LinkState } from '../index.ts'
import type { Alert } from '../record.ts'
import type { AlertStore } from '../store.ts'

export interface LinkRoutesDeps {
  readonly db: Database
  readonly engine: Engine
  readonly store: AlertStore
  readonly delivery: Pick<Delivery, 'links' | 'outbox' | 'channels'>
  readonly scheduler: Scheduler
}

type Request = Parameters<ForeignShape['foreign']>[0]

export function linkRoutes(deps: LinkRoutesDeps): Route[] {
  const shared = { path: `${ACKNOWLEDGE_PATH}:token`, access: 'open', tag: 'alerting', documented: false } as const
  return [
    foreignRoute({ ...shared, method: 'GET', summary: 'Asks whether to acknowledge', foreign: (r) => ask(deps, r) }),
    foreignRoute({
      ...shared,
      method: 'POST',
      summary: 'Acknowledges the alert of a link',
      consumes: ['application/x-www-form-urlencoded'],
      bodyLimitBytes: 4096,
      foreign: (request) => act(deps, request),
    }),
  ]
}

function ask({ delivery, store, scheduler }: LinkRoutesDeps, { params }: Request): RawReply {
  const state = delivery.links.check(params.token!, scheduler.clock.now())
  if (state.kind !== 'good') return refusal(state)
  const alert = store.get(state.alertId)
  if (!alert) return page(410, 'The alert is gone', 'It was removed after the time for which alerts are kept.')
  return alert.status === 'resolved' || alert.status === 'acknowledged' ? settled(alert) : question(alert)
}

function act({ db, engine, delivery, store, scheduler }: LinkRoutesDeps, { params, body }: Request): RawReply {
  const now = scheduler.clock.now()
  const given = new URLSearchParams(new TextDecoder().decode(body)).get('name') ?? ''
  const name = given.replace(/\p{C}/gu, '').trim().slice(0, 100)
  // The link is used up and the alert acknowledged together, or neither.
  return tx(db, () => {
    const before = delivery.links.check(params.token!, now)
    if (before.kind !== 'good') return refusal(before)
    const alert = store.get(before.alertId)
    if (!alert) return page(410, 'The alert is gone', 'It was removed after the time for which alerts are kept.')
    if (alert.status === 'resolved' || alert.status === 'acknowledged') return settled(alert)
    delivery.links.redeem(params.token!, now)
    const channelId = delivery.outbox.delivery(before.deliveryId)?.notice.channelId ?? ''
    const channel = delivery.channels.record(channelId)?.name ?? channelId
    const label = name === '' ? `somebody, by the link in ${channel || 'a message'}` : name
    const who = `link ${before.deliveryId}`
    return settled(engine.acknowledge(alert.id, label, { by: who, claim: null }))
  })
}

function refusal(state: Exclude<LinkState, { kind: 'good' }>): RawReply {
  switch (state.kind) {
    case 'used':
      return page(410, 'This link was used', 'The alert is acknowledged already.')
    case 'expired':
      return page(
        410,
        'This link has expired',
        'Links in messages work for three days. Acknowledge the alert in the platform.',
      )
    case 'forged':
      return page(404, 'This link is not right', 'Perhaps it was cut off on its way; open the alert in the platform.')
  }
}

function question(alert: Alert): RawReply {
  const { severity, triggeredAt, message } = alert
  const said = `${severity} since ${time(triggeredAt)}. ${message}`
  return page(
    200,
    alert.title,
    said,
    `<form method="post"><label for="name">Your name, for the others (may stay empty)</label>
<input id="name" name="name" maxlength="100" autocomplete="name"><button>Acknowledge</button></form>
<p class="quiet">Acknowledging stops its escalation. The alert stays in the list until it is over.</p>`,
  )
}

function settled(alert: Alert): RawReply {
  if (alert.status === 'resolved')
    return page(200, 'The alert is over', `${alert.title}. It ended at ${time(alert.resolvedAt!)}.`)
  return page(
    200,
    'Acknowledged',
    `${alert.title}. ${alert.acknowledgedBy} has it since ${time(alert.acknowledgedAt!)}.`,
  )
}

const time = (at: number) => `${toIso(at).slice(0, 19).replace('T', ' ')} UTC`

const STYLE = `:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:10vh auto;padding:0 1.25rem}
h1{font-size:1.375rem;line-height:1.3;margin:0 0 .5rem}form{display:grid;gap:.5rem;margin:1.5rem 0}label{font-size:.875rem}
input,button{font:inherit;padding:.75rem;border-radius:8px;border:1px solid #6b7686;min-height:44px;box-sizing:border-box}
button{background:#2055d4;border-color:#2055d4;color:#fff;font-weight:600;cursor:pointer}
:focus-visible{outline:3px solid #6d9bff;outline-offset:2px}.quiet{font-size:.875rem}`
const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64')

function page(status: number, title: string, text: string, more = ''): RawReply {
  return {
    status,
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'`,
      'x-robots-tag': 'noindex',
      // Without it the button's request would name no origin, and be refused as one from a foreign page.
      'referrer-policy': 'same-origin',
    },
    body: `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)} · Opinion Market</title><style>${STYLE}</style></head>
<body><main><h1>${escaped(title)}</h1><p>${escaped(text)}</p>${more}</main></body></html>`,
  }
}

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}
const escaped = (text: string) => text.replace(/[&<>"']/g, (sign) => ESCAPES[sign]!)
