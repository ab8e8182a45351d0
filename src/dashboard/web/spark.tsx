/** A line of the last hour without axes: normal band behind, the end point marked. Never the only place of a fact. */
import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import type { FigureKey } from '../protocol.ts'
import type { Track } from './series.ts'

interface SparkProps {
  readonly track: Track | null
  readonly figure: FigureKey
  readonly normal: { readonly lower: number; readonly upper: number } | null
  readonly now: number
  /** The score moves in steps. */
  readonly steps?: boolean
}

const HEIGHT = 44

export function Spark({ track, figure, normal, now, steps }: SparkProps) {
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
          {drawing(track, figure, normal, now, width, steps)}
        </svg>
      )}
    </div>
  )
}

function drawing(
  track: Track,
  figure: FigureKey,
  normal: SparkProps['normal'],
  now: number,
  width: number,
  steps: boolean | undefined,
) {
  const values = track.series[figure] ?? []
  const points = values.flatMap((v, i) => (v === null ? [] : [{ i, v }]))
  if (points.length === 0) return null
  const all = [...points.map((p) => p.v), ...(normal ? [normal.lower, normal.upper] : [])]
  let [low, high] = [Math.min(...all), Math.max(...all)]
  // A line that hardly moves lies flat instead of filling the box with its noise.
  const least = Math.max(Math.abs(high) * 0.04, 0.5)
  if (high - low < least) [low, high] = [(low + high - least) / 2, (low + high + least) / 2]
  const span = Math.max(1, (now - track.from) / track.stepMs)
  const x = (i: number) => 2 + (Math.min(i + 0.5, span) / span) * (width - 7)
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
  const end = points.at(-1)!
  return (
    <>
      {normal && (
        <rect
          class="c-normal"
          x={0}
          width={width}
          y={y(normal.upper)}
          height={Math.max(1, y(normal.lower) - y(normal.upper))}
        />
      )}
      <path class="c-line s1" d={runs.map(path).join('')} />
      <circle class="c-dot s1" cx={x(end.i)} cy={y(end.v)} r={2.75} />
    </>
  )
}
