/**
 * A chart over time: at most two lines, their gaps hatched, limits and events on it, the forecast after now, anomalies
 * as rings. uPlot draws lines and axes; the crosshair is ours, because all charts of a page share it and arrow keys move
 * it. Rings are buttons above the canvas. A chart is also a sentence (its label) and a table (on demand, in the same
 * place).
 */
import { signal, useSignal, useSignalEffect } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect, useId, useLayoutEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import type { DashboardAnomaly, DashboardEvent } from '../protocol.ts'
import { openAnomaly } from './anomalies.tsx'
import type { Ahead } from './forecast.ts'
import { between, day, formatValue, hhmm, hhmmss, moment, spoken } from './format.ts'
import { Ring } from './ring.tsx'
import type { Gap, Track } from './series.ts'
import { extent, gapsOf, merged, niceStep } from './series.ts'
import { colours } from './theme.ts'

export interface Line {
  readonly key: string
  readonly name: string
  readonly unit: string
  readonly axis: 'left' | 'right'
  /** Where this one has points, a hole in the line means "nothing to say", not "not measured". */
  readonly or?: string
  readonly nothing?: string
}

export interface Limit {
  readonly value: number
  readonly axis: 'left' | 'right'
  readonly text: string
  /** One that does not fire: thinner, in the colour of text, its words below the line. */
  readonly soft?: boolean
}

/** A stretch of time behind the lines. */
export interface Span {
  readonly from: number
  readonly to: number
  readonly kind: 'pending' | 'firing'
}

export interface ChartProps {
  readonly title: string
  readonly lines: readonly Line[]
  readonly track: Track | null
  readonly now: number
  /** Milliseconds without a sample that count as a gap. */
  readonly gapMs: number
  readonly left: { readonly unit: string; readonly base: number | null; readonly top: number | null }
  readonly right?: { readonly unit: string }
  /** Two series of the track that bound what the first line is the mean of. */
  readonly band?: { readonly lower: string; readonly upper: string; readonly name: string }
  readonly limits?: readonly Limit[]
  readonly spans?: readonly Span[]
  readonly events?: readonly DashboardEvent[]
  /** By key of the line. */
  readonly ahead?: Readonly<Partial<Record<string, readonly Ahead[]>>>
  readonly marks?: readonly Mark[]
  /** A few words more under the chart. */
  readonly note?: string | null
  readonly stale: boolean
  readonly children?: ComponentChildren
}

/** An anomaly on a line. */
export interface Mark {
  readonly line: string
  readonly anomaly: DashboardAnomaly
}

/** The one crosshair of the page. */
const cross = signal<{ readonly at: number; readonly owner: string; readonly byKey: boolean } | null>(null)

const FONT = '11px -apple-system, "Segoe UI", Roboto, Inter, "Liberation Sans", Arial, sans-serif'
const PAD = { left: 36, right: 38, top: 18, bottom: 22, end: 8 }

export function Chart(props: ChartProps) {
  const { title, lines, track, now } = props
  const id = useId()
  const asTable = useSignal(false)
  return (
    <>
      <div class="panel-head">
        <h2 id={`${id}h`}>{title}</h2>
        <div class="legend end">
          {lines.map((line, i) => (
            <span key={line.key}>
              <Key index={i} /> {line.name}
            </span>
          ))}
          {props.band && (
            <span>
              <svg class="key" viewBox="0 0 22 10" aria-hidden="true">
                <rect y="1" width="22" height="8" class="c-band s1" />
              </svg>{' '}
              {props.band.name}
            </span>
          )}
        </div>
      </div>
      <div class="panel-body" id={`${id}p`}>
        {asTable.value && track ? (
          <Table id={id} title={title} lines={lines} track={track} now={now} ahead={props.ahead} />
        ) : (
          <Canvas id={id} {...props} />
        )}
        <p class="chart-foot">
          <span class="cut" title={props.note ?? undefined}>
            {track && track.length > 0 ? `Means of ${spoken(track.stepMs)}, UTC` : ''}
            {props.note && ` · ${props.note}`}
          </span>
          <button
            type="button"
            class="link"
            aria-pressed={asTable.value}
            aria-controls={`${id}p`}
            onClick={() => {
              asTable.value = !asTable.value
            }}
          >
            {asTable.value ? 'Chart' : 'Table'}
            <span class="vh">
              : show {title} as {asTable.value ? 'a chart' : 'a table'}
            </span>
          </button>
        </p>
        {props.children}
      </div>
    </>
  )
}

