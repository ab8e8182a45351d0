/** The simulation thread of control: plays stored history through policies. Started for one question, ended after it. */
import { parentPort } from 'node:worker_threads'
import { answer } from '../base/rpc.ts'
import { runSimulation } from '../scaling/index.ts'

answer(parentPort!, { simulate: runSimulation })
