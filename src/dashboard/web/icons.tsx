/** The shapes of the interface. Severity is told by shape and word, never by colour alone. */
import type { ComponentChildren } from 'preact'

const line = { fill: 'none', stroke: 'currentColor', 'stroke-linecap': 'round', 'stroke-linejoin': 'round' } as const
const cut = { fill: 'none', stroke: 'var(--surface)', 'stroke-linecap': 'round', 'stroke-linejoin': 'round' } as const

const SHAPES = {
  ok: (
    <>
      <circle cx="8" cy="8" r="7" />
      <path d="m4.8 8.2 2.2 2.2 4.2-4.6" {...cut} stroke-width="1.7" />
    </>
  ),
  info: (
    <>
      <circle cx="8" cy="8" r="7" />
      <path d="M8 7.2v4.2M8 4.6v.2" {...cut} stroke-width="1.8" />
    </>
  ),
  warning: (
    <>
      <path d="M8 1.2c.5 0 .9.3 1.1.7l6 10.8c.5.9-.1 1.9-1.1 1.9H2c-1 0-1.6-1-1.1-1.9l6-10.8c.2-.4.6-.7 1.1-.7Z" />
      <path d="M8 5.8v3.6M8 12v.1" {...cut} stroke-width="1.8" />
    </>
  ),
  critical: (
    <>
      <path d="M6.9.9a1.6 1.6 0 0 1 2.2 0l6 6a1.6 1.6 0 0 1 0 2.2l-6 6a1.6 1.6 0 0 1-2.2 0l-6-6a1.6 1.6 0 0 1 0-2.2Z" />
      <path d="M8 4.2v4.4M8 11.4v.1" {...cut} stroke-width="1.8" />
    </>
  ),
  emergency: (
    <>
      <path d="M5 .8h6L15.2 5v6L11 15.2H5L.8 11V5Z" />
      <path d="M6 4.2v4.4M6 11.4v.1M10 4.2v4.4M10 11.4v.1" {...cut} stroke-width="1.7" />
    </>
  ),
  nodata: (
    <g {...line} stroke-width="1.5">
      <circle cx="8" cy="8" r="6.2" stroke-dasharray="2.4 2.4" />
      <path d="M5.6 8h4.8" />
    </g>
  ),
  live: <circle cx="8" cy="8" r="4" />,
  off: (
    <g {...line} stroke-width="1.6">
      <circle cx="8" cy="8" r="5" />
      <path d="m3 13 10-10" />
    </g>
  ),
  up: <path d="M4 12 12 4M6 4h6v6" {...line} stroke-width="1.7" />,
  down: <path d="m4 4 8 8M6 12h6V6" {...line} stroke-width="1.7" />,
  flat: <path d="M3 8h10M9.5 4.5 13 8l-3.5 3.5" {...line} stroke-width="1.7" />,
  search: (
    <g {...line} stroke-width="1.6">
      <circle cx="7" cy="7" r="4.5" />
      <path d="m10.5 10.5 3.5 3.5" />
    </g>
  ),
  theme: (
    <>
      <circle cx="8" cy="8" r="5.7" fill="none" stroke="currentColor" stroke-width="1.6" />
      <path d="M8 2.3a5.7 5.7 0 0 1 0 11.4Z" />
    </>
  ),
  retry: <path d="M13 8a5 5 0 1 1-1.6-3.7M13 2.5V5h-2.5" {...line} stroke-width="1.5" />,
  check: <path d="m3 8.5 3.2 3.3L13 4.6" {...line} stroke-width="1.8" />,
  silence: (
    <g {...line} stroke-width="1.5">
      <path d="M4.5 6.5a3.5 3.5 0 0 1 6-2.4M11.5 7.5V9l1.3 2H5M6.8 13.2h2.4M2.5 13.5l11-11" />
    </g>
  ),
  clock: (
    <g {...line} stroke-width="1.5">
      <circle cx="8" cy="8" r="6" />
      <path d="M8 4.6V8l2.3 1.5" />
    </g>
  ),
  send: <path d="M2 8h11M9 4l4 4-4 4" {...line} stroke-width="1.5" />,
} satisfies Record<string, ComponentChildren>

export type IconName = keyof typeof SHAPES

export function Icon({ name, class: extra = '' }: { name: IconName; class?: string }) {
  return (
    <svg class={`i ${extra}`} viewBox="0 0 16 16" aria-hidden="true">
      {SHAPES[name]}
    </svg>
  )
}

export function Logo() {
  return (
    <svg viewBox="0 0 22 22" aria-hidden="true">
      <rect x="1" y="1" width="20" height="20" rx="6" fill="var(--accent-fill)" />
      <path d="M6.5 15.5V10M11 15.5v-9M15.5 15.5v-3" stroke="#fff" stroke-width="2.4" stroke-linecap="round" />
    </svg>
  )
}
