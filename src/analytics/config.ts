/** What can be configured about analytics. */
import { integer } from '../base/config-key.ts'

export const analyticsKeys = {
  pointMetadataMax: integer('analytics.point_metadata_max', 1_000_000, {
    min: 0,
    max: 100_000_000,
    live: true,
    help: 'How many metadata objects of pushed data points are kept; the oldest go first.',
  }),
}
