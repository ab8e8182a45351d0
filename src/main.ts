/**
 * The one entry of the program: `node dist/main.js …` is the command line, and the same file with `--process KIND` is
 * a process that front has forked.
 *
 *   Node older than 24 ─▶ the same arguments again on the Node that `npm start` brought (.runtime/node), as a child
 *   --process control  ─▶ app/control.ts   runControl(child), and so for instance and market-writer
 *   serve              ─▶ app/serve.ts     serve()
 *   anything else      ─▶ cli/main.ts      runCommandLine(arguments)
 *
 * It imports nothing before it knows its Node: what follows needs 24, this file runs on 18.
 */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import module from 'node:module'
import { constants } from 'node:os'
import { fileURLToPath } from 'node:url'

const NODE_NEEDED = 24

// What V8 has made of the source is kept beside it, and goes with it: the next start need not compile again. Where the
// folder cannot be written, nothing is kept.
module.enableCompileCache?.(fileURLToPath(new URL('.code-cache', import.meta.url)))

if (Number(process.versions.node.split('.')[0]) < NODE_NEEDED) runOnNewerNode()
else if (process.argv.includes('--process')) await runChild()
else await runProgram()

async function runChild() {
  const { connectToParent } = await import('./app/child.ts')
  const child = connectToParent(process.argv)
  if (child.kind === 'control') {
    const { runControl } = await import('./app/control.ts')
    return runControl(child)
  }
  if (child.kind === 'instance') {
    const { runInstance } = await import('./app/instance.ts')
    return runInstance(child)
  }
  const { runMarketWriter } = await import('./app/market-writer.ts')
  await runMarketWriter(child)
}

async function runProgram() {
  // With a channel this runs below `runOnNewerNode` (or another parent): it ends when the parent does, however that ends.
  process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'))
  process.channel?.unref()
  const args = process.argv.slice(2)
  // Front stays for as long as the platform runs: it does without the other commands and what they load (15 MB).
  if (args.length === 1 && args[0] === 'serve') {
    const { serve } = await import('./app/serve.ts')
    process.exit(await serve())
  }
  const { runCommandLine } = await import('./cli/main.ts')
  await runCommandLine(args)
}

/** Stands between the caller and the real program: same input and output, signals passed on, same exit. */
function runOnNewerNode() {
  const node = fileURLToPath(new URL('../.runtime/node', import.meta.url))
  if (!existsSync(node)) {
    process.stderr.write(
      `This program needs Node ${NODE_NEEDED} or newer; this is ${process.version}. ` +
        'Run `npm start` once, which brings one, or install it.\n',
    )
    process.exitCode = 1
    return
  }
  const child = spawn(node, [...process.execArgv, ...process.argv.slice(1)], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
  })
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2'] as const
  for (const signal of signals) process.on(signal, () => child.kill(signal))
  child.on('error', (error) => {
    process.stderr.write(`${node}: ${error.message}\n`)
    process.exit(1)
  })
  child.on('exit', (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : (code ?? 1)))
}
