/** OTLP: translation by example, JSON and protobuf side by side, and hostile input. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Bytes,
  concat,
  doubleField,
  fixed64Field,
  message,
  textField,
  varint,
  varintField,
} from '../../../test/support/wire.ts'
import { AppError } from '../../base/errors.ts'
import { isStale } from '../columns.ts'
import { decodeLabels } from '../labels.ts'
import { decodeOtlpJson, decodeOtlpProtobuf, type OtlpResult } from './otlp.ts'
import { labelName, metricName } from './otlp-names.ts'

const T = 1_767_225_600_123
const NANOS = `${T}456789`

/** `name{a="b"} value @time`, in the order of the columns. */
function lines({ columns }: OtlpResult): string[] {
  const out: string[] = []
  for (let e = 0; e < columns.entryCount; e++) {
    const labels = decodeLabels(columns.labelBytes, columns.labelStart[e]!, columns.labelEnd[e]!)
    const name = labels.find(([n]) => n === '__name__')?.[1]
    const rest = labels.filter(([n]) => n !== '__name__').map(([n, v]) => `${n}=${v}`)
    for (let i = columns.sampleStart[e]!; i < columns.sampleStart[e + 1]!; i++) {
      const value = isStale(columns.values[i]!) ? 'stale' : columns.values[i]
      out.push(`${name}{${rest.join(',')}} ${value}${columns.times[i] === T ? '' : ` @${columns.times[i]}`}`)
    }
  }
  return out
}
const attribute = (key: string, stringValue: string) => ({ key, value: { stringValue } })
const request = (metrics: unknown[], attributes: unknown[] = []) => ({
  resourceMetrics: [{ resource: { attributes }, scopeMetrics: [{ scope: { name: 's' }, metrics }] }],
})
const json = (value: unknown) => decodeOtlpJson(Buffer.from(JSON.stringify(value)), 1000)
const point = (value: object, attributes: unknown[] = []) => ({ timeUnixNano: NANOS, attributes, ...value })

describe('names', () => {
  test.each([
    ['http.server.duration', 's', null, 'http_server_duration_seconds'],
    ['http.server.duration.seconds', 's', null, 'http_server_duration_seconds'],
    ['system.network.io', 'By', 'total', 'system_network_io_bytes_total'],
    ['requests', '{request}', 'total', 'requests_total'],
    ['requests_total', '1', 'total', 'requests_total'],
    ['total.requests', '', 'total', 'requests_total'],
    ['system.cpu.utilization', '1', 'ratio', 'system_cpu_utilization_ratio'],
    ['disk.speed', 'By/s', null, 'disk_speed_bytes_per_second'],
    ['disk.speed', 'MiBy/m', null, 'disk_speed_mebibytes_per_minute'],
    ['rate', '{packet}/s', null, 'rate_per_second'],
    ['fill', '%', null, 'fill_percent'],
    ['2xx', '', 'total', '_2xx_total'],
    ['a..b--c', 'widgets', null, 'a_b_c_widgets'],
    ['job:x', '', null, 'job:x'],
  ] as const)('%s in %s, %s → %s', (name, unit, ending, expected) => {
    expect(metricName(name, unit, ending)).toBe(expected)
  })
  test.each([
    ['k8s.pod.name', 'k8s_pod_name'],
    ['3rd', 'key_3rd'],
    ['_own', '_own'],
    ['__name__', 'key__name__'],
    ['ü', '_'],
  ])('label %s → %s', (key, expected) => expect(labelName(key)).toBe(expected))
})

