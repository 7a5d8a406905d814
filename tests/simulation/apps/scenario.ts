/**
 * What a seed has in store for a topic: what its people do, what breaks, and who attacks. Each seed has
 * some kinds of trouble and not others, so that every combination comes to pass.
 *
 * @module
 */
import { RealmError } from "../../../agent/kernel/error.ts";
import type { TopicEvent } from "../../../agent/kernel/topic.ts";
import type { AppLog } from "../../../agent/apps/topic/app_log.ts";
import { behaviorOf, inviteTo, revocationsOf } from "../../../agent/apps/topic/authoring.ts";
import { helloAt } from "../../../agent/apps/peering/topic_hello.ts";
import { encodeTopicFrame } from "../../../agent/apps/peering/topic_frame.ts";
import { nodeBackend } from "../../../agent/node/crypto_node.ts";
import {
  encodeSigned,
  eventAt,
  type EventContent,
  type EventPlace,
  type SignedEvent,
  signEventSync,
} from "../../../agent/kernel/event.ts";
import { signerOf, type SyncSigner } from "../../../agent/kernel/verify.ts";
import { player } from "../cast.ts";
import { FAULTS, Faults } from "../faults.ts";
import type { Endpoint } from "../network.ts";
import { actOf, creator } from "./guests.ts";
import { AppPeerNode, type Comer } from "./peer.ts";
import { type AppWorld, outsider } from "./world.ts";

const KINDS = [
  "write",
  "burst",
  "newcomer",
  "keeper",
  "admin",
  "revoke",
  "leave",
  "behavior",
  "checkpoint",
  ...FAULTS,
  "stranger",
  "late",
  "branches",
  "forge",
  "flood",
] as const;
/** A kind of trouble. */
export type AppKind = typeof KINDS[number];

/** What peers store where there is a flood: events enough for what honest people write. */
const FLOODED_QUOTA = { events: 400, bytes: 1e9 };
/** A flood, as parts of it, of which each peer gets another one: its share is half. */
const FLOODS = [[0.7], [0.35, 0.35], [0.5, 0.5, 0.5]];
/** Events in one frame of it. */
const FLOOD_FRAME = 50;

/** Peers of one topic at most. */
const PEERS_MAX = 9;

/** See the module. */
export class AppScenario extends Faults<AppPeerNode> {
  readonly #kinds: readonly AppKind[];
  #newcomers = 0;
  /** Who means harm, once there is one; it is a member. */
  #traitor: AppPeerNode | undefined;

