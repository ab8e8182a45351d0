/** Addresses that are shown to a person. */
import type { PlatformConfig } from '../config/index.ts'

/** Where the platform is reached: the configured public address, or the one it listens on. */
export function platformUrl({ publicUrl, host, port }: Pick<PlatformConfig, 'publicUrl' | 'host' | 'port'>): string {
  if (publicUrl !== null) return publicUrl.replace(/\/$/, '')
  const name = host === '0.0.0.0' || host === '::' ? 'localhost' : host.includes(':') ? `[${host}]` : host
  return `http://${name}:${port}`
}

/** The code stands in the fragment: a browser never sends it, so no log ever holds it. */
export const loginLink = (url: string, code: string) => `${url.replace(/\/$/, '')}/login#code=${code}`
