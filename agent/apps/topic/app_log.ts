/**
 * The events of one topic of an app on one peer, in memory and in a {@link Store}: what may enter, and
 * who takes part.
 *
 * Nothing here waits. Events come in by {@link AppLog.offer} and {@link AppLog.append} and are in the
 * view at once; {@link AppLog.flush} makes them durable, all in one write, and returns those that may
 * now be handed on. Until then `stored()`, `load()` and `isStored()` do not show them: a peer that told
 * of its own event and then lost it would write another one in its place.
 *
 * A log that has nothing yet takes the genesis of the topic that it was opened for, which its CID
 * proves; everything else waits for it. At the door an event is refused that is malformed, badly
 * signed, of another topic, or out of place, and set aside while its author has no say
 * (`membership.ts`; `kernel/event_intake.ts` is the door).
 *
 * @module
 */
import type { CID } from "../../kernel/canonical.ts";
import { RealmError } from "../../kernel/error.ts";
import {
  encodeSigned,
  type Event,
  eventAt,
  type EventContent,
  type EventPlace,
  genesisEvent,
  type SignedEvent,
  signEventSync,
} from "../../kernel/event.ts";
import { EventIntake, type IntakeRules } from "../../kernel/event_intake.ts";
import { Offer, type Offered } from "../../kernel/offer.ts";
import type { EventLog } from "../../kernel/peering/event_log.ts";
import type { Random, Store } from "../../kernel/ports.ts";
import { Recent } from "../../kernel/recent.ts";
import { StoredEvents } from "../../kernel/stored_event.ts";
import { type EventKey, keyOf, Topic, type TopicEvent } from "../../kernel/topic.ts";
import type { SyncSigner, VerifySync } from "../../kernel/verify.ts";
import {
  appContent,
  type AppGenesis,
  type AppSaid,
  isKernelType,
  type KernelEvent,
  NONCE_BYTES,
  personIn,
  readAppEvent,
  readAppGenesis,
} from "./app_event.ts";
import { type AppView, appView } from "./app_view.ts";
import { JOINS_MAX } from "./joined.ts";
import { Membership } from "./membership.ts";
import { encryptPayload, KeyRing, type Opener, sealEpoch } from "./payload_keys.ts";
import { NO_QUOTA, type TopicQuota, TopicUsage } from "./topic_quota.ts";

/** What an {@link AppLog} is opened with. */
export interface AppLogInit {
  /** Of this topic alone: `arbiter/namespace.ts`. Keys of events begin with `event/`. */
  readonly store: Store;
  readonly verify: VerifySync;
  /** The topic: the CID of its genesis. */
  readonly topic: CID;
  /** What it may have; `TOPIC_QUOTA` unless given. What is stored already may be more. */
  readonly quota?: TopicQuota | undefined;
  /** Secrets by which payload keys may be found: of the person here, and of the invite it came by. */
  readonly openers?: Iterable<Opener>;
  /**
   * Events of the keys that write here, from before it was deleted: nothing is written until they have
   * come back, since others in their place would contradict them.
   */
  readonly wrote?: readonly CID[] | undefined;
}

/**
 * Bytes of events that were read or written last and are kept: when one comes late, those after it are
 * applied again, and to read them from the store takes twice as long as to apply them.
 */
const RECENT_BYTES = 8 * 1024 * 1024;

/** After events of these types those may have a say who had none. */
const GIVE_SAY: readonly string[] = ["realm/revoke", "realm/join", "realm/behavior"];

/** Who wants to hear of each change at once; `Replay` is one. */
export interface TopicFollower {
  /** The event is in the topic now. */
  added(event: TopicEvent): void;
  /** Other events may be void, or kept, than before. */
  judged(): void;
  /** Everything that is in the topic is durable now. */
  stored?(): void;
}

/** A log that is being opened: see {@link AppLog.opening}. */
export interface OpeningLog {
  /** Whole when {@link rest} has ended, and until then for nothing but to see how it begins. */
  readonly log: AppLog;
  /** Each event once it was checked, with what `encodeSigned()` gave of it. Throws as `AppLog.open`. */
  readonly rest: Generator<readonly [EventKey, Uint8Array], void>;
}

/** What there is once there is a genesis. */
interface Open {
  readonly topic: Topic;
  readonly membership: Membership;
  view: AppView | undefined;
}

