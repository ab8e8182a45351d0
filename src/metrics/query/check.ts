/** Whether an expression can give one value at a time, before it is asked: for rooms that keep expressions for later. */
import type { Expr } from './ast.ts'
import { ParseError } from './lex.ts'
import { parse } from './parse.ts'

/** Why it never can, in a sentence; null when it can. */
export function whyNoValue(text: string): string | null {
  let expr: Expr
  try {
    expr = parse(text)
  } catch (error) {
    if (error instanceof ParseError) return error.message
    throw error
  }
  if (expr.type === 'scalar' || expr.type === 'vector') return null
  return `it gives a ${expr.type}, not one value at a time`
}
