/**
 * What the agent does for one replica whose Worker may not do it itself.
 *
 * @module
 */
import { Dialer } from "../broker/dial.ts";
import type { HttpTracing } from "../broker/http_client.ts";
import { NetworkPolicy } from "../broker/network_policy.ts";
import { createResolver, type Resolver } from "../broker/resolve.ts";
import type { ProxiedListener } from "../broker/proxied_listener.ts";
import { Sockets, type SocketsInit } from "../broker/sockets.ts";
import type { Grants, Service } from "../kernel/ports.ts";

/** What the services of one replica are made of. */
export interface ServicesInit {
  readonly grants: Grants;
  /** Takes what realm says about the guest, a line each time. */
  readonly notice: (text: string) => void;
  /** The system's, unless given. */
  readonly resolver?: Resolver;
  /** Makes connections of sockets in place of Deno. */
  readonly connect?: SocketsInit["connect"];
  /** Who records requests to others, and of which component they are. */
  readonly tracing?: HttpTracing;
  /** The port of a routed command: only the proxy connects to it. */
  readonly proxied?: ProxiedListener;
}

/** Refusals that a replica's log tells of. */
const REFUSALS_TOLD_MAX = 64;

/** One for the whole program: it bounds how much is looked up at once. */
const systemResolver = createResolver();

/** The services of one replica, by name: {@link StartOptions.services}. */
export function createServices(init: ServicesInit): Record<string, Service> {
  const { grants, notice, resolver: shared = systemResolver, proxied, connect, tracing } = init;
  const told = new Set<string>();
  const refused = ({ message }: { readonly message: string }) => {
    if (told.has(message) || told.size >= REFUSALS_TOLD_MAX) return;
    told.add(message);
    notice(`denied: ${message}`);
  };
  const policy = new NetworkPolicy(grants.network);
  const resolver: Resolver = (name, signal) => shared(name, signal, policy);
  return {
    http: late(async () => {
      const { HttpClient } = await import("../broker/http_client.ts");
      return new HttpClient(new Dialer({ policy, resolver, refused }), tracing);
    }),
    network: new Sockets({
      policy,
      resolver,
      refused,
      ...(connect ? { connect } : {}),
      ...(proxied ? { proxied } : {}),
    }),
  };
}

/** A service that is made with its first call: to load it takes as long as many a guest runs. */
function late(make: () => Promise<Service>): Service {
  let made: Promise<Service> | undefined;
  return {
    call: async (request, pipe) => await (await (made ??= make())).call(request, pipe),
    close: async () => await (await made)?.close(),
  };
}