/** Where nothing is stored: events stay in memory. */
const NOWHERE: Store = {
  get: () => undefined,
  scan: () => [],
  keys: () => [],
  write() {},
  close() {},
};

/** See the module. */
export class AppLog implements EventLog {
  readonly store: Store;
  readonly topicId: CID;
  /** The payload keys that are known here. */
  readonly keys: KeyRing;
  readonly #verify: VerifySync;
  readonly #events: StoredEvents;
  readonly #usage: TopicUsage;
  readonly #intake: EventIntake;
  readonly #wrote: readonly CID[];
  #open: Open | undefined;
  #revision = 0;
  /** Accepted and not durable yet, parents first. */
  #pending = new Map<EventKey, SignedEvent>();
  readonly #recent = new Recent<EventKey, SignedEvent>(RECENT_BYTES);
  readonly #followers = new Set<TopicFollower>();

  private constructor(
    { store, verify, topic, openers, quota, wrote = [] }: AppLogInit,
    keys?: KeyRing,
  ) {
    this.store = store;
    this.topicId = topic;
    this.keys = keys ?? new KeyRing(openers);
    this.#verify = verify;
    this.#events = new StoredEvents(store, "");
    this.#usage = new TopicUsage(quota, (author) => this.membership?.personOf(author) ?? author);
    this.#intake = new EventIntake(verify);
    this.#wrote = wrote;
  }

  /**
   * Loads what is stored. Every event is compared with its name, and all but the signatures is checked
   * again; those were when it was stored. Throws RealmError `corrupt` when something is damaged.
   */
  static open(init: AppLogInit): AppLog {
    const { log, rest } = AppLog.opening(init);
    for (const _ of rest);
    return log;
  }

  /** {@link open}, an event at a time. */
  static opening(init: AppLogInit): OpeningLog {
    const log = new AppLog(init);
    return { log, rest: log.#load() };
  }

  *#load(): Generator<readonly [EventKey, Uint8Array], void> {
    const offer = new Offer();
    for (const { signed, encoded } of this.#events.all()) {
      this.#put(signed, offer);
      const [refusal] = offer.refused;
      if (refusal !== undefined) {
        throw new RealmError("corrupt", `Cannot read topic ${this.topicId}: ${refusal.problem}`, {
          hint: "Move the data folder away and join the topic again",
        });
      }
      // They are where they were read, and all of them may be more than fits the memory.
      this.#pending.clear();
      offer.accepted.length = 0;
      yield [keyOf(signed.id), encoded];
    }
    this.#recount(); // what came after a revocation was counted though it is void
  }

  /**
   * Makes a new topic, of which `signer` is the creator; nothing is durable before {@link flush}.
   * `openers` has to have the creator's own when it is encrypted.
   */
  static create(
    init: Omit<AppLogInit, "topic">,
    content: Omit<AppGenesis, "kind" | "nonce">,
    { signer, random }: { signer: SyncSigner; random: Random },
  ): AppLog {
    const said = { kind: "app", nonce: random.bytes(NONCE_BYTES), ...content } as const;
    const genesis = signEventSync(genesisEvent(signer.publicKey, appContent(said)), signer);
    const log = new AppLog({ ...init, topic: genesis.id });
    log.#start(genesis);
    if (content.isEncrypted) {
      log.write(sealEpoch(1, log.view!.members.keys(), undefined, random), signer);
    }
    return log;
  }

  /** A log of these events and all in their past alone, in memory. */
  past(ends: readonly TopicEvent[]): AppLog {
    const past = new Set<TopicEvent>();
    const open = [...ends];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      if (past.has(next)) continue;
      past.add(next);
      open.push(...next.parents);
    }
    const init = { store: NOWHERE, verify: this.#verify, topic: this.topicId, quota: NO_QUOTA };
    const log = new AppLog(init, this.keys.again());
    log.#start(this.read(this.topic!.genesis));
    const offer = new Offer();
    for (const event of [...past].sort((a, b) => a.lamport - b.lamport)) {
      log.#enter(log.#open!, this.read(event), offer);
    }
    return log;
  }

  /** The graph of events; `undefined` until there is a genesis. Not to be added to. */
  get topic(): Topic | undefined {
    return this.#open?.topic;
  }

  /** Who takes part; `undefined` until there is a genesis. */
  get membership(): Membership | undefined {
    return this.#open?.membership;
  }

  /** What the events of the kernel come to; the same object until one of them changes something. */
  get view(): AppView | undefined {
    const open = this.#open;
    return open && (open.view ??= appView(open.topic, open.membership));
  }

