import { describe, test } from 'vitest'
import { postgresStore, writerAsProcess, writerInProcess } from '../../../test/support/market-store.ts'
import { need } from '../../../test/support/need.ts'
import { testMarketStore } from './store.contract.ts'

testMarketStore('the writer in this process', writerInProcess, { time: true })
testMarketStore('the writer as a process', writerAsProcess, { time: false })

const postgres = need('postgresql')
if (postgres === null) describe.skipIf(true)('PostgreSQL', () => test('holds the same', () => {}))
else testMarketStore('PostgreSQL', () => postgresStore(postgres), { time: true })
