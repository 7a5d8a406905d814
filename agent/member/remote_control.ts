/**
 * The control API for owners and operators on other machines: `/realm/control/1.0.0`. Its stream is
 * HTTP, as on the control socket, and the key that the connection has proven is who asks.
 *
 * An owner may ask for all of it but apps, which are the person's of that machine, an operator for what shows the node and for handing over events,
 * which are signed and judged as such. Who stops being either is cut off.
 *
 * @module
 */
import { join } from "node:path";
import type { ControlApi } from "../control/api.ts";
import { type ControlServer, serveControl } from "../control/server.ts";
import type { Network, PeerStream } from "../kernel/ports.ts";
import { pipeStream } from "../net/stream_pipe.ts";

/** The protocol of streams that carry the control API. */
export const CONTROL_PROTOCOL = "/realm/control/1.0.0";

/** What a key may ask of an agent. */
export type Role = "owner" | "operator";

/** What {@link serveRemoteControl} is given. */
export interface RemoteControlOptions {
  readonly network: Pick<Network, "handle">;
  readonly api: ControlApi;
  readonly dataFolder: string;
  /** The role of a key; `undefined`: none. Answers may change, see {@link RemoteControl.review}. */
  readonly roleOf: (peer: string) => Role | undefined;
  readonly onBug?: (request: string, error: unknown) => void;
}

/** The control API as other machines see it. */
export interface RemoteControl {
  /** Cuts off who has another role than when it came. */
  review(): void;
  close(): Promise<void>;
}

/** Streams of one key that are answered at once. */
const CONTROL_STREAMS_MAX = 16;

/** What an operator may ask for: see the table in `control/api.ts`. */
const OPERATOR_MAY: readonly RegExp[] = [
  /^(GET|HEAD) \/v1\/(status|manifest|log|nodes|history|execs|samples|peers|proofs\/[0-9a-f]{64})$/,
  /^GET \/v1\/components\/[^/]+\/logs$/,
  /^GET \/metrics$/,
  /^POST \/v1\/log$/,
];

/** Whether a role may make a request; `path` is without the query. */
export function mayAsk(role: Role, method: string, path: string): boolean {
  if (path.startsWith("/v1/apps/")) return false;
  return role === "owner" || OPERATOR_MAY.some((each) => each.test(`${method} ${path}`));
}

/** Answers the protocol until it is closed. */
export function serveRemoteControl(options: RemoteControlOptions): RemoteControl {
  const { network, roleOf } = options;
  const servers = new Map<Role, Promise<ControlServer>>();
  const streams = new Map<PeerStream, Role>();

  const serverOf = (role: Role) => {
    let server = servers.get(role);
    if (server === undefined) {
      server = serveControl({
        path: join(options.dataFolder, `control.${role}.sock`),
        api: options.api,
        may: (method, path) => mayAsk(role, method, path),
        ...(options.onBug === undefined ? {} : { onBug: options.onBug }),
      });
      servers.set(role, server);
      server.catch(() => servers.delete(role));
    }
    return server;
  };

  const answer = async (stream: PeerStream) => {
    const role = roleOf(stream.peer);
    const there = [...streams.keys()].filter(({ peer }) => peer === stream.peer).length;
    if (role === undefined || there >= CONTROL_STREAMS_MAX) return stream.abort();
    streams.set(stream, role);
    try {
      const { socketPath } = await serverOf(role);
      const connection = await Deno.connect({ transport: "unix", path: socketPath });
      await pipeStream(stream, connection);
    } catch (error) {
      stream.abort();
      options.onBug?.("control stream", error);
    } finally {
      streams.delete(stream);
    }
  };

  const stop = network.handle(CONTROL_PROTOCOL, (stream) => void answer(stream));
  return {
    review() {
      for (const [stream, role] of streams) if (roleOf(stream.peer) !== role) stream.abort();
    },
    async close() {
      stop();
      for (const stream of streams.keys()) stream.abort();
      for (const server of servers.values()) {
        await server.then((each) => each.close(), () => {}); // one that never was needs no end
      }
    },
  };
}
