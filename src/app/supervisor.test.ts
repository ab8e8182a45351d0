import { describe, expect, test } from 'vitest'
import { fakeScheduler } from '../base/scheduler.ts'
import type { ProcessEvent, ProcessKind, ProcessStatus, ToChild } from './ipc.ts'
import type { ProcessListener } from './supervisor.ts'
import { createSupervisor } from './supervisor.ts'

/** Processes that a test ends, and that end by themselves as `obeys` says. */
function supervised(obeys: 'stop' | 'SIGTERM' | 'SIGKILL' = 'stop') {
  const scheduler = fakeScheduler()
  const log: string[] = []
  const events: ProcessEvent[] = []
  const running = new Map<string, ProcessListener>()
  const starts: number[] = []
  let statuses: readonly ProcessStatus[] = []
  let pid = 100
  const end = (id: string, how: string) => {
    const listener = running.get(id)
    running.delete(id)
    listener?.onEnd(how)
  }
  const supervisor = createSupervisor({
    scheduler,
    start(_kind: ProcessKind, id: string, listener: ProcessListener) {
      starts.push(scheduler.clock.monotonic())
      running.set(id, listener)
      return {
        pid: ++pid,
        send(message: ToChild) {
          log.push(`${id} ${message.kind}`)
          if (message.kind === 'stop' && obeys === 'stop') end(id, 'exit 0')
        },
        kill(signal) {
          log.push(`${id} ${signal}`)
          if (signal === obeys) end(id, `signal ${signal}`)
        },
      }
    },
    onEvent: (event) => void events.push(event),
    onStatus: (all) => {
      statuses = all
    },
    onMessage: (id, _kind, message) => void log.push(`${id} said ${message.kind}`),
    onListening: (id) => void log.push(`${id} listens`),
    onReady: (id, ready) => void log.push(`${id} ready ${ready}`),
    onGone: (id) => void log.push(`${id} gone`),
    inFlight: () => null,
  })
  const say = (id: string, kind: 'listening' | 'ready') =>
    running.get(id)!.onMessage(kind === 'ready' ? { kind, ready: true } : { kind })
  const state = (id: string) => statuses.find((status) => status.id === id)?.state
  return { scheduler, supervisor, log, events, starts, end, say, state, running, statuses: () => statuses }
}

describe('a process that ends', () => {
  test('is started again at once, and slower each time that it does not come up', async () => {
    const { scheduler, supervisor, starts, end } = supervised()
    supervisor.add('control', 'control')
    for (let i = 0; i < 9; i++) {
      end('control', 'exit 1')
      await scheduler.run(15_000)
    }
    const gaps = starts.slice(1).map((at, i) => at - i * 15_000)
    expect(gaps).toEqual([0, 250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000])
  })

  test('is back soon each time that it did come up, however short that was', async () => {
    const { scheduler, supervisor, starts, end, say } = supervised()
    supervisor.add('control', 'control')
    for (let i = 0; i < 9; i++) {
      say('control', 'ready')
      end('control', 'signal SIGKILL')
      await scheduler.run(1_000)
    }
    const gaps = starts.slice(1).map((at, i) => at - i * 1_000)
    expect(gaps).toEqual([0, 250, 500, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000])
  })

  test('after it was ready for a while, it is started again at once however often', async () => {
    const { scheduler, supervisor, starts, end, say } = supervised()
    supervisor.add('control', 'control')
    for (let i = 1; i <= 5; i++) {
      say('control', 'ready')
      await scheduler.run(4_000)
      end('control', 'signal SIGKILL')
      await scheduler.run(0)
      expect(starts).toHaveLength(i + 1)
    }
  })

  test('is told of, with the reason, and counted', async () => {
    const { scheduler, supervisor, events, end, say, statuses, log } = supervised()
    supervisor.add('control', 'control')
    say('control', 'listening')
    say('control', 'ready')
    expect(statuses()[0]).toMatchObject({ state: 'ready', pid: 101, restarts: 0, lastExit: null })
    end('control', 'signal SIGKILL')
    expect(statuses()[0]).toMatchObject({ state: 'backing_off', pid: null, restarts: 1, lastExit: 'signal SIGKILL' })
    await scheduler.run(0)
    expect(statuses()[0]).toMatchObject({ state: 'starting', pid: 102 })
    expect(events.map((event) => event.type)).toEqual(['started', 'ready', 'exited', 'restarting', 'started'])
    expect(events[2]!.detail).toBe('signal SIGKILL')
    expect(log).toEqual(['control listens', 'control ready true', 'control gone'])
  })

  test('harms no other', async () => {
    const { supervisor, end, say, state } = supervised()
    supervisor.add('control', 'control')
    supervisor.add('instance', 'instance-1')
    say('control', 'ready')
    say('instance-1', 'ready')
    end('instance-1', 'exit 1')
    expect(state('control')).toBe('ready')
    expect(state('instance-1')).toBe('backing_off')
  })

  test('is not believed after its end', () => {
    const { supervisor, end, running, log } = supervised()
    supervisor.add('control', 'control')
    const listener = running.get('control')!
    end('control', 'exit 1')
    log.length = 0
    listener.onMessage({ kind: 'ready', ready: true })
    listener.onEnd('exit 2')
    expect(log).toEqual([])
  })
})

