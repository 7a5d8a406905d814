/**
 * Joins a stream between peers with a connection on this machine, both ways and with back-pressure
 * both ways: what one side does not read the other cannot write for long.
 *
 * @module
 */
import type { PeerStream } from "../kernel/ports.ts";

/** What a connection on this machine has to be; `Deno.Conn` is. */
export interface LocalConnection {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
  close(): void;
}

/** Resolves when both directions ended or one broke; then both sides are closed. */
export async function pipeStream(stream: PeerStream, local: LocalConnection): Promise<void> {
  const outwards = async () => {
    for await (const chunk of local.readable) await stream.write(chunk);
    await stream.end();
  };
  const inwards = async () => {
    const writer = local.writable.getWriter();
    for (let chunk = await stream.read(); chunk !== null; chunk = await stream.read()) {
      await writer.ready;
      await writer.write(chunk);
    }
    await writer.close();
  };
  try {
    await Promise.all([outwards(), inwards()]);
  } catch {
    // Whichever side broke, the other one is told by being closed.
    stream.abort();
  } finally {
    try {
      local.close();
    } catch {
      // Both halves are closed already.
    }
  }
}
