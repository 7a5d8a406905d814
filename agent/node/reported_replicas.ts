/**
 * Which other nodes run a component: what they say, as far as it agrees with what they were given.
 *
 * A node that is approved may yet lie, or be somebody else's by now: what it says it runs draws the
 * requests of clients. So it is believed for components only that the placement gives it, and for
 * no more replicas. Since nodes learn of changes one after the other, there is a second choice, for
 * when no node that was given a component runs it as the manifest in force wants, or all of those
 * have just stopped: a node that runs it with other bytes than the rollout of the component has, or
 * that was given it a moment ago.
 *
 * @module
 */
import type { Clock } from "../kernel/ports.ts";
import type { PeerReplicas } from "../proxy/peer_upstream.ts";

/** What the manifest in force and the placement give a node. */
export interface Given {
  readonly replicas: number;
  /** sha256 of the component, in hex: of several releases as long as not all replicas run one. */
  readonly digests: readonly string[];
}

/** What a node says of one component. */
export interface Report {
  readonly component: string;
  readonly digest: string;
  readonly running: number;
}

/** What {@link ReportedReplicas} is made with. */
export interface ReportedReplicasInit {
  readonly clock: Pick<Clock, "monotonicMs">;
  /** Nodes that may be asked: approved, live and connected, by the text of their keys. */
  readonly peers: () => Iterable<string>;
  readonly reportsOf: (peer: string) => readonly Report[];
  readonly given: (component: string, peer: string) => Given | undefined;
}

/** Reports are looked through again after so long. */
const REPORTS_MS = 250;
/** For so long a node that was given a component is believed to run it still. */
const LEAVING_MS = 60_000;

/** See the module. */
export class ReportedReplicas {
  #found: ReadonlyMap<string, readonly PeerReplicas[]> = new Map();
  #lookedAtMs = -Infinity;
  /** By component and node, how many replicas it was given, and when last. */
  readonly #lately = new Map<string, { readonly replicas: number; readonly atMs: number }>();

  constructor(readonly init: ReportedReplicasInit) {}

  /** Who may be asked for a component now. */
  of(component: string): readonly PeerReplicas[] {
    if (this.init.clock.monotonicMs() - this.#lookedAtMs >= REPORTS_MS) this.look();
    return this.#found.get(component) ?? [];
  }

  /** Whether a node was given it, now or a moment ago, whatever it says of it. */
  expects(component: string): boolean {
    for (const peer of this.init.peers()) if (this.init.given(component, peer)) return true;
    return this.#lately.keys().some((key) => key.endsWith(` ${component}`));
  }

  /** Looks at once: what nodes are given is about to change. */
  look(): void {
    const { clock, peers, reportsOf, given } = this.init;
    const nowMs = this.#lookedAtMs = clock.monotonicMs();
    for (const [key, { atMs }] of this.#lately) {
      if (nowMs - atMs >= LEAVING_MS) this.#lately.delete(key);
    }
    const found = new Map<string, PeerReplicas[]>();
    for (const peer of peers()) {
      for (const { component, digest, running } of reportsOf(peer)) {
        const key = `${peer} ${component}`;
        const now = given(component, peer);
        const replicas = now?.replicas ?? this.#lately.get(key)?.replicas ?? 0;
        if (now) this.#lately.set(key, { replicas, atMs: nowMs });
        const believed = Math.min(running, replicas);
        if (believed < 1) continue;
        const choice = now?.digests.includes(digest) ? 0 : 1;
        const all = found.get(component) ?? [];
        found.set(component, [...all, { peer, running: believed, choice }]);
      }
    }
    this.#found = found;
  }
}
