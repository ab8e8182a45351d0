/** `serve`: front, which starts everything else. */
import type { Command } from 'commander'

export function serveCommand(program: Command): void {
  program
    .command('serve')
    .description('start the platform and keep it running until Ctrl-C or SIGTERM')
    .addHelpText(
      'after',
      `
Examples:
  $ opinion-market serve
  $ PORT=9000 DATA_DIR=/var/lib/opinion-market opinion-market serve
  $ HOST=0.0.0.0 OM_ADMIN_TOKEN=... opinion-market serve      in a container`,
    )
    .action(async () => {
      const { serve } = await import('../app/serve.ts')
      process.exit(await serve())
    })
}