describe('stopping', () => {
  test('goes from the last started to the first, one after the other', async () => {
    const { supervisor, log, state } = supervised()
    supervisor.add('control', 'control')
    supervisor.add('instance', 'instance-1')
    await supervisor.stop(5_000)
    expect(log).toEqual(['instance-1 stop', 'instance-1 gone', 'control stop', 'control gone'])
    expect(state('control')).toBe('stopped')
  })

  test('instances stop together: many of them leave those behind as much time as one', async () => {
    const { scheduler, supervisor, log } = supervised('SIGTERM')
    supervisor.add('control', 'control')
    supervisor.add('market-writer', 'market-writer')
    for (let i = 1; i <= 9; i++) supervisor.add('instance', `instance-${i}`)
    const stopping = supervisor.stop(6_000)
    expect(log.filter((line) => line.endsWith(' stop'))).toHaveLength(9)
    await scheduler.run(1_000)
    expect(log.slice(-1)).toEqual(['market-writer stop'])
    await scheduler.run(60_000)
    await stopping
    expect(log.filter((line) => line.endsWith('SIGKILL'))).toEqual([])
    expect(log.slice(-3)).toEqual(['control stop', 'control SIGTERM', 'control gone'])
  })

  test.each([
    ['SIGTERM', ['control stop', 'control SIGTERM', 'control gone'], 2_500],
    ['SIGKILL', ['control stop', 'control SIGTERM', 'control SIGKILL', 'control gone'], 5_000],
  ] as const)('one that does not obey gets a signal, at last %s', async (obeys, expected, ms) => {
    const { scheduler, supervisor, log } = supervised(obeys)
    supervisor.add('control', 'control')
    let done = false
    const stopping = supervisor.stop(5_000).then(() => {
      done = true
    })
    await scheduler.run(ms - 1)
    expect(done).toBe(false)
    await scheduler.run(1)
    await stopping
    expect(log).toEqual(expected)
  })

  test('starts nothing again, neither what waits for its turn nor what ends meanwhile', async () => {
    const { scheduler, supervisor, starts, end, state } = supervised('SIGKILL')
    supervisor.add('control', 'control')
    supervisor.add('instance', 'instance-1')
    end('instance-1', 'exit 1')
    await scheduler.run(0)
    end('instance-1', 'exit 1')
    expect(state('instance-1')).toBe('backing_off')
    const stopping = supervisor.stop(5_000)
    await scheduler.run(100)
    end('control', 'exit 0')
    await scheduler.run(60_000)
    await stopping
    expect(starts).toHaveLength(3)
    expect([state('control'), state('instance-1')]).toEqual(['stopped', 'stopped'])
  })

  test('one alone can leave; it is forgotten', async () => {
    const { supervisor, statuses } = supervised()
    supervisor.add('control', 'control')
    supervisor.add('instance', 'instance-1')
    await supervisor.remove('instance-1', 1_000)
    expect(statuses().map((status) => status.id)).toEqual(['control'])
  })
})

test('messages go to all, or to all but the kind they came from', () => {
  const { supervisor, log } = supervised()
  supervisor.add('control', 'control')
  supervisor.add('instance', 'instance-1')
  supervisor.send({ kind: 'processes', processes: [] })
  supervisor.send({ kind: 'config', snapshot: {} }, 'control')
  supervisor.sendTo('control', { kind: 'processes', processes: [] })
  expect(log).toEqual(['control processes', 'instance-1 processes', 'instance-1 config', 'control processes'])
})
