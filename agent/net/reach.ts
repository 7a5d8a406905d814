/**
 * Keeps a node connected with the peers that it should be connected with.
 *
 * What to do is decided by {@link Redial}; this carries it out on a {@link PeerNetwork} and a
 * {@link PeerStore}, several times a second, and as soon as somebody comes or goes.
 *
 * @module
 */
import { splitAddress } from "../kernel/peer_id.ts";
import type { Clock } from "../kernel/ports.ts";
import type { PeerNetwork } from "./libp2p_network.ts";
import type { PeerStore } from "./peer_store.ts";
import {
  type Connected,
  Redial,
  type RedialStep,
  type RedialTimes,
  type Target,
} from "./redial.ts";

/** What {@link startReach} is made with. */
export interface ReachOptions {
  readonly network: PeerNetwork;
  readonly book: PeerStore;
  readonly clock: Clock;
  /** Numbers from 0 up to 1. */
  readonly random: () => number;
  /** Keys that should be connected now; asked each time. */
  readonly wanted: () => Iterable<string>;
  /** Addresses that the operator named (`--join`, a ticket, `realm peer add`), with or without key. */
  readonly join: readonly string[];
  /** Told of each dial that failed, once in a row of failures for a target. */
  readonly failed?: (address: string, error: unknown) => void;
  readonly times?: Partial<RedialTimes>;
}

/** A running loop. */
export interface Reach {
  /** One more address that the operator named. */
  join(address: string): void;
  /** Addresses of a key were learnt: it is dialled soon, if it is wanted. */
  learnt(peer: string): void;
  close(): Promise<void>;
}

/** How often it looks whether something is due. */
const LOOK_MS = 250;

/** Starts the loop. Addresses with a key that is not one of Ed25519 throw RealmError `usage`. */
export function startReach(options: ReachOptions): Reach {
  const { network, book, clock } = options;
  const redial = new Redial(network.self, options.random, options.times);
  const stop = new AbortController();
  /** Addresses without a key, with the key that answered there. */
  const bare = new Map<string, string | undefined>();
  /** Keys of addresses that the operator named. */
  const named = new Set<string>();
  const failing = new Set<string>();
  const underway = new Set<Promise<void>>();

  const join = (address: string) => {
    const { key } = splitAddress(address);
    if (key === undefined) bare.set(address, undefined);
    else {
      named.add(key);
      book.learn(key, [address], "operator");
      redial.hurry(key, clock.monotonicMs());
    }
  };

  const look = () => {
    if (stop.signal.aborted) return;
    const connected = new Map<string, Connected>(
      network.connections().map(({ peer, relayed }) => [peer, relayed ? "relayed" : "direct"]),
    );
    const keys = new Set([...options.wanted(), ...named]);
    const targets: Target[] = [
      ...Array.from(keys, (id) => ({ id, isKey: true, addresses: book.addresses(id) })),
      ...Array.from(bare.keys(), (id) => ({ id, isKey: false, addresses: [id] })),
    ];
    const connectionOf = ({ id, isKey }: Target) =>
      connected.get(isKey ? id : bare.get(id) ?? "") ?? "no";
    for (const step of redial.due(clock.monotonicMs(), targets, connectionOf)) {
      const work = take(step).finally(() => underway.delete(work));
      underway.add(work);
    }
  };

  const take = async (step: RedialStep) => {
    try {
      const outcome = step.kind === "dial" ? await dial(step) : await find(step.id);
      redial.done(step.id, clock.monotonicMs(), outcome);
    } catch (error) {
      redial.done(step.id, clock.monotonicMs(), "failed");
      if (step.kind !== "dial" || stop.signal.aborted || failing.has(step.id)) return;
      failing.add(step.id);
      options.failed?.(step.address, error);
    }
  };

  const dial = async ({ id, address }: RedialStep & { kind: "dial" }) => {
    const key = await network.dial(address, stop.signal);
    failing.delete(id);
    if (bare.has(id)) bare.set(id, key);
    book.learn(key, [address], "dial");
    return "connected" as const;
  };

  const find = async (id: string) => {
    book.learn(id, await network.find(id, stop.signal), "peer");
    return book.addresses(id).length > 0 ? "found" as const : "failed" as const;
  };

  for (const address of options.join) join(address);
  const unwatch = network.watch({ connected: look, disconnected: look });
  const running = (async () => {
    while (!stop.signal.aborted) {
      look();
      await clock.sleep(LOOK_MS, stop.signal).catch(() => {});
    }
  })();
  return {
    join,
    learnt: (peer) => redial.hurry(peer, clock.monotonicMs()),
    async close() {
      stop.abort(new Error("The network is closed"));
      unwatch();
      await running;
      await Promise.all(underway);
    },
  };
}
