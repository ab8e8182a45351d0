/** The market-writer as a whole: the writer over market.db, and the socket where instances reach it. */
import { dirname, join } from 'node:path'
import { serveCommands } from './server.ts'
import { Writer, type WriterOptions } from './writer.ts'

export interface MarketWriter {
  /** Takes no more, answers what was taken, closes the file. */
  stop(): Promise<void>
}

/** Where the writer listens: beside the sockets of the other processes. */
export const writerSocketBeside = (socketPath: string): string => join(dirname(socketPath), 'market-writer.sock')

/**
 * Reads the file and begins to listen. Rejects with an Error of one sentence when the file cannot be used: it is damaged,
 * of a newer version, or its ledger does not add up.
 */
export async function startMarketWriter(
  options: WriterOptions & { readonly socketPath: string },
): Promise<MarketWriter> {
  const writer = new Writer(options)
  try {
    const server = await serveCommands({
      socketPath: options.socketPath,
      log: options.log,
      telemetry: () => options.telemetry.snapshot(),
      take(envelope, id, reply) {
        writer.take(envelope, (outcome) =>
          reply(
            'answer' in outcome
              ? `{"id":${id},"answer":${outcome.answer}}\n`
              : `${JSON.stringify({ id, failure: outcome.failure })}\n`,
          ),
        )
      },
    })
    writer.onEvents = (line) => server.broadcast(line)
    options.telemetry.gauge('market_writer_connections', 'Processes that are connected to the writer.', {}, () => {
      return server.connections
    })
    const cutOff = options.telemetry.counter(
      'market_writer_cut_off_total',
      'Connections that did not read what they were told and were ended.',
    )
    let counted = 0
    writer.afterBatch = () => {
      server.flush()
      cutOff.add(server.cutOff - counted)
      counted = server.cutOff
    }
    return {
      async stop() {
        await writer.close()
        await server.close()
      },
    }
  } catch (error) {
    await writer.close()
    throw error
  }
}
