/** Light or dark: the system's choice until the user switches, then the user's, remembered on this machine. */
import { signal } from '@preact/signals'

const KEY = 'om-theme'
type Theme = 'light' | 'dark'

const system = matchMedia('(prefers-color-scheme: dark)')
const asked = new URLSearchParams(location.search).get('theme')
const chosen = signal<Theme | null>(asked === 'light' || asked === 'dark' ? asked : remembered())

/** Counts up whenever colours changed, for what is drawn on a canvas. */
export const colours = signal(0)

export function startTheme(): void {
  apply()
  system.addEventListener('change', () => colours.value++)
}

export function switchTheme(): void {
  const dark = chosen.value ? chosen.value === 'dark' : system.matches
  chosen.value = dark ? 'light' : 'dark'
  keep(KEY, chosen.value)
  apply()
}

function apply() {
  if (chosen.value) document.documentElement.dataset.theme = chosen.value
  colours.value++
}

function remembered(): Theme | null {
  const value = kept(KEY)
  return value === 'light' || value === 'dark' ? value : null
}

/** Storage may be switched off by the browser: then nothing is remembered, and nothing breaks. */
export function keep(key: string, value: string): void {
  try {
    localStorage.setItem(key, value)
  } catch {}
}

export function kept(key: string): string | null {
  try {
    return localStorage.getItem(key)
  } catch {
    return null
  }
}
