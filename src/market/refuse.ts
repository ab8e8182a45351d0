/** Makes a refusal: a value, part of normal life; nothing is thrown for what a request asks. */
import type { Refusal, RefusalCode } from './commands.ts'

export function refuse(code: RefusalCode, detail: string, facts?: Refusal['facts']): Refusal {
  return facts === undefined ? { code, detail } : { code, detail, facts }
}