  constructor(override readonly world: AppWorld) {
    super(world, { offMsMax: 20_000, partitionMsMax: 15_000 });
    const kinds = this.random.shuffled(KINDS).slice(0, this.random.between(3, KINDS.length));
    this.#kinds = world.options.kinds ?? ["write", ...kinds];
    if (this.#kinds.includes("flood")) world.quota = FLOODED_QUOTA;
    world.note("world", `${world.app} with ${this.#kinds.join(", ")}`);
    world.network.delayMs = [1, this.random.pick([5, 20, 100, 400])];
  }

  /** The creator, and those who were invited first. */
  found(): void {
    const { world, random } = this;
    const node = player("node 0");
    const first = new AppPeerNode(world, { node, person: creator, name: "n0" });
    world.add(first);
    // The topic is on its disk before anything else happens.
    const disk = first.disk.open();
    disk.write([...world.founded.scan("")].map(([key, value]) => ({ put: key, value })));
    first.start();
    this.#keepDialling(first);
    for (let i = random.pick([1, 2, 2, 3, 4]); i > 0; i--) this.newcomer();
  }

  /** Plans everything. */
  plan(): void {
    const pause = this.random.pick([200, 600, 1_500]);
    const next = () => {
      this.world.timeline.after(this.random.between(20, pause), () => {
        if (this.isOver) return;
        const kind = this.random.pick(this.#kinds);
        this.world.note("world", kind);
        this[kind]();
        next();
      });
    };
    next();
  }

  // What people do.

  write(): void {
    const peer = this.#member();
    if (peer !== undefined) this.#say(peer);
  }

  burst(): void {
    const peer = this.#member();
    for (let i = this.random.between(2, 25); i > 0 && peer !== undefined; i--) this.#say(peer);
  }

  newcomer(): void {
    this.#invite("member");
  }

  keeper(): void {
    if (this.random.chance(0.2)) this.#invite("keeper");
  }

  admin(): void {
    if (this.random.chance(0.3)) this.#invite("admin");
  }

  /** The creator revokes somebody, with the invites by which it came. */
  revoke(): void {
    const { world, random } = this;
    const candidates = world.peers.slice(1).filter(({ personKey }) => this.#isMember(personKey));
    if (candidates.length < 2 || !random.chance(0.3)) return;
    const { personKey } = random.pick(candidates);
    world.hasRevocations = true;
    this.#creator((log, by) => {
      for (const said of revocationsOf(log, personKey)) log.write(said, by);
    });
  }

  leave(): void {
    const peer = this.random.chance(0.2) ? this.#member() : undefined;
    if (peer === undefined || peer === this.world.peers[0]) return;
    const leave = (log: AppLog) => log.write({ kind: "leave" }, peer.person);
    peer.act(({ core }) => this.#unlessFull(() => core.writing(leave)));
  }

  /** Somebody's behavior writes; it takes part, and again when its person came back. */
  behavior(): void {
    const peer = this.#member();
    for (let i = this.random.between(1, 12); i > 0 && peer !== undefined; i--) {
      this.#say(peer, peer.behavior);
    }
  }

  checkpoint(): void {
    if (this.random.chance(0.5)) {
      this.#creator((log, by) => log.write({ kind: "checkpoint", digest: null }, by));
    }
  }

  // Who attacks.

  /** Somebody who knows the topic and was never invited. */
  stranger(): void {
    const { world, random } = this;
    const node = player(`stranger ${random.between(0, 5)}`);
    const says = (peer: string): void => {
      const meeting = { topic: world.topic, node: node.key, other: peer };
      const hello = helloAt(meeting, {
        nonce: random.bytes(16),
        person: outsider,
        invite: outsider,
        vouch: [],
      });
      world.network.send(endpoint, peer, encodeTopicFrame(hello));
    };
    const endpoint: Endpoint = {
      key: node.key,
      mayConnect: () => true,
      connected: (peer) => says(peer),
      disconnected: () => {},
      received: () => {},
      sent: () => {},
    };
    world.network.attach(endpoint);
    for (const { key } of world.peers) if (random.chance(0.7)) world.network.dial(node.key, key);
    world.timeline.after(random.between(1_000, 10_000), () => world.network.detach(endpoint));
  }

  /** Events that sort before most of what there is: they name nothing new. */
  late(): void {
    const traitor = this.#asTraitor();
    traitor?.act((run) => {
      const { topic } = run.log;
      if (topic?.knows(traitor.person.publicKey) !== true) return;
      for (let i = this.random.between(1, 20); i > 0; i--) {
        const last = topic.newestOf(traitor.person.publicKey);
        if (last === undefined) return;
        this.#sneak(traitor, run.log, {
          topic: topic.id,
          heads: [{ id: last.id, lamport: last.lamport }],
          previous: { id: last.id, seq: last.seq },
        });
      }
    });
  }

  /** Two events in one place. */
  branches(): void {
    const traitor = this.#asTraitor();
    traitor?.act((run) => {
      const { topic } = run.log;
      const last = topic?.newestOf(traitor.person.publicKey);
      if (last === undefined) return;
      const heads = [{ id: last.id, lamport: last.lamport }];
      const place = { topic: topic!.id, heads, previous: { id: last.id, seq: last.seq } };
      this.world.hasForks = true;
      this.#sneak(traitor, run.log, place);
      this.#sneak(traitor, run.log, place);
    });
  }

