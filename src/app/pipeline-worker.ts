/** The pipeline thread of control: decode, WAL, head, flush, and the consumers of the WAL, which are composed here. */
import { runPipeline } from '../metrics/index.ts'

runPipeline()
