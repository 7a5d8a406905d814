/**
 * Serves the control API on a unix socket that only the agent's user can reach.
 *
 * @module
 */
import { setTimeout as sleep } from "node:timers/promises";
import { SteadyServer } from "../kernel/steady_server.ts";
import type { ControlApi } from "./api.ts";
import { controlHandler, type HandlerOptions } from "./handler.ts";
import { prepareSocket, secureSocket } from "./socket.ts";

export interface ControlServerOptions extends Omit<HandlerOptions, "closing"> {
  /** Where clients look for the socket; its folder is created, and made private. */
  readonly path: string;
  readonly api: ControlApi;
  /** How long {@link ControlServer.close} lets requests that are under way finish; 2 s. */
  readonly closeTimeoutMs?: number;
}

/** A control API that is being served. */
export interface ControlServer {
  /** The socket that was bound; another path than asked for where that was too long. */
  readonly socketPath: string;
  /** Takes no more requests, waits a moment for those under way, and removes the socket. */
  close(): Promise<void>;
}

/**
 * Binds and serves. Throws RealmError `failed` when another agent listens there, or the place
 * cannot be made private.
 */
export async function serveControl(options: ControlServerOptions): Promise<ControlServer> {
  const place = await prepareSocket(options.path);
  const closing = new AbortController();
  const handler = controlHandler(options.api, { ...options, closing: closing.signal });
  const serve = () => Deno.serve({ path: place.path, onListen: () => {} }, handler);
  let first: Deno.HttpServer<Deno.UnixAddr>;
  try {
    first = serve();
  } catch (error) {
    await place.remove();
    throw error;
  }
  const server = new SteadyServer({
    first,
    again: async () => {
      await place.clear();
      const next = serve();
      await secureSocket(place.path).catch(async (error) => {
        await next.shutdown();
        throw error;
      });
      return next;
    },
    sleep: (ms, signal) => sleep(ms, undefined, { signal }),
  });
  const close = async () => {
    // A followed log never ends by itself, and shutdown waits for every answer.
    closing.abort();
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, options.closeTimeoutMs ?? 2_000);
    await Promise.race([server.shutdown(), late]);
    clearTimeout(timer);
    await place.remove();
  };
  try {
    await secureSocket(place.path);
  } catch (error) {
    await close();
    throw error;
  }
  let closed: Promise<void> | undefined;
  return { socketPath: place.path, close: () => closed ??= close() };
}
