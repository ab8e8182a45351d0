/** The training thread of control: fits models and forecasts. Started for a cycle of analytics, ended after it. */
import { parentPort } from 'node:worker_threads'
import { type TrainJob, train } from '../analytics/index.ts'
import { answer } from '../base/rpc.ts'

answer(parentPort!, { train: (job: TrainJob) => train(job) })
