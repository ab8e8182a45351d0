/** The dashboard's front door: what runs in control, what it reads, what can be configured. */
export type { WebAssets } from './assets.ts'
export { loadAssets } from './assets.ts'
export type { Dashboard, DashboardDeps } from './dashboard.ts'
export { createDashboard } from './dashboard.ts'
export type { ClientSocket } from './hub.ts'
export type { AlertCounts, DashboardAlert, DashboardAnomaly, DashboardInsight } from './protocol.ts'
export type {
  DashboardSources,
  EngineView,
  EventView,
  ForecastView,
  InstancesView,
  Point,
  Points,
  ProcessView,
} from './sources.ts'
export { createScorer } from './stored-score.ts'
