/** Labels as a parameter of a request: a JSON object of texts. */
import { AppError, invalid } from '../base/errors.ts'

/** Throws `AppError` 400 for what is no JSON, 422 for another shape. */
export function labelsFrom(text: string): Record<string, string> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new AppError(400, 'parameter_unreadable', 'The parameter labels is not a JSON object.')
  }
  const isLabels =
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((v) => typeof v === 'string')
  if (!isLabels) throw invalid([{ path: 'labels', message: 'expected a JSON object of texts' }])
  return value as Record<string, string>
}
