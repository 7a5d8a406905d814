/**
 * Services of libp2p that only members of the realm use: neither answered to anybody else, nor asked
 * of anybody else.
 *
 * A service of libp2p talks to whoever says that it speaks its protocol. One that is made through
 * {@link membersOnly} hears of members only, its handlers are called for them only, and streams that
 * it opens lead to them only. (libp2p's own middleware is no way to do that: up to 3.3 it keeps a
 * handler for every stream that ever came.)
 *
 * @module
 */
import type {
  Connection,
  PeerId,
  Stream,
  StreamHandler,
  StreamHandlerOptions,
  Topology,
} from "@libp2p/interface";

/** Makes a service whose registrar and connection manager know members only. */
export function membersOnly<Components extends object, Made>(
  make: (components: Components) => Made,
  isMember: (peer: PeerId) => boolean,
): (components: Components) => Made {
  return (components) => {
    const { registrar, connectionManager } = components as any;
    const replaced: Record<PropertyKey, unknown> = {
      // Who looks for a relay asks the members that it is connected with. It would otherwise dial
      // random nodes, and where a search ends at once, search for ever without a pause.
      randomWalk: { async *walk() {} },
      registrar: overlay(registrar, {
        handle: (protocol: string, handler: StreamHandler, options?: StreamHandlerOptions) =>
          registrar.handle(protocol, (stream: Stream, connection: Connection) => {
            if (isMember(connection.remotePeer)) return handler(stream, connection);
            stream.abort(new Error("For members only"));
          }, options),
        register: (protocol: string, { filter: _, ...topology }: Topology) =>
          // Without the filter, which would forget a peer that becomes a member later.
          registrar.register(protocol, {
            ...topology,
            onConnect: (peer: PeerId, connection: Connection) =>
              isMember(peer) ? topology.onConnect?.(peer, connection) : undefined,
          }),
      }),
      connectionManager: overlay(connectionManager, {
        openStream: async (peer: PeerId, ...rest: unknown[]) => {
          if (!isMember(peer)) throw new Error("For members only");
          return connectionManager.openStream(peer, ...rest);
        },
      }),
    };
    return make(overlay(components, replaced));
  };
}

/** An object that is `base` but for some properties. */
function overlay<T extends object>(base: T, replaced: Record<PropertyKey, unknown>): T {
  return new Proxy(base, {
    get(target, name) {
      if (Object.hasOwn(replaced, name)) return replaced[name];
      const value = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
