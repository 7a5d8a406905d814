/**
 * Runs a request handler in a real engine and asks it.
 *
 * @module
 */
import type {
  Engine,
  HandlerRequest,
  HandlerResponse,
  Replica,
  StartOptions,
} from "../agent/kernel/ports.ts";
import { NO_GRANTS } from "./guest.ts";

const MIB = 1024 * 1024;

/** A replica with what it said. */
export interface Handler {
  readonly replica: Replica;
  readonly notices: string[];
  /** Sends a request, GET unless `init` says otherwise. */
  get(path: string, init?: Partial<HandlerRequest>): Promise<HandlerResponse>;
  /** The body of the response. */
  text(path: string, init?: Partial<HandlerRequest>): Promise<string>;
}

/** Starts a handler; whoever closes the engine ends it. */
export async function handlerOf(
  engine: Engine,
  component: Uint8Array,
  options: Partial<StartOptions> = {},
): Promise<Handler> {
  const notices: string[] = [];
  const replica = await engine.start(await engine.prepare(component), {
    world: "wasi:http/proxy",
    grants: NO_GRANTS,
    limits: { memoryBytesMax: 64 * MIB },
    stdio: {
      terminal: { stdin: false, stdout: false, stderr: false },
      read: () => Promise.resolve(null),
      write: () => {},
    },
    notice: (text) => notices.push(text),
    ...options,
  });
  const get = (path: string, init: Partial<HandlerRequest> = {}) =>
    replica.handle({
      method: "GET",
      url: `http://realm.test${path}`,
      headers: [],
      body: null,
      signal: new AbortController().signal,
      ...init,
    });
  const text = async (path: string, init?: Partial<HandlerRequest>) =>
    await new Response((await get(path, init)).body as BodyInit).text();
  return { replica, notices, get, text };
}