describe('JSON', () => {
  test('gauges and sums, with the resource as job, instance and target_info', () => {
    const metrics = [
      { name: 'temp', unit: 'Cel', gauge: { dataPoints: [point({ asDouble: 21.5 }, [attribute('room', 'a')])] } },
      { name: 'load', gauge: { dataPoints: [point({ asInt: '7' }), point({ asDouble: 'NaN' })] } },
      { name: 'hits', sum: { aggregationTemporality: 2, isMonotonic: true, dataPoints: [point({ asInt: 3 })] } },
      { name: 'open', sum: { aggregationTemporality: 2, dataPoints: [point({ asInt: -3 })] } },
    ]
    const resource = [
      attribute('service.name', 'shop'),
      attribute('service.namespace', 'eu'),
      attribute('service.instance.id', 'i1'),
      attribute('host.name', 'h1'),
    ]
    expect(lines(json(request(metrics, resource)))).toEqual([
      'temp_celsius{instance=i1,job=eu/shop,room=a} 21.5',
      'load{instance=i1,job=eu/shop} 7',
      'load{instance=i1,job=eu/shop} NaN',
      'hits_total{instance=i1,job=eu/shop} 3',
      'open{instance=i1,job=eu/shop} -3',
      'target_info{host_name=h1,instance=i1,job=eu/shop} 1',
    ])
  })

  test('a resource that says nothing of itself has no target_info', () => {
    const metrics = [{ name: 'a', gauge: { dataPoints: [point({ asInt: 1 })] } }]
    expect(lines(json(request(metrics, [attribute('service.name', 'shop')])))).toEqual(['a{job=shop} 1'])
    expect(lines(json(request(metrics, [attribute('host.name', 'h')])))).toEqual(['a{} 1'])
  })

  test('histograms become cumulative buckets', () => {
    const dataPoints = [point({ count: '6', sum: 12.5, bucketCounts: ['1', 2, '3'], explicitBounds: [0.1, 1e-7] })]
    const metrics = [{ name: 'lat', unit: 'ms', histogram: { aggregationTemporality: 2, dataPoints } }]
    expect(lines(json(request(metrics)))).toEqual([
      'lat_milliseconds_bucket{le=0.1} 1',
      'lat_milliseconds_bucket{le=0.0000001} 3',
      'lat_milliseconds_bucket{le=+Inf} 6',
      'lat_milliseconds_count{} 6',
      'lat_milliseconds_sum{} 12.5',
    ])
  })

  test('summaries', () => {
    const dataPoints = [point({ count: 2, sum: 3, quantileValues: [{ quantile: 0.5, value: 1 }, { value: 0.5 }] })]
    expect(lines(json(request([{ name: 's', summary: { dataPoints } }])))).toEqual([
      's{quantile=0.5} 1',
      's{quantile=0} 0.5',
      's_count{} 2',
      's_sum{} 3',
    ])
  })

  test('a point without a recorded value ends its series', () => {
    const dataPoints = [point({ flags: 1 })]
    expect(lines(json(request([{ name: 'a', gauge: { dataPoints } }])))).toEqual(['a{} stale'])
  })

  test('counts what it does not take', () => {
    const result = json(
      request([
        { name: 'a', sum: { aggregationTemporality: 1, dataPoints: [point({ asInt: 1 }), point({ asInt: 1 })] } },
        { name: 'b', histogram: { dataPoints: [point({ count: 1 })] } },
        { name: 'c', exponentialHistogram: { aggregationTemporality: 2, dataPoints: [point({})] } },
        { name: 'd', gauge: { dataPoints: [{ asInt: 1 }, point({})] } },
        { name: 'e', histogram: { aggregationTemporality: 2, dataPoints: [point({ explicitBounds: [1] })] } },
        { name: 'f', gauge: { dataPoints: [point({ asInt: 5 })] } },
      ]),
    )
    expect(lines(result)).toEqual(['f{} 5'])
    expect(Object.fromEntries(result.rejected)).toEqual({
      'delta temporality': 3,
      'exponential histogram': 1,
      'no time': 1,
      'no value': 1,
      'histogram without matching bounds': 1,
    })
  })

  test('attributes of all kinds, and those that meet in one label', () => {
    const attributes = [
      { key: 'b.c', value: { stringValue: 'two' } },
      { key: 'b-c', value: { intValue: '1' } },
      { key: 'd', value: { boolValue: false } },
      { key: 'e', value: { doubleValue: 0.5 } },
      { key: 'f', value: { arrayValue: { values: [{ intValue: 1 }, { stringValue: 'x' }] } } },
      { key: 'g', value: { kvlistValue: { values: [{ key: 'k', value: { boolValue: true } }] } } },
      { key: 'h', value: {} },
    ]
    const metrics = [{ name: 'a', gauge: { dataPoints: [point({ asInt: 1 }, attributes)] } }]
    expect(lines(json(request(metrics)))).toEqual(['a{b_c=1;two,d=false,e=0.5,f=[1,"x"],g={"k":true}} 1'])
  })

  test.each([
    ['not JSON', '{', /not JSON/],
    ['a list', '[]', /expected an object/],
    ['a text for a list', '{"resourceMetrics":"x"}', /resourceMetrics: expected a list/],
    [
      'a number for a point',
      JSON.stringify(request([{ gauge: { dataPoints: [1] } }])),
      /dataPoints: expected an object/,
    ],
    [
      'a word for a value',
      JSON.stringify(request([{ gauge: { dataPoints: [point({ asDouble: 'x' })] } }])),
      /a number/,
    ],
    ['a word for a time', JSON.stringify(request([{ gauge: { dataPoints: [{ timeUnixNano: 'x' }] } }])), /timeUnix/],
  ])('refuses %s', (_, body, why) => {
    expect(() => decodeOtlpJson(Buffer.from(body), 1000)).toThrow(why)
    expect(() => decodeOtlpJson(Buffer.from(body), 1000)).toThrow(AppError)
  })

  test('keeps to its limit of samples', () => {
    const dataPoints = Array.from({ length: 1001 }, () => point({ asInt: 1 }))
    expect(() => json(request([{ name: 'a', gauge: { dataPoints } }]))).toThrow(
      expect.objectContaining({ status: 413 }),
    )
  })
})

// ------------------------------------------------------------------------------------------------- protobuf

const pair = (field: number, key: string, value: string) =>
  message(field, textField(1, key), message(2, textField(1, value)))
const time = fixed64Field(3, BigInt(NANOS))
const doubles = (field: number, values: number[]) =>
  message(field, concat(...values.map((v) => doubleField(1, v).subarray(1))))
