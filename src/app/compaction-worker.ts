/** The compaction thread of control: merges segments, makes roll-ups; started when there is work. */
import { runCompactionWorker } from '../metrics/index.ts'

runCompactionWorker()
