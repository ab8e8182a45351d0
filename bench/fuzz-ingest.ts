/**
 * A million malformed bodies: `node bench/fuzz-ingest.ts [bodies] [seed]`. Good bodies of every format, mutated (bits,
 * bytes, pieces cut, doubled, moved, joined with others, lengths made huge), go through the decoders. Each has to be
 * refused cleanly or read into columns whose every range lies inside its array, in bounded time and memory; anything
 * else is printed with the seed that makes it again, and the exit code is 1.
 */
import { AppError } from '../src/base/errors.ts'
import { seededRandom } from '../src/base/random.ts'
import type { SampleColumns } from '../src/metrics/columns.ts'
import { Decoder, type IngestFormat } from '../src/metrics/ingest/decode.ts'
import { labelsOf } from '../src/metrics/labels.ts'
import {
  concat,
  doubleField,
  fixed64Field,
  labelField,
  message,
  sampleField,
  snappy,
  snappyStored,
  textField,
  varintField,
  writeRequest,
} from '../test/support/wire.ts'

const bodies = Number(process.argv[2] ?? 1_000_000)
const seed = Number(process.argv[3] ?? Math.floor(Math.random() * 2 ** 31))
const SLOW_MS = 200
const MEMORY_MAX = 600 * 2 ** 20

const now = Date.UTC(2026, 0, 1)
const series = Array.from({ length: 8 }, (_, i) => ({
  labels: labelsOf('http_requests_total', { instance: `10.0.0.${i}:9100`, job: 'job', path: '/a/ü'.repeat(i) }),
  samples: [
    [now, i],
    [now + 1, i / 3],
  ] as [number, number][],
}))
const scattered = message(
  1,
  labelField('__name__', 'm'),
  sampleField(1, 2),
  labelField('a', 'b'),
  message(3, doubleField(2, 1)),
  message(4, varintField(1, 1)),
)
const writes = [
  writeRequest(series),
  concat(writeRequest(series.slice(0, 2)), scattered, message(3, textField(2, 'm'))),
]
const text = `# HELP a b\n# TYPE a counter\na_total{b="c \\" \\\\ \\n",d="e"} 1.5e3 1767225600\n{"f.g","h.i"="j"} +Inf\nk NaN # {l="m"} 1 2\n# EOF\n`
const point = message(
  1,
  fixed64Field(3, BigInt(now) * 1_000_000n),
  doubleField(4, 1.5),
  message(7, textField(1, 'k'), message(2, textField(1, 'v'))),
)
const otlp = message(
  1,
  message(1, message(1, textField(1, 'service.name'), message(2, textField(1, 's')))),
  message(
    2,
    message(2, textField(1, 'a.b'), textField(3, 's'), message(5, point)),
    message(2, textField(1, 'c'), message(7, point, varintField(2, 2), varintField(3, 1))),
  ),
)
const otlpPoint = {
  timeUnixNano: `${now}000000`,
  asDouble: 1.5,
  attributes: [{ key: 'k', value: { stringValue: 'v' } }],
}
const otlpJson = JSON.stringify({
  resourceMetrics: [
    {
      resource: { attributes: [{ key: 'service.name', value: { stringValue: 's' } }] },
      scopeMetrics: [
        {
          metrics: [
            { name: 'a.b', unit: 's', gauge: { dataPoints: [otlpPoint] } },
            {
              name: 'h',
              histogram: {
                aggregationTemporality: 2,
                dataPoints: [{ ...otlpPoint, count: '3', bucketCounts: ['1', '2'], explicitBounds: [1] }],
              },
            },
          ],
        },
      ],
    },
  ],
})
const csv = `timestamp,value,host,labels\n${now},1.5,a,"{b=""c""}"\n2026-01-01T00:00:00Z,NaN,,d\n`

