/**
 * The rules that no honest node may ever break, looked at after each step.
 *
 * The judge knows what nobody in the simulation knows: who is honest, what was written to which
 * disk, what each node can have heard of. It takes the node's own view of the control log for what
 * the node believes, and decides by itself whether the node acted accordingly.
 *
 * @module
 */
import { textOf } from "../../agent/kernel/byte_string.ts";
import { decodeSigned, type SignedEvent } from "../../agent/kernel/event.ts";
import { SIGNATURE_BYTES } from "../../agent/kernel/verify.ts";
import { decodeMessage } from "../../agent/kernel/sync/messages.ts";
import type { AppliedManifest } from "../../agent/realm/applied_manifest.ts";
import type { DesiredReplica } from "../../agent/realm/desired.ts";
import { decodeFrame } from "../../agent/realm/peering/frame.ts";
import { SILENT_MS } from "../../agent/realm/peering/health_board.ts";
import { type HealthRecord, readHealth } from "../../agent/realm/peering/health_record.ts";
import { FAULTS } from "../../agent/kernel/peering/standing.ts";
import { type RealmView, viewDigest } from "../../agent/realm/realm_view.ts";
import { verify } from "./cast.ts";
import type { Run, SimulatedNode } from "./node.ts";
import type { World } from "./world.ts";

/** A rule was broken. */
export class Violation extends Error {
  override readonly name = "Violation";
  constructor(readonly rule: Rule, message: string) {
    super(`${rule}: ${message}`);
  }
}

/** The rules, in words. */
export const RULES = {
  gate: "only approved peers are given anything but hello and pending",
  durable: "what is handed on or acknowledged is on the disk",
  lost: "nothing that was acknowledged is lost",
  foreign: "no manifest is applied that no owner signed",
  stale: "the applied version does not go down",
  revoked: "no link with a revoked key is kept",
  digest: "equal heads, equal views",
  fork: "no honest node writes on two branches",
  minority: "a minority starts nothing new",
  honest: "no honest peer is punished",
  bounds: "what a peer can fill is bounded",
  converge: "what is whole again comes to the same state",
} as const;

/** One of {@link RULES}. */
export type Rule = keyof typeof RULES;

interface Watched {
  view: RealmView | undefined;
  applied: AppliedManifest | undefined;
  /** Owners that there were when it was applied. */
  owners: number;
  /** Ids of events on the disk, and of those that the node vouched for. */
  readonly durable: Set<string>;
  readonly vouched: Map<string, string>;
  /** By key: the newest health record that reached the node since it came up, and when it did. */
  readonly heardOf: Map<string, Heard>;
}

interface Heard {
  readonly epoch: number;
  readonly counter: number;
  readonly atMs: number;
}

const PREFIX = /^control\/event\/[0-9a-f]+\/(.*)$/;
/** Monotonic clocks run a little fast or slow. */
const CLOCK_SLACK_MS = 50;

/** See the module. */
export class Judge {
  readonly #watched = new Map<SimulatedNode, Watched>();
  readonly #events = new Map<string, { readonly id: string; readonly author: string }>();
  readonly #views = new Map<string, string>();
  readonly #records = new Map<string, HealthRecord | undefined>();
  /** How often each rule was looked at, to see that it was. */
  readonly looks = new Map<Rule, number>();

  constructor(readonly world: World) {
    world.network.onDelivery = (from, to, frame) => {
      world.delivered(from, to, frame);
      if (kindOf(frame) === "health") this.#hear(from, to, frame);
    };
  }

  /** A node is new in the world: its disk is watched. */
  watch(node: SimulatedNode): void {
    const watched: Watched = {
      view: undefined,
      applied: undefined,
      owners: 0,
      durable: new Set(),
      vouched: new Map(),
      heardOf: new Map(),
    };
    this.#watched.set(node, watched);
    node.disk.onWrite = (ops) => {
      for (const op of ops) {
        const id = "put" in op ? PREFIX.exec(op.put)?.[1] : undefined;
        if (id !== undefined) watched.durable.add(id);
      }
    };
  }

  /** A node came up: what it vouched for has to be there. */
  started(node: SimulatedNode, run: Run): void {
    const watched = this.#watched.get(node)!;
    watched.view = undefined;
    watched.heardOf.clear();
    if (!node.isHonest) return;
    const { topic, view } = run.log;
    for (const [id, author] of watched.vouched) {
      this.#look("lost");
      const gone = view?.revoked.includes(author) === true;
      if (topic?.has(this.world.idOf(id)) !== true && !gone) {
        this.#fail("lost", node, `event ${id} was acknowledged and is gone`);
      }
    }
  }

