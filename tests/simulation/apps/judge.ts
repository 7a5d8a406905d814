/**
 * The rules that no honest peer of a topic may ever break, looked at after each step.
 *
 * The judge knows what nobody in the simulation knows: who is honest, who was ever invited, what each
 * signed, and what was written to which disk.
 *
 * @module
 */
import { decodeTopicFrame } from "../../../agent/apps/peering/topic_frame.ts";
import { textOf } from "../../../agent/kernel/byte_string.ts";
import { cidOf } from "../../../agent/kernel/canonical.ts";
import { decodeSigned } from "../../../agent/kernel/event.ts";
import { formatPublicKey } from "../../../agent/kernel/key.ts";
import { FAULTS } from "../../../agent/kernel/peering/standing.ts";
import { headsDigest } from "../../../agent/kernel/sync/session.ts";
import { ABI, type AppPeerNode, type AppRun, REWIND_LIMITS } from "./peer.ts";
import type { AppWorld } from "./world.ts";

/** A rule was broken. */
export class AppViolation extends Error {
  override readonly name = "AppViolation";
  constructor(readonly rule: AppRule, message: string) {
    super(`${rule}: ${message}`);
  }
}

/** The rules, in words. */
export const APP_RULES = {
  gate: "who was never invited is told nothing",
  revoked: "who was revoked is told nothing more",
  durable: "what is handed on is on the disk",
  lost: "nothing that was acknowledged is lost",
  foreign: "no event is taken that its author did not sign",
  digest: "equal events, equal state",
  drift: "no alarm about an honest peer",
  fork: "no honest person writes on two branches",
  final: "what is final stays as it is",
  work: "late events make no more work than their budget",
  honest: "no honest peer is punished",
  well: "no honest peer is ill",
  converge: "what is whole again comes to one state",
} as const;

/** One of {@link APP_RULES}. */
export type AppRule = keyof typeof APP_RULES;

interface Watched {
  /** Ids of events on the disk, and of those that were acknowledged. */
  readonly durable: Set<string>;
  readonly acknowledged: Set<string>;
  /** Keys of events that were final, in order. */
  final: string[];
  revision: number;
  /** The heads after which it was looked at last. */
  settled: string;
}

const STORED = /^event\/[0-9a-f]+\/([0-9a-z]+)$/;
const SIGNED = "realm/event/1\0";

/** See the module. */
export class AppJudge {
  readonly #watched = new Map<AppPeerNode, Watched>();
  /** Ids of all events that honest people signed. */
  readonly #signed = new Set<string>();
  /** The digest of the state of each set of heads. */
  readonly #digests = new Map<string, string>();
  /** Persons who were ever invited. */
  readonly invited = new Set<string>();
  readonly looks = new Map<AppRule, number>();

  constructor(readonly world: AppWorld) {}

  watch(peer: AppPeerNode): void {
    const watched: Watched = {
      durable: new Set(),
      acknowledged: new Set(),
      final: [],
      revision: -1,
      settled: "",
    };
    this.#watched.set(peer, watched);
    peer.disk.onWrite = (ops) => {
      for (const op of ops) {
        const id = "put" in op ? STORED.exec(op.put)?.[1] : undefined;
        if (id !== undefined) watched.durable.add(id);
      }
    };
  }

  /** An honest person signs something. */
  signed(message: Uint8Array): void {
    if (!textOf(message.subarray(0, SIGNED.length)).startsWith(SIGNED)) return;
    this.#signed.add(cidOf(message.slice(SIGNED.length)).toString());
  }

  /** A person was told that an event is there for good. */
  acknowledged(peer: AppPeerNode, id: string): void {
    const watched = this.#watched.get(peer)!;
    this.#look("durable");
    if (!watched.durable.has(id)) {
      this.#fail("durable", peer, `acknowledged ${id}, not on its disk`);
    }
    watched.acknowledged.add(id);
  }

  /** A peer came up: what it acknowledged has to be there. */
  started(peer: AppPeerNode, { log }: AppRun): void {
    const watched = this.#watched.get(peer)!;
    watched.revision = -1;
    watched.final = []; // it may have come from others, and not have been durable
    for (const id of watched.acknowledged) {
      this.#look("lost");
      if (!log.topic?.has(this.world.idOf(id))) {
        this.#fail("lost", peer, `event ${id} was acknowledged and is gone`);
      }
    }
  }