  get revision(): number {
    return this.#revision;
  }

  /** Tells of changes until the returned function is called. */
  follow(follower: TopicFollower): () => void {
    this.#followers.add(follower);
    return () => this.#followers.delete(follower);
  }

  /** Takes events from elsewhere: in any order, any number of times. */
  offer(events: readonly SignedEvent[]): Offered {
    const offer = new Offer();
    const fresh = this.#intake.sift(this.#fitting(events, offer), this.topic, offer);
    for (const [key, signed] of fresh) {
      const isGenesis = signed.event.topic === null;
      try {
        const said = readAppEvent(signed.event);
        if (isGenesis && this.#open === undefined && signed.id.equals(this.topicId)) {
          this.#start(signed);
          offer.accepted.push(signed);
        } else if (isGenesis) offer.refuse(signed, "corrupt", "it is the genesis of another topic");
        else if (this.membership?.isForged(signed, said) === true) {
          offer.refuse(signed, "corrupt", `the proof of its ${signed.event.type} is forged`);
        } else continue;
      } catch (error) {
        offer.fail(signed, error);
      }
      fresh.delete(key);
    }
    if (this.#open !== undefined) this.#intake.take(fresh, this.#rules(this.#open, offer), offer);
    else {
      for (const signed of fresh.values()) {
        offer.refuse(signed, "unclaimed", "the genesis of the topic is not here yet");
      }
    }
    return offer.done();
  }

  sessionBegins(): void {
    this.#intake.sessionBegins();
  }

  /** Those for which there is room; a call may go a little beyond it. */
  #fitting(events: readonly SignedEvent[], offer: Offer): readonly SignedEvent[] {
    return events.filter((signed) => {
      const problem = this.#crowded(signed.event);
      if (problem === undefined || this.topic?.has(signed.id) === true) return true;
      if (this.#intake.isWanted(signed.id)) return true;
      if (this.#intake.pass(signed, this.topic, offer)) offer.refuse(signed, "full", problem);
      return false;
    });
  }

  /** Why there is no room for an event by itself. */
  #crowded({ author, type, payload }: Pick<Event, "author" | "type" | "payload">) {
    const { membership } = this;
    if (membership === undefined) return this.#usage.problemFor({ author, type }, false);
    const person = type === "realm/behavior" ? personIn(payload) : undefined;
    const isJoin = type === "realm/join" || type === "realm/behavior";
    const problem = isJoin ? membership.joinProblem(author, person) : undefined;
    if (problem !== undefined) return problem;
    // Who has had its share can leave: as often as it can join, since it could leave on branches.
    const isSpared = (type === "realm/leave" && membership.leftBy(author) < JOINS_MAX) ||
      membership.isCreator(person ?? membership.personOf(author));
    const isCreator = membership.isCreator(author);
    return this.#usage.problemFor({ author, type, person }, isCreator, isSpared);
  }

  /** Why no more events of the app are taken, of all or of some; empty while they are. */
  get fullness(): readonly string[] {
    return this.#usage.problems((author) => this.membership?.isCreator(author) ?? false);
  }

  /**
   * Takes what another log of the topic has taken, parents first: who may write what was asked there.
   * Returns those that are new here. Throws RealmError `corrupt` for one that can never be there.
   */
  take(events: readonly SignedEvent[]): readonly SignedEvent[] {
    const offer = new Offer();
    for (const signed of events) this.#put(signed, offer);
    const { accepted, refused: [refusal] } = offer.done();
    if (refusal === undefined) return accepted;
    throw new RealmError("corrupt", `Cannot take event: ${refusal.problem}`);
  }

  /** Puts an event into the topic that was taken before; the first is the genesis. */
  #put(signed: SignedEvent, offer: Offer): void {
    try {
      if (this.#open === undefined) {
        this.#start(signed);
        offer.accepted.push(signed);
      } else if (signed.event.topic !== null) this.#enter(this.#open, signed, offer);
    } catch (error) {
      offer.fail(signed, error);
    }
  }

  /**
   * Makes, signs and takes an event of the app by somebody here, encrypted where the topic is. Throws
   * RealmError `refused` when its key has no say in it, `not-found` when there is no genesis or no
   * payload key yet, `limit-exceeded` when the topic is full.
   */
  append(content: { type: string; payload: Uint8Array }, signer: SyncSigner): SignedEvent {
    const place = this.placeFor(signer.publicKey);
    if (isKernelType(content.type)) throw refused(`${content.type} is a type of the kernel's`);
    return this.#append(this.#sealed(content, place, signer.publicKey), place, signer);
  }

