import { expect, test } from 'vitest'
import { routeTable } from './table.ts'

const table = routeTable([
  { prefix: '/', kind: 'root' },
  { prefix: '/api/v1/write', kind: 'write', body: 'ingest' },
  { prefix: '/api/v1/write/deep', kind: 'deep' },
  { prefix: '/health', kind: 'health', monitoring: true },
])

test.each([
  ['/', 'root'],
  ['/?x=1', 'root'],
  ['/api/v1/write', 'write'],
  ['/api/v1/write?a=/api', 'write'],
  ['/api/v1/write/more', 'write'],
  ['/api/v1/write/deep/er', 'deep'],
  ['/api/v1/writer', 'root'],
  ['/healthy', 'root'],
  ['/health', 'health'],
  ['//health', 'root'],
])('%s belongs to %s', (url, kind) => {
  expect(table.find(url)?.kind).toBe(kind)
})

test('what no prefix covers belongs to nobody', () => {
  expect(routeTable([{ prefix: '/a', kind: 'a' }]).find('/b')).toBeNull()
  expect(table.find('*')).toBeNull()
})

test('a route says which limit of body holds and whether it is monitoring', () => {
  expect(table.find('/api/v1/write')).toMatchObject({ body: 'ingest', monitoring: false })
  expect(table.find('/health')).toMatchObject({ body: 'normal', monitoring: true })
})