  /** A peer hands a frame to the network. */
  sent(peer: AppPeerNode, to: string, bytes: Uint8Array): void {
    if (!peer.isHonest) return;
    const frame = decodeTopicFrame(bytes)!;
    const other = this.world.peerOf(to);
    this.#look("gate");
    if (other === undefined || !this.invited.has(other.personKey)) {
      this.#fail("gate", peer, `says ${frame.frame} to ${this.world.nameOf(to)}`);
    }
    const { membership, topic } = peer.run?.log ?? {};
    if (
      frame.frame !== "hello" && frame.frame !== "ready" && topic?.knows(other.person.publicKey)
    ) {
      const isMember = membership!.roleOf(other.person.publicKey) !== undefined;
      this.#look("revoked");
      // Who left, and still has an invite, may come back.
      const hasLeft = !membership!.revocations().some(({ said }) => said.key === other.personKey);
      if (!isMember && !hasLeft) {
        this.#fail("revoked", peer, `says ${frame.frame} to ${other.name}`);
      }
    }
    if (frame.frame !== "events") return;
    for (const encoded of frame.events) {
      const { id } = decodeSigned(encoded);
      this.#look("durable");
      if (!this.#watched.get(peer)!.durable.has(id.toString())) {
        this.#fail("durable", peer, `hands on ${id}, not on its disk`);
      }
    }
  }

  /** A peer ends a link. */
  cut(peer: AppPeerNode, to: string, reason: string): void {
    const other = this.world.peerOf(to);
    if (!peer.isHonest || other?.isHonest !== true) return;
    this.#look("honest");
    if (Object.hasOwn(FAULTS, reason)) this.#fail("honest", peer, `cuts ${other.name}: ${reason}`);
  }

  /** After every step of a peer. */
  look(peer: AppPeerNode, run: AppRun): void {
    if (!peer.isHonest) return;
    const { log, replay, core } = run;
    for (const drift of core.drifts()) {
      const other = this.world.peerOf(drift.peer);
      if (other?.isHonest) this.#fail("drift", peer, `has another state than ${other.name}`);
    }
    const watched = this.#watched.get(peer)!;
    const { topic } = log;
    if (topic === undefined) return;
    if (log.revision !== watched.revision) {
      watched.revision = log.revision;
      this.#lookAtEvents(peer, run);
    }
    if (replay === undefined) return;
    this.#look("well");
    if (replay.illness !== undefined) this.#fail("well", peer, `is ill: ${replay.illness.cause}`);
    this.#look("work");
    const seconds = (this.world.timeline.nowMs - run.startedMs) / 1000;
    const { eventsMax, eventsPerSecond } = REWIND_LIMITS;
    const allowed = eventsMax + eventsPerSecond * (seconds + 1) + topic.size;
    // A revocation makes everything be applied again, and costs nobody.
    if (!this.world.hasRevocations && run.rewound > allowed) {
      this.#fail("work", peer, `applied ${run.rewound} events again, wanted at most ${allowed}`);
    }
    if (!replay.isSettled) return;
    this.#lookAtState(peer, run, watched);
  }

  #lookAtEvents(peer: AppPeerNode, { log }: AppRun): void {
    this.#look("fork");
    if (log.topic!.tipsOf(peer.person.publicKey).length > 1) {
      this.#fail("fork", peer, "wrote on two branches");
    }
    for (const event of log.topic!.order().slice(-8)) {
      this.#look("foreign");
      const author = this.world.personOf(formatPublicKey(event.author));
      const isForeign = author === undefined ||
        author.isHonest && !this.#signed.has(event.id.toString());
      if (isForeign) this.#fail("foreign", peer, `took ${event.type} that nobody signed`);
    }
  }

  #lookAtState(peer: AppPeerNode, { log, replay }: AppRun, watched: Watched): void {
    const heads = headsDigest(log.topic!.heads.map(({ key }) => key)).toHex();
    const digest = replay!.state.digest(ABI).toHex();
    const known = this.#digests.get(heads);
    this.#look("digest");
    if (known !== undefined && known !== digest) {
      this.#fail("digest", peer, `has another state after ${heads.slice(0, 8)}`);
    }
    this.#digests.set(heads, digest);
    if (watched.settled === heads) return;
    watched.settled = heads;
    if (this.world.hasRevocations || this.world.hasForks) return; // these reach what is final
    const final: string[] = [];
    for (const event of replay!.log) {
      if (!replay!.isFinal(event)) break;
      const { verdict } = replay!.outcomeOf(event) ?? {};
      final.push(`${event.key} ${verdict?.kind}`);
      if (final.length > 400) break;
    }
    if (watched.final.length > 0) this.#look("final");
    if (watched.final.some((was, i) => final[i] !== was)) {
      this.#fail("final", peer, "changed what was final");
    }
    watched.final = final;
  }

  #fail(rule: AppRule, peer: AppPeerNode, what: string): never {
    throw new AppViolation(rule, `${peer.name} ${what} (${APP_RULES[rule]})`);
  }

  #look(rule: AppRule): void {
    this.looks.set(rule, (this.looks.get(rule) ?? 0) + 1);
  }
}