  /** {@link append} for an event of the kernel. */
  write(said: KernelEvent, signer: SyncSigner): SignedEvent {
    return this.#append(appContent(said), this.placeFor(signer.publicKey), signer);
  }

  #append(content: EventContent, place: EventPlace, signer: SyncSigner): SignedEvent {
    const { type, payload } = content;
    const problem = this.#crowded({ author: signer.publicKey, type, payload });
    if (problem !== undefined) {
      throw new RealmError("limit-exceeded", `Cannot write to the topic: ${problem}`, {
        hint: "Go on in a fork of it: realm app fork",
      });
    }
    const event = eventAt(signer.publicKey, place, content);
    readAppEvent(event);
    const signed = signEventSync(event, signer);
    const offer = new Offer();
    // To verify what was signed here takes longer than all the rest.
    this.#intake.take(
      new Map([[keyOf(signed.id), signed]]),
      this.#rules(this.#open!, offer),
      offer,
    );
    const { accepted, refused: [refusal] } = offer.done();
    if (accepted.some(({ id }) => id.equals(signed.id))) return signed;
    throw refused(refusal?.problem ?? "it does not fit");
  }

  #sealed(
    { type, payload }: { type: string; payload: Uint8Array },
    place: EventPlace,
    author: Uint8Array,
  ): EventContent {
    const { topic, membership } = this.#open!;
    if (!membership.genesis.isEncrypted) return { type, payload };
    const heads = place.heads.map(({ id }) => topic.get(id)!);
    const epoch = membership.newestEpoch(heads);
    const key = epoch && this.keys.get(epoch.id);
    if (epoch === undefined || key === undefined) {
      throw new RealmError(
        "not-found",
        `Cannot write to the topic: the key of epoch ${epoch?.epoch ?? 1} is not here`,
        { hint: "Ask an admin of the topic for a new epoch" },
      );
    }
    const seq = place.previous === undefined ? 0 : place.previous.seq + 1;
    return {
      type,
      payload: encryptPayload(key, topic.id, { author, seq, type }, payload),
      keyEpoch: epoch.epoch,
    };
  }

  /** One of {@link AppLogInit.wrote} that is not here; undefined when all of them are. */
  get awaited(): CID | undefined {
    return this.#wrote.find((id) => this.topic?.has(id) !== true);
  }

  /**
   * Where the next event of a key goes. Throws RealmError `not-found` without a genesis, `refused` while
   * it would contradict what the key wrote before.
   */
  placeFor(author: Uint8Array): EventPlace {
    if (this.#open !== undefined) {
      const { awaited } = this;
      if (awaited === undefined) return this.#open.topic.placeFor(author);
      throw new RealmError("refused", `Cannot write to the topic: ${waitsFor(awaited)}`, {
        hint: "Wait until a peer that has it is connected",
      });
    }
    throw new RealmError("not-found", `Cannot write to topic ${this.topicId}: it is not here yet`, {
      hint: "Wait until a peer that has it is connected",
    });
  }

  /**
   * Makes everything durable that came since, in one write, and returns what is kept of it, parents
   * first. `wallMs` is what {@link AppLog.storedAtMs} will say.
   */
  flush(wallMs: number): readonly SignedEvent[] {
    if (this.#pending.size === 0) return [];
    const events = [...this.#pending.values()];
    this.store.write(events.map((signed) => this.#events.storeOp({ signed, atMs: wallMs })));
    this.#pending.clear();
    for (const signed of events) this.#recent.put(keyOf(signed.id), signed, signed.bytes.length);
    for (const follower of this.#followers) follower.stored?.();
    return events.filter(({ id }) => this.topic!.isKept(this.topic!.get(id)!));
  }

  /** Whether an event is here and durable, also one that is not kept any more. */
  isStored(id: CID): boolean {
    const event = this.topic?.get(id);
    return event !== undefined && !this.#pending.has(event.key);
  }

  /** {@link isStored}, of an event that is here. */
  isDurable({ key }: TopicEvent): boolean {
    return !this.#pending.has(key);
  }

  /** Durable kept events in order: what is reconciled with peers. */
  *stored(): Iterable<TopicEvent> {
    for (const event of this.topic?.order() ?? []) {
      if (!this.#pending.has(event.key)) yield event;
    }
  }

  /** A durable event. */
  load(id: CID): SignedEvent | undefined {
    const event = this.topic?.get(id);
    return event === undefined || this.#pending.has(event.key) ? undefined : this.read(event);
  }

  /** What `encodeSigned()` gives of a durable event. */
  loadEncoded(key: EventKey): Uint8Array | undefined {
    const event = this.topic?.at(key);
    if (event === undefined || this.#pending.has(key)) return undefined;
    const known = this.#recent.get(key);
    return known === undefined ? this.#events.loadEncoded(event) : encodeSigned(known);
  }

  /** When a durable event was stored here, in milliseconds since 1970. */
  storedAtMs(id: CID): number | undefined {
    const event = this.topic?.get(id);
    return event && this.#events.load(event)?.atMs;
  }

  /** An event of the topic, durable or not, with its payload as it was signed. */
  read(event: TopicEvent): SignedEvent {
    const known = this.#pending.get(event.key) ?? this.#recent.get(event.key);
    if (known !== undefined) return known;
    const signed = this.#events.load(event)?.signed;
    if (signed !== undefined) {
      this.#recent.put(event.key, signed, signed.bytes.length);
      return signed;
    }
    throw new RealmError("corrupt", `Cannot read event ${event.id}: it is gone from the store`);
  }

  #start(signed: SignedEvent): void {
    if (!signed.id.equals(this.topicId)) {
      throw new RealmError("corrupt", `Cannot read topic ${this.topicId}: ${signed.id} is another`);
    }
    const topic = new Topic(signed.id, signed.event);
    const membership = new Membership(topic, readAppGenesis(signed.event), this.#verify);
    topic.judge((event) => membership.isVoid(event));
    this.#open = { topic, membership, view: undefined };
    this.#pending.set(topic.genesis.key, signed);
    this.#usage.add(topic.genesis, signed.bytes.length);
    this.#revision++;
  }

  #recount(): void {
    const { topic } = this;
    if (topic !== undefined) this.#usage.recount((event) => topic.isKept(event));
  }

  #rules(open: Open, offer: Offer): IntakeRules {
    return {
      topic: open.topic,
      mayEnter: (signed, after) => open.membership.mayEnter(signed, after),
      hadSay: (signed) => open.membership.hadSay(signed),
      enter: (signed) => this.#enter(open, signed, offer),
      // After these, events of who was revoked may be none of a revoked key's.
      givesSay: (type) => GIVE_SAY.includes(type),
      roomFor: ({ event }) => this.#usage.roomFor(event, open.membership.isCreator(event.author)),
    };
  }

  /** Puts an event into the topic; false when it can never be there. */
  #enter({ topic, membership }: Open, signed: SignedEvent, offer: Offer): boolean {
    const said: AppSaid = readAppEvent(signed.event);
    const wasForked = topic.isForked(signed.event.author);
    const added = topic.add(signed, (event) => membership.problemOf(event, signed, said));
    if (added.kind === "invalid" || added.kind === "missing") {
      const problem = added.kind === "invalid" ? added.problem : `${added.ids[0]} is missing`;
      offer.refuse(signed, "corrupt", `event ${signed.id}: ${problem}`);
      return false;
    }
    const { event } = added;
    if (added.kind === "known") return true;
    this.#pending.set(event.key, signed);
    offer.accepted.push(signed);
    this.#revision++;
    const isOther = membership.learn(event);
    this.#usage.add(event, signed.bytes.length); // to the share of whom it is known now to act for
    const isJudged = isOther && topic.judge((e) => membership.isVoid(e));
    if (isJudged) this.#recount();
    if (said.kind === "invite" || said.kind === "epoch") this.keys.learn(said);
    const isForked = topic.isForked(event.author);
    if (said.kind !== "event" || wasForked || isForked) this.#open!.view = undefined;
    for (const follower of this.#followers) {
      follower.added(event);
      if (isJudged) follower.judged();
    }
    return true;
  }
}

/** What is said of {@link AppLog.awaited}. */
export function waitsFor(event: CID): string {
  return `event ${event}, which you wrote before the topic was deleted here, did not come back yet`;
}

function refused(problem: string): RealmError {
  return new RealmError("refused", `Cannot write to the topic: ${problem}`, {
    hint: "What one may write there comes from one's role: realm app topics shows yours",
  });
}
