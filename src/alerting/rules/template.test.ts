import { describe, expect, test } from 'vitest'
import { render, templateProblem } from './template.ts'

const scope = { labels: { instance: 'web-1:9100', job: 'api', env: 'prod' }, value: 1234.5678 }

describe('templates', () => {
  test.each([
    ['plain', 'plain'],
    ['{{ $labels.instance }} is down', 'web-1:9100 is down'],
    ['{{ .Labels.job }}/{{.Labels.nothing}}', 'api/'],
    ['{{ $value }}', '1234.5678'],
    ['{{ .Value }}', '1234.5678'],
    ['{{ $value | humanize }}', '1.235k'],
    ['{{ humanize $value }}', '1.235k'],
    ['{{ $value | humanize1024 }}', '1.206ki'],
    ['{{ humanizeDuration 3725 }}', '1h 2m 5s'],
    ['{{ humanizeDuration 90061 }}', '1d 1h 1m 1s'],
    ['{{ humanizeDuration 12.34 }}', '12.34s'],
    ['{{ humanizeDuration 0.005 }}', '5ms'],
    ['{{ 0.1234 | humanizePercentage }}', '12.34%'],
    ['{{ humanizeTimestamp 1435065584.128 }}', '2015-06-23 13:19:44 +0000 UTC'],
    ['{{ printf "%.2f" $value }}', '1234.57'],
    ['{{ printf "%s has %d (%5.1f%%)" $labels.job 7 12.345 }}', 'api has 7 ( 12.3%)'],
    ['{{ $value | printf "%.0f" }}', '1235'],
    ['{{ $labels.job | toUpper | title }}', 'API'],
    ['{{ stripPort $labels.instance }}', 'web-1'],
    ['{{ if eq $labels.env "prod" }}page{{ else }}mail{{ end }}', 'page'],
    ['{{ if gt $value 2000.0 }}big{{ else if gt $value 1000.0 }}middle{{ else }}small{{ end }}', 'middle'],
    ['{{ if and (eq $labels.env "dev") true }}a{{ end }}b', 'b'],
    ['{{ with $labels.instance }}on {{ . }}{{ end }}', 'on web-1:9100'],
    ['{{ $x := $labels.job }}{{ $x }}', 'api'],
    ['a {{- " b " -}} c', 'a b c'],
    ['{{/* nothing */}}x', 'x'],
  ])('%s gives %s', (template, text) => {
    expect(templateProblem(template)).toBeNull()
    expect(render(template, scope)).toBe(text)
  })

  test.each([
    ['{{ $labels.instance', 'a {{ has no }}'],
    ['{{ nosuch $value }}', 'there is no function nosuch'],
    ['{{ constructor }}', 'there is no function constructor'],
    ['{{ if true }}x', 'has no {{ end }}'],
    ['{{ end }}', 'cannot stand here'],
    ['{{ $value | }}', 'an expression is missing'],
    ['{{ query "up" }}', 'there is no function query'],
  ])('%s: %s', (template, problem) => {
    expect(templateProblem(template)).toContain(problem)
    expect(render(template, scope)).toBe(template)
  })

  test.each([
    [0, '0'],
    [1, '1'],
    [1234567, '1.235M'],
    [12345678901, '12.35G'],
    [0.000123, '123u'],
    [-1500, '-1.5k'],
    [Number.POSITIVE_INFINITY, '+Inf'],
    [Number.NaN, 'NaN'],
  ])('humanize %d is %s', (value, text) => {
    expect(render('{{ humanize $value }}', { labels: {}, value })).toBe(text)
  })

  test('labels cannot reach what is not theirs', () => {
    expect(render('{{ $labels.constructor }}{{ $labels.__proto__ }}', scope)).toBe('')
  })
})
