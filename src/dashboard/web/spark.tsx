/**
 * A line of the last hour without axes, and the forecast of the next 30 minutes: normal band behind, the end point
 * marked, anomalies as rings. Never the only place of a fact.
 */
import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import type { DashboardAnomaly, FigureKey } from '../protocol.ts'
import type { Ahead } from './forecast.ts'
import type { Track } from './series.ts'

interface SparkProps {
  readonly track: Track | null
  readonly figure: FigureKey
  readonly normal: { readonly lower: number; readonly upper: number } | null
  readonly now: number
  /** Knots within the next 30 minutes. */
  readonly ahead: readonly Ahead[]
  /** Whether the next 30 minutes have their room, so that "now" is at the same place in all cards. */
  readonly future: boolean
  readonly marks: readonly DashboardAnomaly[]
  /** The score moves in steps. */
  readonly steps?: boolean
}

const HEIGHT = 44
export const SPARK_FUTURE_MS = 30 * 60_000
const RADIUS = { low: 3, medium: 3.5, high: 4.25 } as const

export function Spark(props: SparkProps) {
  const { track } = props
  const box = useRef<HTMLDivElement>(null)
  const [width, setWidth] = useState(0)
  useLayoutEffect(() => {
    const watch = new ResizeObserver(() => setWidth(box.current?.clientWidth ?? 0))
    if (box.current) watch.observe(box.current)
    return () => watch.disconnect()
  }, [])
  return (
    <div class="spark load" ref={box} aria-hidden="true">
      {track && width > 0 && (
        <svg viewBox={`0 0 ${width} ${HEIGHT}`} aria-hidden="true">
          {drawing(props, track, width)}
        </svg>
      )}
    </div>
  )
}

function drawing({ figure, normal, now, steps, ahead, future, marks }: SparkProps, track: Track, width: number) {
  const values = track.series[figure] ?? []
  const points = values.flatMap((v, i) => (v === null ? [] : [{ i, v }]))
  if (points.length === 0) return null
  const end = points.at(-1)!
  // A forecast starts at the last real value: where that is old, there is nothing to draw it from.
  const knots = (track.from + (end.i + 3) * track.stepMs < now ? [] : ahead).flatMap((k) => [k.lower, k.upper])
  const all = [...points.map((p) => p.v), ...knots, ...(normal ? [normal.lower, normal.upper] : [])]
  let [low, high] = [Math.min(...all), Math.max(...all)]
  // A line that hardly moves lies flat instead of filling the box with its noise.
  const least = Math.max(Math.abs(high) * 0.04, 0.5)
  if (high - low < least) [low, high] = [(low + high - least) / 2, (low + high + least) / 2]
  const to = now + (future ? SPARK_FUTURE_MS : 0)
  const xAt = (at: number) => 2 + ((at - track.from) / Math.max(1, to - track.from)) * (width - 7)
  const x = (i: number) => xAt(Math.min(track.from + (i + 0.5) * track.stepMs, now))
  const y = (v: number) => 4 + (1 - (v - low) / (high - low)) * (HEIGHT - 8)
  const runs: (typeof points)[] = []
  for (const point of points) {
    const run = runs.at(-1)
    if (run && run.at(-1)!.i === point.i - 1) run.push(point)
    else runs.push([point])
  }
  const path = (run: typeof points) =>
    run.length === 1
      ? `M${x(run[0]!.i).toFixed(1)},${y(run[0]!.v).toFixed(1)}h.1`
      : run
          .map(({ i, v }, n) =>
            n === 0
              ? `M${x(i).toFixed(1)},${y(v).toFixed(1)}`
              : steps
                ? `H${x(i).toFixed(1)}V${y(v).toFixed(1)}`
                : `L${x(i).toFixed(1)},${y(v).toFixed(1)}`,
          )
          .join('')
  const fan =
    knots.length === 0
      ? []
      : [
          { at: Math.min(track.from + (end.i + 0.5) * track.stepMs, now), value: end.v, lower: end.v, upper: end.v },
          ...ahead,
        ]
  const join = (list: readonly (readonly [number, number])[]) =>
    list.map(([px, py], i) => `${i === 0 ? 'M' : 'L'}${px.toFixed(1)},${py.toFixed(1)}`).join('')
  return (
    <>
      {normal && (
        <rect
          class="c-normal"
          x={0}
          width={xAt(now)}
          y={y(normal.upper)}
          height={Math.max(1, y(normal.lower) - y(normal.upper))}
        />
      )}
      {fan.length > 0 && (
        <>
          <path
            class="c-band s1"
            d={join([
              ...fan.map((k) => [xAt(k.at), y(k.upper)] as const),
              ...fan.toReversed().map((k) => [xAt(k.at), y(k.lower)] as const),
            ])}
          />
          <path class="c-median s1" d={join(fan.map((k) => [xAt(k.at), y(k.value)] as const))} />
        </>
      )}
      {future && <line class="c-now" x1={xAt(now)} x2={xAt(now)} y1={0} y2={HEIGHT} />}
      <path class="c-line s1" d={runs.map(path).join('')} />
      <circle class="c-dot s1" cx={x(end.i)} cy={y(end.v)} r={2.75} />
      {marks.map((mark) => {
        const at = Date.parse(mark.timestamp)
        const value = values[Math.floor((at - track.from) / track.stepMs)]
        if (value === null || value === undefined) return null
        return (
          <g key={mark.id}>
            <circle class="c-anomaly" cx={xAt(at)} cy={y(value)} r={RADIUS[mark.severity]} />
            {mark.severity === 'high' && <circle class="c-anomaly-core" cx={xAt(at)} cy={y(value)} r={1.5} />}
          </g>
        )
      })}
    </>
  )
}
