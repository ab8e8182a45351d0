import { describe, expect, test } from 'vitest'
import { render, renderAll, templateProblem } from './template.ts'

const scope = { labels: { instance: 'web-1:9100', job: 'api', env: 'prod' }, value: 1234.5678, now: 1_760_000_000_000 }

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
    ['{{ reReplaceAll "web-(\\\\d+)" "host $1" $labels.instance }}', 'host 1:9100'],
    ['{{ reReplaceAll "[0-9]" "#" "a1b22" }}{{ reReplaceAll "x*" "-" "ab" }}', 'a#b##-a-b-'],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: Go writes groups so
    ['{{ reReplaceAll "(?P<k>[a-z]+)" "<${k}>$$" "ab 1" }}', '<ab>$ 1'],
    ['{{ range $k, $v := $labels }}{{ $k }}={{ $v }} {{ end }}', 'env=prod instance=web-1:9100 job=api '],
    ['{{ with $labels.job }}{{ $.Labels.env }}{{ $value }}{{ . }}{{ end }}', 'prod1234.5678api'],
    ['{{ index $labels "job" }}', 'api'],
    ['{{ parseDuration "1h30m" | humanizeDuration }}', '1h 30m 0s'],
    ['{{ now | humanizeTimestamp }}', '2025-10-09 08:53:20 +0000 UTC'],
    ['{{ urlquery "a b&c" }}', 'a+b%26c'],
    ['{{ range query "nothing" }}x{{ else }}none{{ end }}', 'none'],
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
    ['{{ template "x" }}', 'cannot stand here'],
    ['{{ range $labels }}', 'has no {{ end }}'],
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
    expect(render('{{ humanize $value }}', { labels: {}, value, now: 0 })).toBe(text)
  })

  test('labels cannot reach what is not theirs', () => {
    expect(render('{{ $labels.constructor }}{{ $labels.__proto__ }}', scope)).toBe('')
  })

  test('queries are asked before, each once, one with the answer of another', async () => {
    const asked: string[] = []
    const series = [
      { labels: { job: 'b', n: '2' }, value: 2 },
      { labels: { job: 'a', n: '1' }, value: 1.5 },
    ]
    const said = await renderAll(
      {
        // As kube-prometheus has it.
        shards:
          '{{ printf `max{instance="%s"}` $labels.instance | query | first | value }} of {{ query "up" | sortByLabel "job" | first | value }}',
        list: '{{ range query "up" }}{{ .Labels.job }}:{{ .Value }} {{ end }}',
        next: '{{ with query "up" }}{{ . | first | label "n" | printf "next{n=%q}" | query | first | strvalue }}{{ end }}',
        fails: '{{ query "broken" | first | value }}',
        empty: '{{ range query "broken" }}x{{ else }}none{{ end }}',
      },
      scope,
      async (expr) => {
        asked.push(expr)
        if (expr === 'broken') throw new Error('no')
        return expr.startsWith('next') ? [{ labels: { __value__: expr }, value: 0 }] : series
      },
    )
    expect(said).toEqual({
      shards: '2 of 1.5',
      list: 'b:2 a:1.5 ',
      next: 'next{n="2"}',
      fails: '{{ query "broken" | first | value }}',
      empty: 'none',
    })
    expect(asked.sort()).toEqual(['broken', 'max{instance="web-1:9100"}', 'next{n="2"}', 'up'])
  })
})
