/**
 * Samples decoded per second of CPU: `node bench/decode.ts [bodies]`. Remote-write bodies of 2,000 series with one
 * sample each, six labels, as a scraping agent sends them; text and OTLP of the same series beside them.
 */
import { Decoder, type IngestFormat } from '../src/metrics/ingest/decode.ts'
import { labelsOf, labelValue, toObject } from '../src/metrics/labels.ts'
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

const decoder = new Decoder()
const run = (name: string, format: IngestFormat, encode: (table: readonly WireSeries[]) => Uint8Array) =>
  measure(name, tables.map(encode), (body) => decoder.decode(format, body, start).columns.sampleCount)

run('remote write', { kind: 'remote_write' }, (table) => snappy(writeRequest(table)))
run('text', { kind: 'prometheus', whole: true }, (table) => Buffer.from(table.map(textLine).join('')))
run('OTLP JSON', { kind: 'otlp_json' }, (table) => Buffer.from(JSON.stringify(otlp(table))))

function textLine({ labels, samples }: WireSeries): string {
  const pairs = labels.filter(([n]) => n !== '__name__').map(([n, v]) => `${n}="${v}"`)
  const [time, value] = samples[0]!
  return `${labelValue(labels, '__name__')}{${pairs.join(',')}} ${value} ${time}\n`
}

function otlp(table: readonly WireSeries[]) {
  const metrics = table.map(({ labels, samples }) => {
    const attributes = Object.entries(toObject(labels)).map(([key, stringValue]) => ({ key, value: { stringValue } }))
    const [time, asDouble] = samples[0]!
    const dataPoints = [{ timeUnixNano: `${time}000000`, asDouble, attributes }]
    return { name: labelValue(labels, '__name__'), gauge: { dataPoints } }
  })
  return { resourceMetrics: [{ resource: {}, scopeMetrics: [{ metrics }] }] }
}