  /** An event in the name of the creator, and bytes that are nothing. */
  forge(): void {
    const { world, random } = this;
    const traitor = this.#asTraitor();
    const victim = this.anyone();
    const run = traitor?.run;
    if (run?.log.topic === undefined || victim === traitor) return;
    const signed = this.#eventAt(
      run.log.placeFor(creator.publicKey),
      creator.publicKey,
      traitor!.person,
      actOf(world.app, run.log, random),
    );
    const events = encodeTopicFrame({ frame: "events", events: [encodeSigned(signed)] });
    const frame = random.chance(0.7) ? events : random.bytes(40);
    world.network.send(run.endpoint, victim.key, frame);
  }

  /** More events than anybody stores, and to each peer others. */
  flood(): void {
    const { world, random } = this;
    const traitor = random.chance(0.5) ? this.#asTraitor() : undefined;
    const last = traitor?.run?.log.topic?.newestOf(traitor.person.publicKey);
    if (last === undefined || world.flooder !== undefined) return;
    const victims = random.shuffled(world.peers.filter(({ isHonest }) => isHonest));
    world.flooder = traitor;
    world.hasForks = true;
    random.pick(FLOODS).forEach((part, i) => {
      const victim = victims[i % victims.length]!;
      this.#floodWith(traitor!, victim, last, Math.floor(part * FLOODED_QUOTA.events));
    });
  }

  #floodWith(traitor: AppPeerNode, victim: AppPeerNode, after: TopicEvent, events: number): void {
    const { world, random } = this;
    const { publicKey } = traitor.person;
    let heads = [{ id: after.id, lamport: after.lamport }];
    let previous = { id: after.id, seq: after.seq };
    const signed = Array.from({ length: events }, () => {
      const content = { type: "add", payload: random.bytes(8) };
      const place = { topic: world.topic, heads, previous };
      const next = this.#eventAt(place, publicKey, traitor.person, content);
      heads = [{ id: next.id, lamport: next.event.lamport }];
      previous = { id: next.id, seq: next.event.seq };
      return encodeSigned(next);
    });
    world.note(traitor.name, `floods ${victim.name} with ${events} events`);
    const { run } = traitor;
    for (let i = 0; i < events; i += FLOOD_FRAME) {
      const frame = encodeTopicFrame({ frame: "events", events: signed.slice(i, i + FLOOD_FRAME) });
      world.timeline.after(i, () => {
        const isOpen = traitor.run === run && run!.core.isOpen(victim.key);
        if (isOpen) world.network.send(run!.endpoint, victim.key, frame);
      });
    }
  }

  /** The creator takes out who flooded the topic. */
  revokeFlooder(): void {
    const { flooder } = this.world;
    if (flooder === undefined || !this.#isMember(flooder.personKey)) return;
    this.world.hasRevocations = true;
    this.#creator((log, by) => {
      for (const said of revocationsOf(log, flooder.personKey)) log.write(said, by);
    });
  }

  /** A member that lies: the newest of those who came last, from now on. */
  #asTraitor(): AppPeerNode | undefined {
    if (this.#traitor === undefined && this.world.peers.length >= 3) {
      this.#traitor = this.#invite("member", { isHonest: false });
    }
    return this.#traitor;
  }

  #sneak(traitor: AppPeerNode, log: AppLog, place: EventPlace): void {
    const content = actOf(this.world.app, log, this.random);
    const { publicKey } = traitor.person;
    const signed = this.#eventAt(place, publicKey, traitor.person, content);
    traitor.run?.core.offer([signed]);
  }

  #eventAt(
    place: EventPlace,
    author: Uint8Array,
    signer: SyncSigner,
    content: EventContent,
  ): SignedEvent {
    return signEventSync(eventAt(author, place, content), signer);
  }

  // Who does it.

  #say(peer: AppPeerNode, by = peer.person): void {
    let id: string | undefined;
    const { world, random } = this;
    const isDone = peer.act(({ core }) => {
      const write = (log: AppLog) => {
        if (by !== peer.person && log.membership!.roleOf(by.publicKey) === undefined) {
          log.write(behaviorOf(log.topicId, peer.person, by.publicKey), by);
        }
        return log.append(actOf(world.app, log, random), by);
      };
      this.#unlessFull(() => id = core.writing(write).id.toString());
    });
    if (isDone && id !== undefined) world.judge.acknowledged(peer, id);
  }

  #creator(write: (log: AppLog, by: SyncSigner) => void): void {
    const peer = this.world.peers[0]!;
    peer.act(({ core }) => this.#unlessFull(() => core.writing((log) => write(log, peer.person))));
  }

  /** Writes, where there is room for it: in a topic with a quota there may be none. */
  #unlessFull(write: () => void): void {
    try {
      write();
    } catch (error) {
      if (this.world.quota === undefined || !isFull(error)) throw error;
    }
  }

  /** Invites somebody new, who starts with the ticket. */
  #invite(
    role: "member" | "keeper" | "admin",
    more: Partial<Comer> = {},
  ): AppPeerNode | undefined {
    const { world, random } = this;
    if (world.peers.length >= PEERS_MAX) return undefined;
    // Mostly the creator invites, and now and then an admin, of whom others may not know yet.
    const admins = world.peers.filter(({ run, person }) =>
      run?.log.membership?.roleOf(person.publicKey) === "admin"
    );
    const host = admins.length > 0 && random.chance(0.4) ? random.pick(admins) : world.peers[0]!;
    let seed: Uint8Array | undefined;
    const isDone = host.act(({ core }) => {
      const write = (log: AppLog) => {
        const invite = inviteTo(log, role, random);
        log.write(invite.said, host.person);
        seed = invite.seed;
      };
      this.#unlessFull(() => core.writing(write));
    });
    if (!isDone || seed === undefined) return undefined;
    const backend = nodeBackend();
    const invite = signerOf({ secretKey: seed, publicKey: backend.publicKey(seed) }, backend);
    const n = ++this.#newcomers;
    const person = player(`person ${n}`);
    world.judge.invited.add(person.key);
    const named = [host.key, random.pick(world.peers).key];
    const peer = new AppPeerNode(world, {
      node: player(`node ${n}`),
      person,
      name: `${role[0]}${n}`,
      invite,
      named,
      isKeeper: role === "keeper",
      ...more,
    });
    world.add(peer);
    peer.start();
    this.#keepDialling(peer);
    return peer;
  }

  /** Somebody who may write, and is up. */
  #member(): AppPeerNode | undefined {
    const able = this.world.peers.filter(({ isHonest, isKeeper, person, run }) => {
      const role = run?.log.membership?.roleOf(person.publicKey);
      return isHonest && !isKeeper && role !== undefined && role !== "keeper";
    });
    return able.length === 0 ? undefined : this.random.pick(able);
  }

  #isMember(person: string): boolean {
    return this.world.peers[0]!.run?.log.view?.members.has(person) ?? false;
  }

  protected machines(): readonly AppPeerNode[] {
    return this.world.peers;
  }

  /** A peer dials whom it wants, again and again. */
  #keepDialling(peer: AppPeerNode): void {
    const { world, random } = this;
    world.timeline.after(random.between(200, 1_200), () => {
      this.#keepDialling(peer);
      const missing = (peer.run?.core.wanted() ?? [])
        .filter((node) => !world.network.isLinked(peer.key, node));
      if (missing.length > 0) world.network.dial(peer.key, random.pick(missing));
    });
  }
}

function isFull(error: unknown): boolean {
  return error instanceof RealmError && error.code === "limit-exceeded";
}