  stopped(_node: SimulatedNode): void {}

  /** The node told somebody that it has these events for good. */
  acknowledged(node: SimulatedNode, events: readonly SignedEvent[]): void {
    for (const { id, event } of events) {
      this.#durable(node, id.toString(), "acknowledged");
      this.#watched.get(node)!.vouched.set(id.toString(), this.world.keyOf(event.author));
    }
  }

  /** A node hands a frame to the network. */
  sent(node: SimulatedNode, peer: string, bytes: Uint8Array): void {
    if (!node.isHonest) return;
    const kind = kindOf(bytes);
    if (kind === "hello" || kind === "pending") return;
    this.#look("gate");
    const view = node.run?.log.view;
    const isApproved = view?.nodes.has(peer) === true;
    const isRead = (node.named.has(peer) || this.world.wasApproved.has(peer)) &&
      view?.revoked.includes(peer) !== true &&
      ["ready", "again", "sync"].includes(kind);
    if (!isApproved && !isRead) {
      this.#fail("gate", node, `sends ${kind} to ${this.world.nameOf(peer)}`);
    }
    if (kind !== "events" && kind !== "sync") return;
    const frame = decodeFrame(bytes);
    if (frame?.frame === "events") return this.#gives(node, peer, isApproved, frame.events);
    if (frame?.frame !== "sync") return;
    const message = decodeMessage(frame.message);
    if (message.kind === "events") this.#gives(node, peer, isApproved, message.events);
    if (message.kind === "synced") {
      for (const { id, author } of node.run!.log.topic?.heads ?? []) {
        this.#durable(node, id.toString(), "told as synced");
        this.#watched.get(node)!.vouched.set(id.toString(), this.world.keyOf(author));
      }
    }
  }