function Key({ index }: { index: number }) {
  const colour = index === 0 ? 's1' : 's2'
  return (
    <svg class="key" viewBox="0 0 22 10" aria-hidden="true">
      <line x1="0" x2="22" y1="5" y2="5" class={`c-line ${colour}`} />
      {index === 0 ? (
        <circle cx="11" cy="5" r="3.2" class={`c-dot ${colour}`} />
      ) : (
        <rect x="8" y="2" width="6" height="6" class={`c-dot ${colour}`} />
      )}
    </svg>
  )
}

function Table({
  id,
  title,
  lines,
  track,
  now,
  ahead,
}: { id: string; ahead: ChartProps['ahead'] } & Pick<ChartProps, 'title' | 'lines' | 'now'> & { track: Track }) {
  const rows = Array.from({ length: track.length }, (_, i) => track.length - 1 - i)
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reachable by keyboard
    <section class="table-wrap chart-table" tabIndex={0} aria-labelledby={`${id}h`}>
      <table class="table">
        <caption class="vh">{title}, newest first, UTC</caption>
        <thead class="chart-head">
          <tr>
            <th scope="col">Time (UTC)</th>
            {lines.map((line) => (
              <th key={line.key} scope="col" class="n">
                {line.name}, {line.unit}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {knots(lines, ahead)
            .reverse()
            .map((at) => (
              <tr key={at}>
                <th scope="row">{moment(at, now)}, forecast</th>
                {lines.map((line) => (
                  <td key={line.key} class="n">
                    {expected(line, ahead, at)}
                  </td>
                ))}
              </tr>
            ))}
        </tbody>
        <tbody>
          {rows.map((i) => (
            <tr key={i}>
              <th scope="row">{stamp(track, track.from + i * track.stepMs, now)}</th>
              {lines.map((line) => (
                <td key={line.key} class="n">
                  {read(track, line, i)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  )
}

/** The moments at which anything is forecast. */
function knots(lines: readonly Line[], ahead: ChartProps['ahead']): number[] {
  const all = lines.flatMap((line) => (ahead?.[line.key] ?? []).map((knot) => knot.at))
  return [...new Set(all)].sort((a, b) => a - b)
}

function expected(line: Line, ahead: ChartProps['ahead'], at: number): string {
  const knot = ahead?.[line.key]?.find((one) => one.at === at)
  if (!knot) return 'no forecast'
  return `${formatValue(knot.value, line.unit)} (${between(knot.lower, knot.upper, line.unit)})`
}

const stamp = (track: Track, at: number, now: number) => (track.stepMs < 60_000 ? hhmmss(at) : moment(at, now))

function read(track: Track, line: Line, i: number): string {
  const value = track.series[line.key]?.[i] ?? null
  if (value !== null) return formatValue(value, line.unit)
  const quiet = line.or && (track.series[line.or]?.[i] ?? null) !== null
  return quiet ? (line.nothing ?? 'nothing') : 'no data'
}

// ---------------------------------------------------------------------------------------------------- canvas

function Canvas(props: ChartProps & { id: string }) {
  const { id, lines, track, now, stale, marks = [] } = props
  const box = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  const latest = useRef(props)
  latest.current = props
  const hair = useRef<HTMLDivElement>(null)
  const tip = useRef<HTMLDivElement>(null)
  const told = useSignal('')
  const rings = useRef<HTMLDivElement>(null)

  useLayoutEffect(() => {
    const element = box.current!
    const resize = new ResizeObserver(() => {
      const size = { width: element.clientWidth, height: element.clientHeight }
      if (size.width === 0) return
      if (plot.current) plot.current.setSize(size)
      else plot.current = create(element, size, latest, rings)
    })
    resize.observe(element)
    return () => {
      resize.disconnect()
      plot.current?.destroy()
      plot.current = null
    }
  }, [])
  useEffect(() => {
    if (plot.current && track) plot.current.setData(dataOf(latest.current))
  }, [track, now, props.events, props.limits, props.spans, props.ahead, props.marks])
  useSignalEffect(() => {
    colours.value
    plot.current?.redraw(false)
  })
  useSignalEffect(() => {
    place(cross.value)
  })

  /** Where the crosshair can stand: in the middle of each bucket, and at each moment that is forecast. */
  function stops(): number[] {
    const { track, now, lines, ahead } = latest.current
    if (!track) return []
    const measured = Array.from({ length: track.length }, (_, i) => xOf(track, i, now) * 1000)
    return [...measured, ...knots(lines, ahead).filter((at) => at > (measured.at(-1) ?? 0))]
  }

  function nearest(all: readonly number[], at: number): number {
    let best = 0
    for (let i = 1; i < all.length; i++) if (Math.abs(all[i]! - at) <= Math.abs(all[best]! - at)) best = i
    return best
  }

  /** Moves the line; the figures stand only at the chart that has the pointer or the focus. */
  function place(at: typeof cross.value) {
    const u = plot.current
    const { track, now, lines, ahead } = latest.current
    const line = hair.current
    const figures = tip.current
    if (!line || !figures) return
    const all = at ? stops() : []
    const shown = u && at && track && all.length > 0 && at.at >= track.from && at.at <= u.scales.x!.max! * 1000
    line.hidden = !shown
    figures.hidden = !shown || at.owner !== id
    if (!shown) return
    const i = nearest(all, at.at)
    const left = u.over.offsetLeft + u.valToPos(all[i]! / 1000, 'x')
    line.style.transform = `translateX(${left.toFixed(1)}px)`
    if (at.owner !== id) return
    const future = i >= track.length
    const time = future ? moment(all[i]!, now) : stamp(track, track.from + i * track.stepMs, now)
    const rows = lines.map((l) => [l.name, future ? expected(l, ahead, all[i]!) : read(track, l, i)] as const)
    const head = document.createElement('b')
    head.textContent = `${time} UTC${future ? ', forecast' : ''}`
    figures.replaceChildren(
      head,
      ...rows.map((row) => {
        const pair = document.createElement('div')
        for (const text of row) pair.appendChild(document.createElement('span')).textContent = text
        return pair
      }),
    )
    const width = box.current!.clientWidth
    const room = left + 12 + figures.offsetWidth < width
    figures.style.left = `${Math.max(4, room ? left + 12 : left - 12 - figures.offsetWidth)}px`
    const said = rows.map((row) => row.join(' ')).join(', ')
    if (at.byKey) told.value = `${time}${future ? ', forecast' : ''}: ${said}`
  }

  function pointed(event: PointerEvent) {
    const u = plot.current
    if (!u || !latest.current.track) return
    const left = event.clientX - u.over.getBoundingClientRect().left
    cross.value = { at: u.posToVal(left, 'x') * 1000, owner: id, byKey: false }
  }

  function keyed(event: KeyboardEvent) {
    const { track, now } = latest.current
    const all = stops()
    if (!track || all.length === 0) return
    const i = nearest(all, cross.peek()?.at ?? now)
    const by = event.shiftKey ? 10 : 1
    const to = { ArrowLeft: i - by, ArrowRight: i + by, Home: 0, End: track.length - 1 }[event.key]
    if (event.key === 'Escape') cross.value = null
    if (to === undefined) return
    event.preventDefault()
    cross.value = { at: all[Math.min(all.length - 1, Math.max(0, to))]!, owner: id, byKey: true }
  }

  const away = () => {
    cross.value = null
  }
  return (
    <div class="chart-box">
      <div
        class={`chart load${stale ? ' dimmed' : ''}`}
        ref={box}
        role="img"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: the crosshair is moved by arrow keys
        tabIndex={0}
        aria-label={sentence(props)}
        onPointerMove={pointed}
        onPointerLeave={away}
        onKeyDown={keyed}
        onBlur={away}
      >
        <div class="crosshair" ref={hair} hidden />
        <div class="tip" ref={tip} hidden />
      </div>
      <Rings box={rings} title={props.title} lines={lines} marks={stale ? [] : marks} now={now} />
      <p class="vh" aria-live="polite">
        {told}
      </p>
    </div>
  )
}

/** Anomalies as buttons over the canvas; `create` places them. One stop for Tab, arrow keys go from ring to ring. */
function Rings({
  box,
  title,
  lines,
  marks,
  now,
}: Pick<ChartProps, 'title' | 'lines' | 'now'> & { box: { current: HTMLDivElement | null }; marks: readonly Mark[] }) {
  const current = useSignal(0)
  const hint = useRef<HTMLDivElement>(null)
  const at = Math.min(current.value, marks.length - 1)

  function keyed(event: KeyboardEvent) {
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: marks.length - 1 }[event.key]
    if (to === undefined) return
    event.preventDefault()
    current.value = Math.min(marks.length - 1, Math.max(0, to))
    box.current?.querySelectorAll<HTMLElement>('.ring')[current.value]?.focus()
  }
  function show(event: Event, text: string | null) {
    const element = hint.current
    const ring = event.currentTarget as HTMLElement
    if (!element) return
    element.hidden = text === null
    if (text === null) return
    element.textContent = text
    const [x, y] = [Number(ring.dataset.x), Number(ring.dataset.y)]
    const width = box.current!.clientWidth
    element.style.left = `${Math.max(4, Math.min(width - element.offsetWidth - 4, x - element.offsetWidth / 2))}px`
    element.style.top = `${y > element.offsetHeight + 16 ? y - element.offsetHeight - 12 : y + 12}px`
  }

  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is for fields
    <div
      class="rings"
      ref={box}
      role="group"
      aria-label={`${marks.length === 1 ? 'One anomaly' : `${marks.length} anomalies`} in ${title}`}
      hidden={marks.length === 0}
      onKeyDown={keyed}
    >
      {marks.map(({ line, anomaly }, i) => {
        const name = lines.length > 1 ? lines.find((one) => one.key === line)!.name : anomaly.metric_name
        const words = `${name} ${moment(Date.parse(anomaly.timestamp), now)}: ${anomaly.severity} anomaly, ${anomaly.anomaly_score.toFixed(1)} deviations`
        return (
          <button
            key={`${line}:${anomaly.id}`}
            type="button"
            class="ring"
            data-level={anomaly.severity}
            tabIndex={i === at ? 0 : -1}
            aria-haspopup="dialog"
            aria-label={words}
            onPointerEnter={(event) => show(event, words)}
            onPointerLeave={(event) => show(event, null)}
            onFocus={(event) => {
              current.value = i
              show(event, words)
            }}
            onBlur={(event) => show(event, null)}
            onClick={(event) => openAnomaly(anomaly, event.currentTarget)}
          >
            <Ring level={anomaly.severity} />
          </button>
        )
      })}
      <div class="tip" ref={hint} hidden />
    </div>
  )
}

/** On its line where that is drawn, else where its own value is; out of sight when it is out of the window. */
function placeRings(u: uPlot, { track, lines, marks = [], now }: ChartProps, box: HTMLDivElement | null) {
  if (!box || !track) return
  const buttons = box.querySelectorAll<HTMLElement>('.ring')
  const { offsetLeft: left, offsetTop: top, offsetWidth: width, offsetHeight: height } = u.over
  for (const [n, { line: key, anomaly }] of marks.entries()) {
    const button = buttons[n]
    const line = lines.find((one) => one.key === key)
    if (!button || !line) continue
    const i = Math.floor((Date.parse(anomaly.timestamp) - track.from) / track.stepMs)
    button.hidden = i < 0 || i >= track.length
    if (button.hidden) continue
    const value = track.series[key]?.[i] ?? anomaly.actual_value
    const x = left + Math.min(width, Math.max(0, u.valToPos(xOf(track, i, now), 'x')))
    const y = top + Math.min(height, Math.max(0, u.valToPos(value, line.axis)))
    button.style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)`
    button.dataset.x = x.toFixed(0)
    button.dataset.y = y.toFixed(0)
  }
}

/** Middle of a bucket, in seconds; the last one reaches no further than now. */
const xOf = (track: Track, i: number, now: number) => Math.min(track.from + (i + 0.5) * track.stepMs, now) / 1000

function dataOf({ track, now, lines }: ChartProps): uPlot.AlignedData {
  if (!track) return [[], ...lines.map(() => [])]
  const xs = Array.from({ length: track.length }, (_, i) => xOf(track, i, now))
  return [xs, ...lines.map((line) => [...(track.series[line.key] ?? new Array(track.length).fill(null))])]
}

function create(
  element: HTMLElement,
  size: { width: number; height: number },
  latest: { current: ChartProps },
  rings: { current: HTMLDivElement | null },
): uPlot {
  const start = latest.current
  const css = (name: string) => getComputedStyle(element).getPropertyValue(name)
  const tint = (i: number) => css(i === 0 ? '--series-1' : '--series-2')
  const px = (n: number) => n * devicePixelRatio
  const axis = (own: uPlot.Axis): uPlot.Axis => ({
    font: FONT,
    stroke: () => css('--chart-text'),
    ticks: { show: false },
    border: { show: false },
    grid: { stroke: () => css('--chart-grid'), width: 1 },
    ...own,
  })
  const ticks = (_u: uPlot, _a: number, low: number, high: number) => {
    const step = niceStep(high - low, 4)
    const splits: number[] = []
    for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-6; v += step)
      splits.push(Number(v.toFixed(6)))
    return splits
  }

  return new uPlot(
    {
      ...size,
      padding: [PAD.top, start.right ? 0 : PAD.end, 0, 0],
      legend: { show: false },
      cursor: { show: false },
      scales: {
        x: { time: false, range: () => xRange(latest.current) },
        left: { range: () => leftRange(latest.current) },
        right: { range: () => rightRange(latest.current) },
      },
      axes: [
        axis({
          size: PAD.bottom,
          gap: 6,
          grid: { show: false },
          splits: (u, _a, low, high) => timeTicks(low, high, u.bbox.width / devicePixelRatio, start.right ? 0 : 12),
          values: (_u, splits) => timeLabels(splits),
        }),
        axis({ scale: 'left', size: PAD.left, gap: 6, splits: ticks, values: (_u, splits) => splits.map(shortNumber) }),
        ...(start.right
          ? [
              axis({
                scale: 'right',
                side: 1,
                size: PAD.right,
                gap: 6,
                grid: { show: false },
                splits: (_u, _a, low, high) => [0, 1, 2, 3, 4].map((n) => low + (n * (high - low)) / 4),
                values: (_u, splits) => splits.map(shortNumber),
              }),
            ]
          : []),
      ],
      series: [
        {},
        ...start.lines.map(
          (line, i): uPlot.Series => ({
            scale: line.axis,
            stroke: () => tint(i),
            width: 1.75,
            points: { show: false },
            paths: unbridged,
          }),
        ),
      ],
      hooks: {
        drawClear: [
          (u) => {
            drawFuture(u, latest.current, css('--chart-future'))
            for (const span of latest.current.spans ?? [])
              shade(u, span, css(span.kind === 'firing' ? '--warning' : '--text-3'))
            for (const gap of gapsIn(latest.current)) hatch(u, gap, css('--chart-hatch'))
            drawBand(u, latest.current, tint(0))
            for (const [i, line] of latest.current.lines.entries()) drawAhead(u, latest.current, line, i, tint(i))
          },
        ],
        draw: [
          (u) => {
            const props = latest.current
            u.ctx.save()
            u.ctx.font = FONT.replace('11px', `${px(11)}px`)
            units(u, props, css('--chart-text'))
            drawNow(u, props, css('--chart-text'), css('--text'), css('--surface'))
            for (const limit of props.limits ?? [])
              drawLimit(u, limit, css(limit.soft ? '--text-3' : '--chart-limit'), css('--surface'))
            drawEvents(u, props.events ?? [], css('--chart-hatch'), css('--chart-text'), css('--surface'))
            props.lines.forEach((line, i) => {
              lonely(u, i + 1, tint(i))
              drawKnots(u, props, line, i, tint(i), css('--surface'))
              endMark(u, line, i + 1, tint(i))
            })
            u.ctx.restore()
            placeRings(u, props, rings.current)
          },
        ],
      },
    },
    dataOf(start),
    element,
  )
}

function xRange(props: ChartProps): [number, number] {
  const { track, now } = props
  if (!track || track.length === 0) return [now / 1000 - 3600, now / 1000]
  return [track.from / 1000, Math.max(now, track.from + track.stepMs, futureEnd(props) ?? 0) / 1000]
}

/** The last moment that is forecast; null when nothing is. */
function futureEnd(props: ChartProps): number | null {
  const last = props.lines.flatMap((line) => drawn(props, line).at(-1)?.at ?? [])
  return last.length === 0 ? null : Math.max(...last)
}

/** A forecast starts at the last real value; without one of now there is nothing to draw it from. */
function drawn({ track, now, ahead, gapMs, stale }: ChartProps, line: Line): readonly Ahead[] {
  const knots = ahead?.[line.key] ?? []
  if (!track || stale || knots.length === 0) return []
  const last = (track.series[line.key] ?? []).findLastIndex((value) => value !== null)
  return last >= 0 && now - (track.from + (last + 1) * track.stepMs) <= gapMs ? knots : []
}

/** From its base to its top where they are fixed; a hit rate begins at 60 unless it is lower. */
function leftRange(props: ChartProps): [number, number] {
  const { base, top } = props.left
  const seen = seenOn(props, 'left')
  const low = base ?? (seen && seen.min < 60 ? Math.max(0, Math.floor(seen.min / 20) * 20 - 20) : 60)
  if (top !== null) return [low, top]
  const high = roundUp(Math.max(seen?.max ?? 0, ...limitsOn(props, 'left')))
  return [seen && seen.min < low ? -roundUp(-seen.min) : low, high]
}

function rightRange(props: ChartProps): [number, number] {
  const seen = seenOn(props, 'right')
  return [0, roundUp(seen?.max ?? 1)]
}

const limitsOn = (props: ChartProps, axis: Line['axis']) =>
  (props.limits ?? []).filter((l) => l.axis === axis).map((l) => l.value)

function seenOn(props: ChartProps, axis: Line['axis']) {
  const { track, lines, band } = props
  if (!track) return null
  const here = lines.filter((l) => l.axis === axis)
  const keys = here.map((l) => l.key)
  if (band && axis === 'left') keys.push(band.lower, band.upper)
  const ahead = here.flatMap((line) => drawn(props, line).flatMap((knot) => [knot.lower, knot.upper]))
  return extent([...keys.flatMap((key) => [...(track.series[key] ?? [])]), ...ahead])
}

/** A top of four round steps a little above `max`. */
function roundUp(max: number): number {
  const least = Math.max(max * 1.1, 1e-6)
  return niceStep(least, 4) * 4
}

const shortNumber = (v: number) =>
  Math.abs(v) >= 10_000 ? `${Number((v / 1000).toPrecision(3))}k` : String(Number(v.toPrecision(4))).replace('-', '−')

const MIN = 60
const STEPS = [MIN, 2 * MIN, 5 * MIN, 10 * MIN, 15 * MIN, 30 * MIN, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800]

/** Round times; none so near the right edge that its label would be cut. */
function timeTicks(low: number, high: number, width: number, edge: number): number[] {
  const step = STEPS.find((s) => ((high - low) / s) * 46 <= width) ?? 604_800
  const splits: number[] = []
  for (let t = Math.ceil(low / step) * step; ((high - t) / (high - low)) * width >= edge; t += step) splits.push(t)
  return splits
}

function timeLabels(splits: number[]): string[] {
  const days = splits.length > 1 && splits[1]! - splits[0]! >= 86_400
  return splits.map((t) => (days ? day(t * 1000) : hhmm(t * 1000)))
}

function gapsIn({ track, lines, gapMs }: ChartProps): Gap[] {
  if (!track) return []
  return merged(lines.flatMap((line) => gapsOf(track, line.key, gapMs, line.or)))
}

function shade(u: uPlot, { from, to }: Span, colour: string) {
  const { ctx, bbox } = u
  const left = Math.max(bbox.left, u.valToPos(from / 1000, 'x', true))
  const right = Math.min(bbox.left + bbox.width, u.valToPos(to / 1000, 'x', true))
  if (right <= left) return
  ctx.save()
  ctx.globalAlpha = 0.13
  ctx.fillStyle = colour
  ctx.fillRect(left, bbox.top, right - left, bbox.height)
  ctx.restore()
}

function hatch(u: uPlot, gap: Gap, colour: string) {
  const { ctx, bbox } = u
  const left = Math.max(bbox.left, u.valToPos(gap.from / 1000, 'x', true))
  const right = Math.min(bbox.left + bbox.width, u.valToPos(gap.to / 1000, 'x', true))
  if (right <= left) return
  ctx.save()
  ctx.beginPath()
  ctx.rect(left, bbox.top, right - left, bbox.height)
  ctx.clip()
  ctx.strokeStyle = colour
  ctx.globalAlpha = 0.55
  ctx.lineWidth = devicePixelRatio
  ctx.beginPath()
  const every = 7 * devicePixelRatio
  // Lines stand on a grid of their own, so that hatching does not swim when the window moves.
  const first = Math.floor((left - bbox.height) / every) * every
  for (let x = first; x < right; x += every) {
    ctx.moveTo(x, bbox.top + bbox.height)
    ctx.lineTo(x + bbox.height, bbox.top)
  }
  ctx.stroke()
  ctx.restore()
}

/** A line that ends where points end. uPlot's own draws over a gap and clips, which leaves slivers where points are dense. */
const unbridged: uPlot.Series.PathBuilder = (u, index) => {
  const stroke = new Path2D()
  const scale = u.series[index]!.scale!
  let pen = false
  for (const [i, value] of u.data[index]!.entries()) {
    if (value == null) {
      pen = false
      continue
    }
    const x = u.valToPos(u.data[0][i]!, 'x', true)
    const y = u.valToPos(value, scale, true)
    if (pen) stroke.lineTo(x, y)
    else stroke.moveTo(x, y)
    pen = true
  }
  return { stroke, fill: null, clip: null, band: null, gaps: [], flags: 0 }
}

function drawBand(u: uPlot, { track, now, band }: ChartProps, colour: string) {
  const lower = (band && track?.series[band.lower]) ?? []
  const upper = (band && track?.series[band.upper]) ?? []
  if (!track) return
  const { ctx } = u
  ctx.save()
  ctx.fillStyle = colour
  ctx.globalAlpha = 0.17
  for (let i = 0; i < lower.length; i++) {
    let end = i
    while (end < lower.length && lower[end] != null && upper[end] != null) end++
    if (end - i > 1) {
      ctx.beginPath()
      for (let k = i; k < end; k++)
        ctx.lineTo(u.valToPos(xOf(track, k, now), 'x', true), u.valToPos(upper[k]!, 'left', true))
      for (let k = end - 1; k >= i; k--)
        ctx.lineTo(u.valToPos(xOf(track, k, now), 'x', true), u.valToPos(lower[k]!, 'left', true))
      ctx.fill()
    }
    i = Math.max(i, end)
  }
  ctx.restore()
}

/** The ground of what has not happened yet. */
function drawFuture(u: uPlot, props: ChartProps, ground: string) {
  if (futureEnd(props) === null) return
  const { ctx, bbox } = u
  const left = u.valToPos(props.now / 1000, 'x', true)
  ctx.save()
  ctx.fillStyle = ground
  ctx.fillRect(left, bbox.top, bbox.left + bbox.width - left, bbox.height)
  ctx.restore()
}

function drawNow(u: uPlot, props: ChartProps, line: string, text: string, surface: string) {
  if (futureEnd(props) === null) return
  const { ctx, bbox } = u
  const x = Math.round(u.valToPos(props.now / 1000, 'x', true)) + 0.5
  ctx.strokeStyle = line
  ctx.lineWidth = devicePixelRatio
  ctx.setLineDash([2 * devicePixelRatio, 2 * devicePixelRatio])
  ctx.beginPath()
  ctx.moveTo(x, bbox.top - 4 * devicePixelRatio)
  ctx.lineTo(x, bbox.top + bbox.height)
  ctx.stroke()
  haloText(u, 'now', x, bbox.top - 8 * devicePixelRatio, text, surface, 'center')
}

/** The points of a forecast on the canvas, from the last real value on: x, median, lower, upper. */
function aheadPath(u: uPlot, props: ChartProps, line: Line, i: number) {
  const knots = drawn(props, line)
  const values = u.data[i + 1]!
  const last = values.findLastIndex((value) => value != null)
  if (knots.length === 0 || last < 0) return []
  const start = { at: u.data[0][last]! * 1000, value: values[last]!, lower: values[last]!, upper: values[last]! }
  const y = (value: number) => u.valToPos(value, line.axis, true)
  return [start, ...knots].map(
    (knot) => [u.valToPos(knot.at / 1000, 'x', true), y(knot.value), y(knot.lower), y(knot.upper)] as const,
  )
}

/** The 80 % band and the dashed median. */
function drawAhead(u: uPlot, props: ChartProps, line: Line, i: number, colour: string) {
  const path = aheadPath(u, props, line, i)
  if (path.length === 0) return
  const { ctx, bbox } = u
  ctx.save()
  ctx.beginPath()
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height)
  ctx.clip()
  ctx.fillStyle = colour
  ctx.globalAlpha = 0.17
  ctx.beginPath()
  for (const [x, , , upper] of path) ctx.lineTo(x, upper)
  for (const [x, , lower] of path.toReversed()) ctx.lineTo(x, lower)
  ctx.fill()
  ctx.globalAlpha = 1
  ctx.strokeStyle = colour
  ctx.lineWidth = 1.5 * devicePixelRatio
  ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio])
  ctx.beginPath()
  for (const [x, value] of path) ctx.lineTo(x, value)
  ctx.stroke()
  ctx.restore()
}

/** Hollow, at the true horizons. */
function drawKnots(u: uPlot, props: ChartProps, line: Line, i: number, colour: string, surface: string) {
  const { ctx } = u
  const r = 2.75 * devicePixelRatio
  ctx.setLineDash([])
  ctx.fillStyle = surface
  ctx.strokeStyle = colour
  ctx.lineWidth = 1.25 * devicePixelRatio
  for (const [x, y] of aheadPath(u, props, line, i).slice(1)) {
    ctx.beginPath()
    if (i === 0) ctx.arc(x, y, r, 0, 2 * Math.PI)
    else ctx.rect(x - r, y - r, 2 * r, 2 * r)
    ctx.fill()
    ctx.stroke()
  }
}

function haloText(
  u: uPlot,
  text: string,
  x: number,
  y: number,
  colour: string,
  surface: string,
  align: CanvasTextAlign,
) {
  const { ctx } = u
  ctx.textAlign = align
  ctx.textBaseline = 'alphabetic'
  ctx.lineJoin = 'round'
  ctx.lineWidth = 4 * devicePixelRatio
  ctx.strokeStyle = surface
  ctx.setLineDash([])
  ctx.strokeText(text, x, y)
  ctx.fillStyle = colour
  ctx.fillText(text, x, y)
}

function units(u: uPlot, props: ChartProps, colour: string) {
  const { ctx, bbox } = u
  ctx.fillStyle = colour
  ctx.textBaseline = 'alphabetic'
  const y = bbox.top - 8 * devicePixelRatio
  ctx.textAlign = props.left.unit.length > 3 ? 'left' : 'right'
  ctx.fillText(props.left.unit, bbox.left - (props.left.unit.length > 3 ? 30 : 6) * devicePixelRatio, y)
  ctx.textAlign = 'left'
  if (props.right) ctx.fillText(props.right.unit, bbox.left + bbox.width + 6 * devicePixelRatio, y)
}

/** A limit far above everything shown stays out: a chart is scaled by what happened. */
function drawLimit(u: uPlot, limit: Limit, colour: string, surface: string) {
  const { ctx, bbox } = u
  const scale = u.scales[limit.axis]
  if (!scale || limit.value > (scale.max ?? 0) || limit.value < (scale.min ?? 0)) return
  const y = Math.round(u.valToPos(limit.value, limit.axis, true)) + 0.5
  ctx.strokeStyle = colour
  ctx.lineWidth = devicePixelRatio
  ctx.setLineDash((limit.soft ? [1, 3] : [6, 3]).map((n) => n * devicePixelRatio))
  ctx.beginPath()
  ctx.moveTo(bbox.left, y)
  ctx.lineTo(bbox.left + bbox.width, y)
  ctx.stroke()
  const beside = limit.soft ? 12 : -5
  haloText(u, limit.text, bbox.left + 6 * devicePixelRatio, y + beside * devicePixelRatio, colour, surface, 'left')
}

/** A tick at the foot with a word; words that would lie on one another are left out, the ticks stay. */
function drawEvents(u: uPlot, events: readonly DashboardEvent[], line: string, text: string, surface: string) {
  const { ctx, bbox } = u
  const foot = bbox.top + bbox.height
  let free = bbox.left
  for (const event of events) {
    const x = Math.round(u.valToPos(Date.parse(event.timestamp) / 1000, 'x', true)) + 0.5
    if (x < bbox.left || x > bbox.left + bbox.width) continue
    ctx.strokeStyle = line
    ctx.lineWidth = devicePixelRatio
    ctx.setLineDash([])
    ctx.beginPath()
    ctx.moveTo(x, foot - 10 * devicePixelRatio)
    ctx.lineTo(x, foot)
    ctx.stroke()
    const width = ctx.measureText(event.title).width
    const gap = 4 * devicePixelRatio
    const before = x + gap + width > bbox.left + bbox.width
    const begin = before ? x - gap - width : x + gap
    if (begin < free) continue
    free = begin + width + 2 * gap
    haloText(u, event.title, begin, foot - 5 * devicePixelRatio, text, surface, 'left')
  }
}

/** A point with holes on both sides is no line: it gets a dot, or it would not be seen at all. */
function lonely(u: uPlot, index: number, colour: string) {
  const values = u.data[index]!
  const scale = u.series[index]!.scale!
  u.ctx.fillStyle = colour
  for (let i = 0; i < values.length; i++) {
    if (values[i] == null || values[i - 1] != null || values[i + 1] != null) continue
    u.ctx.beginPath()
    const [x, y] = [u.valToPos(u.data[0][i]!, 'x', true), u.valToPos(values[i]!, scale, true)]
    u.ctx.arc(x, y, 1.4 * devicePixelRatio, 0, 2 * Math.PI)
    u.ctx.fill()
  }
}

function endMark(u: uPlot, line: Line, index: number, colour: string) {
  const values = u.data[index]!
  let i = values.length - 1
  while (i >= 0 && values[i] == null) i--
  if (i < 0) return
  const x = u.valToPos(u.data[0][i]!, 'x', true)
  const y = u.valToPos(values[i]!, line.axis, true)
  const r = 3 * devicePixelRatio
  u.ctx.fillStyle = colour
  u.ctx.beginPath()
  if (index === 1) u.ctx.arc(x, y, r * 1.1, 0, 2 * Math.PI)
  else u.ctx.rect(x - r, y - r, 2 * r, 2 * r)
  u.ctx.fill()
}

/** The chart in words. */
function sentence(props: ChartProps): string {
  const { title, lines, track, now } = props
  if (!track || track.length === 0) return `${title}: no history yet.`
  const parts = lines.map((line) => {
    const seen = extent(track.series[line.key] ?? [])
    if (!seen) return `${line.name}: no data`
    const value = (v: number) => formatValue(v, line.unit)
    return `${line.name} ${value(seen.last)}, between ${value(seen.min)} and ${value(seen.max)}`
  })
  const gaps = gapsIn(props)
  const holes = gaps.length === 0 ? '' : ` ${gaps.length === 1 ? 'One gap' : `${gaps.length} gaps`} without data.`
  const next = lines.flatMap((line) => {
    const knot = drawn(props, line)[0]
    return knot ? [`${line.name} ${expected(line, props.ahead, knot.at)} at ${moment(knot.at, now)}`] : []
  })
  const forecast = next.length === 0 ? '' : ` Forecast: ${next.join(', ')}.`
  const rings = props.marks?.length ?? 0
  const odd =
    rings === 0 ? '' : ` ${rings === 1 ? 'One anomaly' : `${rings} anomalies`}, after this chart in the order of Tab.`
  return `${title}, the last ${spoken(now - track.from)}. ${parts.join('; ')}.${forecast}${holes}${odd} Arrow keys move the crosshair.`
}
