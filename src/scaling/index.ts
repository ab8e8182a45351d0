/** The front door of scaling. */

export {
  carriedOut,
  type Decide,
  decide,
  newState,
  type Outcome,
  type ScalerState,
} from './decide.ts'
export { isSchedule } from './limits.ts'
export type * from './model.ts'