interface Seed {
  readonly format: IngestFormat
  readonly body: Uint8Array
  /** What stands around the mutated bytes, so that mutations reach the inner decoder too. */
  readonly wrap: (body: Uint8Array) => Uint8Array
}
const same = (body: Uint8Array) => body
const seeds: readonly Seed[] = [
  ...writes.map((body): Seed => ({ format: { kind: 'remote_write' }, body: snappy(body), wrap: same })),
  ...writes.map((body): Seed => ({ format: { kind: 'remote_write' }, body, wrap: snappyStored })),
  { format: { kind: 'openmetrics', whole: true }, body: Buffer.from(text), wrap: same },
  { format: { kind: 'prometheus', whole: true }, body: Buffer.from(text), wrap: same },
  { format: { kind: 'otlp_protobuf' }, body: otlp, wrap: same },
  { format: { kind: 'otlp_json' }, body: Buffer.from(otlpJson), wrap: same },
  { format: { kind: 'csv', metric: 'm' }, body: Buffer.from(csv), wrap: same },
]

const random = seededRandom(seed)
const below = (n: number) => Math.floor(random.next() * n)
const HUGE = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x0f)

function mutate(body: Uint8Array): Uint8Array {
  let bytes = Buffer.from(body)
  for (let i = 1 + below(random.next() < 0.6 ? 1 : 6); i > 0; i--) {
    const at = below(bytes.length + 1)
    const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)]
    switch (below(8)) {
      case 0:
        if (at < bytes.length) bytes[at] = bytes[at]! ^ (1 << below(8))
        break
      case 1:
        if (at < bytes.length) bytes[at] = below(256)
        break
      case 2:
        bytes = Buffer.concat([head, tail.subarray(below(tail.length + 1))])
        break
      case 3:
        bytes = Buffer.concat([head, tail.subarray(0, below(40)), tail])
        break
      case 4:
        bytes = Buffer.concat([head, HUGE, tail])
        break
      case 5:
        bytes = Buffer.concat([tail, head])
        break
      case 6:
        bytes = Buffer.concat([head, seeds[below(seeds.length)]!.body.subarray(below(20), 20 + below(60)), tail])
        break
      default:
        bytes = Buffer.concat([head, Uint8Array.from({ length: below(8) }, () => below(256)), tail])
    }
  }
  return bytes
}

function check(columns: SampleColumns): void {
  const { entryCount, sampleCount, labelBytes, labelStart, labelEnd, sampleStart, times, values } = columns
  const fits = entryCount <= labelStart.length && sampleCount <= times.length && sampleCount <= values.length
  if (!fits || (sampleStart[entryCount] ?? 0) !== sampleCount) throw new Error('the counts do not fit the arrays')
  for (let e = 0; e < entryCount; e++) {
    const good =
      labelStart[e]! <= labelEnd[e]! && labelEnd[e]! <= labelBytes.length && sampleStart[e]! <= sampleStart[e + 1]!
    if (!good) throw new Error(`entry ${e} reaches outside`)
  }
}

const decoder = new Decoder({ bytesMax: 1 << 20, samplesMax: 100_000 })
let refused = 0
let read = 0
let slowest = 0
for (let i = 0; i < bodies; i++) {
  const { format, body, wrap } = seeds[below(seeds.length)]!
  const mutated = wrap(mutate(body))
  const began = performance.now()
  try {
    check(decoder.decode(format, mutated, now).columns)
    read++
  } catch (error) {
    const clean = error instanceof AppError && (error.status === 400 || error.status === 413)
    if (!clean) {
      process.stderr.write(
        `body ${i} of seed ${seed} (${format.kind}): ${error instanceof Error ? error.stack : error}\n`,
      )
      process.stderr.write(`${Buffer.from(mutated).toString('base64')}\n`)
      process.exit(1)
    }
    refused++
  }
  const took = performance.now() - began
  slowest = Math.max(slowest, took)
  if (i % 100_000 === 99_999) {
    const { rss } = process.memoryUsage()
    process.stdout.write(
      `${i + 1} bodies: ${refused} refused, ${read} read, slowest ${slowest.toFixed(1)} ms, ${(rss / 2 ** 20).toFixed(0)} MiB\n`,
    )
    if (rss > MEMORY_MAX) throw new Error(`memory grew beyond ${MEMORY_MAX} bytes (seed ${seed})`)
  }
}
process.stdout.write(`${bodies} bodies of seed ${seed}: ${refused} refused, ${read} read, none broke anything.\n`)
if (slowest > SLOW_MS)
  process.stdout.write(`The slowest took ${slowest.toFixed(1)} ms: look whether it was the machine.\n`)