const fixeds = (field: number, values: bigint[]) =>
  message(field, concat(...values.map((v) => fixed64Field(1, v).subarray(1))))

const protobufRequest = (...metrics: Bytes[]) =>
  message(1, message(1, pair(1, 'service.name', 'shop'), pair(1, 'host.name', 'h')), message(2, ...metrics))
const everything = protobufRequest(
  message(
    2,
    textField(1, 'temp'),
    textField(3, 'Cel'),
    message(5, message(1, time, doubleField(4, 21.5), pair(7, 'room', 'a'))),
  ),
  message(
    2,
    textField(1, 'hits'),
    message(7, message(1, time, fixed64Field(6, -3n)), varintField(2, 2), varintField(3, 1)),
  ),
  message(
    2,
    textField(1, 'lat'),
    message(
      9,
      varintField(2, 2),
      message(1, time, fixed64Field(4, 3n), doubleField(5, 2.5), fixeds(6, [1n, 2n]), doubles(7, [0.5])),
    ),
  ),
  message(
    2,
    textField(1, 'q'),
    message(
      11,
      message(1, time, fixed64Field(4, 1n), doubleField(5, 2), message(6, doubleField(1, 0.5), doubleField(2, 7))),
    ),
  ),
  message(2, textField(1, 'x'), message(10, message(1, time), message(1, varintField(99, 1)))),
)

describe('protobuf', () => {
  test('reads as JSON does', () => {
    const result = decodeOtlpProtobuf(everything, 1000)
    expect(lines(result)).toEqual([
      'temp_celsius{job=shop,room=a} 21.5',
      'hits_total{job=shop} -3',
      'lat_bucket{job=shop,le=0.5} 1',
      'lat_bucket{job=shop,le=+Inf} 3',
      'lat_count{job=shop} 3',
      'lat_sum{job=shop} 2.5',
      'q{job=shop,quantile=0.5} 7',
      'q_count{job=shop} 1',
      'q_sum{job=shop} 2',
      'target_info{host_name=h,job=shop} 1',
    ])
    expect(Object.fromEntries(result.rejected)).toEqual({ 'exponential histogram': 2 })
  })

  test('unpacked lists are the same as packed ones', () => {
    const unpacked = concat(fixed64Field(6, 1n), fixed64Field(6, 2n), doubleField(7, 0.5))
    const body = protobufRequest(
      message(2, textField(1, 'lat'), message(9, varintField(2, 2), message(1, time, fixed64Field(4, 3n), unpacked))),
    )
    expect(lines(decodeOtlpProtobuf(body, 1000)).slice(0, 2)).toEqual([
      'lat_bucket{job=shop,le=0.5} 1',
      'lat_bucket{job=shop,le=+Inf} 3',
    ])
  })

  test('nesting without end is refused', () => {
    let value: Bytes = textField(1, 'x')
    for (let i = 0; i < 100; i++) value = message(5, message(1, value))
    const body = message(1, message(1, message(1, textField(1, 'k'), message(2, value))))
    expect(() => decodeOtlpProtobuf(body, 1000)).toThrow(/nested too deep/)
  })

  test('any mutation is read or refused', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(), fc.nat(255), fc.constantFrom(0, 1, 2)), { maxLength: 5 }),
        (mutations) => {
          let bytes = Buffer.from(everything)
          for (const [place, byte, kind] of mutations) {
            const at = place % bytes.length
            const rest = bytes.subarray(at)
            if (kind === 0) bytes[at] = byte
            else if (kind === 1) bytes = Buffer.concat([bytes.subarray(0, at), varint(byte), rest])
            else bytes = Buffer.concat([bytes.subarray(0, at), rest.subarray(1)])
          }
          try {
            decodeOtlpProtobuf(bytes, 1000)
          } catch (error) {
            if (!(error instanceof AppError)) throw error
          }
        },
      ),
      { numRuns: 2000 },
    )
  })

  test('any JSON is read or refused', () => {
    const keys = fc.constantFrom(
      ...[
        'resourceMetrics',
        'resource',
        'scopeMetrics',
        'metrics',
        'gauge',
        'sum',
        'histogram',
        'summary',
        'dataPoints',
      ],
      ...['attributes', 'key', 'value', 'asDouble', 'asInt', 'timeUnixNano', 'name', 'unit', 'count', 'bucketCounts'],
    )
    const { tree } = fc.letrec((tie) => ({
      leaf: fc.oneof(fc.constantFrom(null, 1, '1', true, 'x', -1.5, NANOS), fc.string()),
      tree: fc.oneof(
        { maxDepth: 8 },
        tie('leaf'),
        fc.array(tie('tree'), { maxLength: 3 }),
        fc.dictionary(keys, tie('tree'), { maxKeys: 4 }),
      ),
    }))
    fc.assert(
      fc.property(tree, fc.boolean(), (value, wrapped) => {
        try {
          json(wrapped ? request([value]) : value)
        } catch (error) {
          if (!(error instanceof AppError)) throw error
        }
      }),
      { numRuns: 1000 },
    )
  })
})
