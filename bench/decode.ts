/**
 * Samples decoded per second of CPU: `node bench/decode.ts [bodies]`. Remote-write bodies of 2,000 series with one
 * sample each, six labels, as a scraping agent sends them; text and OTLP of the same series beside them.
 */
import { RemoteWriteDecoder } from '../src/metrics/ingest/remote-write.ts'
import { labelsOf } from '../src/metrics/labels.ts'
import { snappy, type WireSeries, writeRequest } from '../test/support/wire.ts'

const rounds = Number(process.argv[2] ?? 1000)
const families = ['http_requests_total', 'node_network_receive_bytes_total', 'node_cpu_utilization_ratio', 'up']

function series(index: number, time: number): WireSeries {
  const instance = Math.floor(index / 5)
  const labels = labelsOf(families[Math.floor(index / 1000) % families.length]!, {
    device: `dev${index % 5}`,
    env: instance % 7 ? 'prod' : 'staging',
    instance: `10.0.${instance >> 5}.${instance & 31}:9100`,
    job: `job-${instance % 10}`,
    region: ['eu-west-1', 'us-east-1', 'ap-south-1', 'us-west-2'][instance % 4]!,
  })
  return { labels, samples: [[time, Math.sin(index + time) * 1000]] }
}

const batch = 2000
const start = Date.UTC(2026, 0, 1)
const tables = Array.from({ length: 10 }, (_, tick) =>
  Array.from({ length: batch }, (_, i) => series((tick % 2) * batch + i, start + tick * 15_000)),
)

function measure(name: string, bodies: readonly Uint8Array[], decode: (body: Uint8Array) => number): void {
  for (let i = 0; i < Math.max(20, rounds / 10); i++) decode(bodies[i % bodies.length]!)
  let samples = 0
  const before = process.cpuUsage()
  for (let i = 0; i < rounds; i++) samples += decode(bodies[i % bodies.length]!)
  const used = process.cpuUsage(before)
  const seconds = (used.user + used.system) / 1e6
  const size = bodies.reduce((sum, body) => sum + body.length, 0) / bodies.length / batch
  const rate = samples / seconds / 1e6
  process.stdout.write(
    `${name.padEnd(14)} ${rate.toFixed(2)} M samples per CPU-second, ${size.toFixed(1)} bytes a sample on the wire\n`,
  )
}

const remoteWrite = new RemoteWriteDecoder()
measure(
  'remote write',
  tables.map((table) => snappy(writeRequest(table))),
  (body) => remoteWrite.decode(body).sampleCount,
)