  #gives(node: SimulatedNode, peer: string, isApproved: boolean, events: readonly Uint8Array[]) {
    if (!isApproved && events.length > 0) {
      this.#fail("gate", node, `gives events to ${this.world.nameOf(peer)}`);
    }
    for (const encoded of events) {
      const { id, author } = this.#eventOf(encoded);
      this.#durable(node, id, "handed on");
      if (author === node.key) this.#watched.get(node)!.vouched.set(id, author);
    }
  }

  /** Id and author of an event, which is read once. */
  #eventOf(encoded: Uint8Array): { readonly id: string; readonly author: string } {
    const tail = textOf(encoded.subarray(-SIGNATURE_BYTES));
    let known = this.#events.get(tail);
    if (known === undefined) {
      const { id, event } = decodeSigned(encoded);
      known = { id: id.toString(), author: this.world.keyOf(event.author) };
      this.#events.set(tail, known);
    }
    return known;
  }

  #durable(node: SimulatedNode, id: string, what: string): void {
    this.#look("durable");
    if (!node.isHonest || this.#watched.get(node)!.durable.has(id)) return;
    this.#fail("durable", node, `event ${id} was ${what} and is not on the disk`);
  }

  /** A node cuts a peer. */
  cut(node: SimulatedNode, peer: string, reason: string): void {
    if (!node.isHonest || !Object.hasOwn(FAULTS, reason)) return;
    this.#look("honest");
    if (this.world.isHonest(peer)) {
      this.#fail("honest", node, `cuts ${this.world.nameOf(peer)} for ${reason}`);
    }
  }

  /** A node starts a replica that it did not have, or another version of one. */
  starts(node: SimulatedNode, run: Run, replica: DesiredReplica): void {
    if (!node.isHonest) return;
    this.#look("minority");
    const { manifest } = this.world.contentsOf(run.log, run.applied!.event)!;
    if (manifest.realm.partition === "continue") return;
    const { heardOf } = this.#watched.get(node)!;
    const nowMs = this.world.timeline.nowMs;
    const approved = [...run.log.view!.nodes.keys()];
    const live = approved.filter((key) =>
      key === node.key ||
      nowMs - (heardOf.get(key)?.atMs ?? -Infinity) < SILENT_MS + CLOCK_SLACK_MS
    );
    if (live.length * 2 > approved.length) return;
    const seen = `it can have heard of ${live.length} of ${approved.length}`;
    this.#fail("minority", node, `starts ${replica.component} though ${seen}`);
  }

  /** After each step of a node. */
  look(node: SimulatedNode, run: Run): void {
    if (!node.isHonest) return;
    const watched = this.#watched.get(node)!;
    const { view, topic } = run.log;
    this.#applied(node, run, watched);
    for (const peer of run.core.linkedPeers()) {
      if (view?.revoked.includes(peer) === true) {
        this.#fail("revoked", node, `keeps its link with ${this.world.nameOf(peer)}`);
      }
    }
    if (run.core.introductions().length > 64 + 8 * 64) {
      this.#fail("bounds", node, `knows ${run.core.introductions().length} introductions`);
    }
    if (view === watched.view || view === undefined) return;
    watched.view = view;
    this.#look("digest");
    this.#look("revoked");
    const heads = topic!.heads.map(({ id }) => id.toString()).sort().join();
    const digest = viewDigest(view);
    const other = this.#views.get(heads);
    if (other !== undefined && other !== digest) this.#fail("digest", node, `another view`);
    this.#views.set(heads, digest);
    for (const honest of this.world.nodes) {
      if (!honest.isHonest) continue;
      this.#look("fork");
      const tips = topic!.tipsOf(honest.player.publicKey).length;
      if (tips > 1) this.#fail("fork", honest, `has ${tips} tips in the log of ${node.name}`);
    }
  }

  #applied(node: SimulatedNode, run: Run, watched: Watched): void {
    const { applied } = run;
    const before = watched.applied;
    if (applied?.event === before?.event) return;
    watched.applied = applied;
    const owners = run.log.view!.owners.length;
    const isSuccession = owners !== watched.owners;
    watched.owners = owners;
    if (applied !== undefined) {
      this.#look("foreign");
      if (!this.world.manifests.has(applied.sha256)) {
        this.#fail("foreign", node, `applies version ${applied.version}, which no owner signed`);
      }
    }
    this.#look("stale");
    if ((applied?.version ?? 0) >= (before?.version ?? 0) || isSuccession) return;
    // Only what was taken away may be left for something older.
    const record = run.log.view!.history.find(({ event }) => event === before!.event);
    if (record === undefined || record.outcome === "void") return;
    this.#fail("stale", node, `goes from version ${before!.version} to ${applied?.version ?? 0}`);
  }

  /** Notes of whom a frame brings news, whatever the node makes of it. */
  #hear(from: string, to: string, bytes: Uint8Array): void {
    const node = this.world.nodeOf(to);
    const watched = node && this.#watched.get(node);
    if (watched === undefined) return;
    for (const encoded of this.#recordsIn(bytes)) {
      const record = this.#recordOf(encoded);
      if (record === undefined) continue;
      const { key, epoch, counter } = record;
      const last = watched.heardOf.get(key);
      // From the node itself anything is a sign of life.
      const isNews = last === undefined || from === key || epoch > last.epoch ||
        (epoch === last.epoch && counter > last.counter);
      if (!isNews) continue;
      // What another has of it may be as old as it likes; the next one is not.
      const atMs = last === undefined && from !== key ? -Infinity : this.world.timeline.nowMs;
      watched.heardOf.set(key, { epoch, counter, atMs });
    }
  }

  #recordsIn(bytes: Uint8Array): readonly Uint8Array[] {
    try {
      const frame = decodeFrame(bytes);
      return frame?.frame === "health" ? frame.records : [];
    } catch {
      return []; // somebody damaged it
    }
  }

  /** A record that its node signed, which is read once. */
  #recordOf(encoded: Uint8Array): HealthRecord | undefined {
    const tail = textOf(encoded.subarray(-SIGNATURE_BYTES));
    if (this.#records.has(tail)) return this.#records.get(tail);
    let record: HealthRecord | undefined;
    try {
      record = readHealth(encoded, () => true, verify)?.record;
    } catch {
      // A traitor wrote it.
    }
    this.#records.set(tail, record);
    return record;
  }

  /** Ends the simulation. */
  #fail(rule: Rule, node: SimulatedNode, what: string): never {
    throw new Violation(rule, `${node.name} ${what} (${RULES[rule]})`);
  }

  #look(rule: Rule): void {
    this.looks.set(rule, (this.looks.get(rule) ?? 0) + 1);
  }
}

/** What a frame is, from its first bytes: `frame` is the shortest key of all but hello. */
export function kindOf(bytes: Uint8Array): string {
  if (bytes[1] !== 0x65) return "hello";
  const length = bytes[7]! & 31;
  return new TextDecoder().decode(bytes.subarray(8, 8 + length));
}
