/**
 * The control log of one realm on one node: its events in memory and in a {@link Store}, what may
 * enter, and what it comes to.
 *
 * Nothing here waits. Events come in by {@link RealmLog.offer} and {@link RealmLog.append} and are
 * in the view at once; {@link RealmLog.flush} makes them durable, all in one write, and returns
 * those that may now be handed on. Until then `stored()`, `load()` and `isStored()` do not show
 * them: a node that told of its own event and then lost it would write another one in its place.
 *
 * A log without a genesis takes one: that of the topic, or of the owner, that it was told on this
 * machine. Everything else waits for it.
 *
 * At the door an event is refused that is malformed, badly signed, of another topic, or out of
 * place; and set aside when its author has no say, or its key was revoked. What was set aside is
 * taken when an event that is kept needs it (`kernel/topic.ts` says what is kept), or when its
 * author gets a say.
 *
 * @module
 */
import type { CID } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import { eventAt, type EventPlace, type SignedEvent, signEventSync } from "../kernel/event.ts";
import { EventIntake, type IntakeRules } from "../kernel/event_intake.ts";
import { formatPublicKey } from "../kernel/key.ts";
import { Offer, type Offered } from "../kernel/offer.ts";
import type { Store } from "../kernel/ports.ts";
import { StoredEvents } from "../kernel/stored_event.ts";
import { type EventKey, keyOf, Topic, type TopicEvent } from "../kernel/topic.ts";
import type { SyncSigner, VerifySync } from "../kernel/verify.ts";
import {
  controlContent,
  type ControlEvent,
  type ControlKind,
  controlKindOf,
  readControlEvent,
  readControlGenesis,
} from "./control_event.ts";
import { decodeManifest, type Manifest, parseManifest } from "./manifest.ts";
import type { ManifestSignature } from "./manifest_signature.ts";
import { planChanges } from "./plan.ts";
import {
  headAt,
  type Inclusion,
  inclusionOf,
  isPublished,
  Published,
  PublishedDigests,
  treeProblem,
} from "./published.ts";
import { RealmFold } from "./realm_fold.ts";
import type { RealmView } from "./realm_view.ts";
import { type Said, saidBy } from "./said.ts";
import { Standing } from "./standing.ts";

export type { Offered, Refusal } from "../kernel/offer.ts";

/** Whose log a node takes. With neither it takes none. */
export interface RealmTrust {
  /** Text form of the key that is, or was, its owner. */
  readonly owner?: string;
  /** CID of its genesis, in text. */
  readonly topic?: string;
}

/** The contents of the manifest in force. */
export interface InForceManifest {
  readonly event: CID;
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
  readonly signature: ManifestSignature;
}

const PREFIX = "control/";

/** Events after which other authors may have a say. */
const SAYS: readonly (ControlKind | undefined)[] = ["approve", "manifest", "revoke", "succession"];

/** What there is once there is a genesis. */
interface Open {
  readonly topic: Topic;
  readonly standing: Standing;
  readonly said: Map<TopicEvent, Said>;
  readonly published: Published;
  fold: RealmFold | undefined;
  view: RealmView | undefined;
}

/** See the module. */
export class RealmLog {
  #open: Open | undefined;
  #revision = 0;
  /** Accepted and not durable yet, parents first. */
  #pending = new Map<EventKey, SignedEvent>();
  readonly #intake: EventIntake;
  readonly #events: StoredEvents;
  /** Components that differ in a manifest and the one before, by the events of both. */
  readonly #touched = new Map<string, readonly string[]>();
  #manifest: InForceManifest | undefined;

  private constructor(
    readonly store: Store,
    readonly verify: VerifySync,
    readonly trust: RealmTrust,
  ) {
    this.#intake = new EventIntake(verify);
    this.#events = new StoredEvents(store, PREFIX);
  }

  /**
   * Loads what is stored, and checks all of it again. Throws RealmError `corrupt` when that is
   * damaged, `wrong-owner` when it is not the log that `trust` names.
   */
  static open(
    { store, verify, trust }: { store: Store; verify: VerifySync; trust: RealmTrust },
  ): RealmLog {
    const stored = [...new StoredEvents(store, PREFIX).all()].map(({ signed }) => signed);
    if (stored.length === 0) return new RealmLog(store, verify, trust);
    // The genesis comes first. It was trusted when it was stored.
    const log = new RealmLog(store, verify, { topic: stored[0]!.id.toString() });
    const { refused, missing } = log.offer(stored);
    log.#pending.clear(); // they are where they were read
    // What was stored before a revocation of its author came may be refused now.
    const problem = refused.find(({ code }) => code !== "refused" && code !== "void")?.problem ??
      (missing.length > 0 ? `event ${missing[0]} is missing` : undefined);
    if (problem !== undefined || log.view === undefined) {
      throw new RealmError("corrupt", `Cannot read the control log: ${problem ?? "no genesis"}`, {
        hint: "Move the data folder away and join the realm again",
      });
    }
    const { topic, owners } = log.view;
    if (
      (trust.topic ?? topic) !== topic ||
      (trust.owner !== undefined && !owners.includes(trust.owner))
    ) {
      throw new RealmError(
        "wrong-owner",
        `Cannot open the control log: it is of realm ${topic} of ${owners.at(-1)}, wanted ${
          trust.topic ?? trust.owner
        }`,
        { hint: "Start with another data folder: realm agent --data DIR" },
      );
    }
    return log;
  }

  /** The graph of events; `undefined` until there is a genesis. Not to be added to. */
  get topic(): Topic | undefined {
    return this.#open?.topic;
  }

  /** Grows with every event that is taken. */
  get revision(): number {
    return this.#revision;
  }

  /** What the log comes to; the same object until something changes. */
  get view(): RealmView | undefined {
    const open = this.#open;
    if (open === undefined) return undefined;
    return open.view ??= this.#folded(open).view();
  }

  /** Takes events from elsewhere: in any order, any number of times. */
  offer(events: readonly SignedEvent[]): Offered {
    const offer = new Offer();
    const fresh = this.#intake.sift(events, this.#open?.topic, offer);
    if (this.#open === undefined) this.#found(fresh, offer);
    if (this.#open !== undefined) this.#intake.take(fresh, this.#rules(this.#open, offer), offer);
    return offer.done();
  }

  /**
   * Makes, signs and takes an event of this node's own. Throws RealmError `refused` when its key
   * has no say in it, `unclaimed` without a genesis.
   */
  append(said: ControlEvent, signer: SyncSigner): SignedEvent {
    const place = this.placeFor(signer.publicKey);
    const signed = signEventSync(eventAt(signer.publicKey, place, controlContent(said)), signer);
    const { accepted, refused } = this.offer([signed]);
    if (accepted.some(({ id }) => id.equals(signed.id))) return signed;
    throw new RealmError(
      "refused",
      `Cannot write to the control log: ${refused[0]?.problem ?? "it does not fit"}`,
    );
  }

  /** Where the next event of a key goes. Throws RealmError `unclaimed` without a genesis. */
  placeFor(author: Uint8Array): EventPlace {
    if (this.#open === undefined) {
      throw new RealmError("unclaimed", "Cannot write to the control log: there is none yet", {
        hint: "Run realm apply",
      });
    }
    return this.#open.topic.placeFor(author);
  }

  /**
   * Makes everything durable that came since, in one write, and returns what is kept of it, parents
   * first.
   * `wallMs` is what {@link RealmLog.storedAtMs} will say.
   */
  flush(wallMs: number): readonly SignedEvent[] {
    if (this.#pending.size === 0) return [];
    const events = [...this.#pending.values()];
    this.store.write(events.map((signed) => this.#events.storeOp({ signed, atMs: wallMs })));
    this.#pending.clear();
    return events.filter(({ id }) => this.#open!.topic.isKept(this.#open!.topic.get(id)!));
  }

  /** Whether an event is here and durable, also one that is not kept any more. */
  isStored(id: CID): boolean {
    return this.topic?.has(id) === true && !this.#pending.has(keyOf(id));
  }

  /** Durable kept events in order: what is reconciled with peers. */
  *stored(): Iterable<TopicEvent> {
    for (const event of this.topic?.order() ?? []) {
      if (!this.#pending.has(event.key)) yield event;
    }
  }

  /** What `encodeSigned()` gives of a durable event. */
  loadEncoded(key: EventKey): Uint8Array | undefined {
    const event = this.topic?.at(key);
    return event && !this.#pending.has(key) ? this.#events.loadEncoded(event) : undefined;
  }

  /** A durable event. */
  load(id: CID): SignedEvent | undefined {
    const event = this.topic?.get(id);
    return event === undefined || this.#pending.has(event.key) ? undefined : this.#read(event);
  }

  /** When a durable event was stored here, in milliseconds since 1970. */
  storedAtMs(id: CID): number | undefined {
    const event = this.topic?.get(id);
    return event && this.#events.load(event)?.atMs;
  }

  /** The manifest in force. */
  manifest(): InForceManifest | undefined {
    const open = this.#open;
    const event = open && this.#folded(open).inForce;
    if (event === undefined) return undefined;
    if (this.#manifest?.event.equals(event.id) !== true) this.#manifest = this.#manifestOf(event);
    return this.#manifest;
  }

  /** What the manifests until here published; the next one's tree follows from it. */
  published(): PublishedDigests {
    return this.#open?.published.now() ?? new PublishedDigests();
  }

  /**
   * Proof that a manifest, or one before it, published a digest: checked against what its event
   * says, which the owner signed. `undefined` where there is none.
   */
  inclusionOf(digest: string, manifest: CID): Inclusion | undefined {
    const open = this.#open;
    const event = open?.topic.get(manifest);
    if (open === undefined || event === undefined) return undefined;
    const [said, at] = [open.said.get(event), open.published.at(event)];
    if (said?.kind !== "manifest" || at === undefined) return undefined;
    const found = inclusionOf(digest, at);
    return found !== undefined && isPublished(digest, found, said.tree) ? found : undefined;
  }

  /** Proof that the tree of a manifest begins with that of another; `undefined` if it need not. */
  consistencyOf(before: CID, manifest: CID): readonly Uint8Array[] | undefined {
    const { topic, published } = this.#open!;
    const [from, to] = [topic.get(before)!, topic.get(manifest)!];
    const { all, size } = published.at(to)!;
    return topic.isAncestor(from, to)
      ? all.tree.consistencyProof(published.at(from)!.size, size)
      : undefined;
  }

  /** The greatest version of a manifest in any event here: the next one's has to be above it. */
  get versionMax(): number {
    let max = 0;
    for (const said of this.#open?.said.values() ?? []) {
      if (said.kind === "manifest" && said.problem === undefined) max = Math.max(max, said.version);
    }
    return max;
  }

  /** Looks for the genesis that this node trusts. */
  #found(events: Map<EventKey, SignedEvent>, offer: Offer): void {
    const { owner, topic } = this.trust;
    for (const [key, signed] of events) {
      const { id, event } = signed;
      if (event.topic !== null) continue;
      events.delete(key);
      if (this.#open !== undefined) continue;
      const isTrusted = (owner !== undefined || topic !== undefined) &&
        (topic === undefined || topic === id.toString()) &&
        (owner === undefined || topic !== undefined || owner === formatPublicKey(event.author));
      if (!isTrusted) {
        offer.refuse(signed, "refused", "it is the genesis of another realm");
        continue;
      }
      try {
        this.#start(signed);
        offer.accepted.push(signed);
      } catch (error) {
        offer.fail(signed, error);
      }
    }
    if (this.#open !== undefined) return;
    for (const signed of events.values()) {
      offer.refuse(signed, "unclaimed", "there is no genesis here yet");
    }
  }

  #start(signed: SignedEvent): void {
    const genesis = readControlGenesis(signed.event);
    const topic = new Topic(signed.id, signed.event);
    const standing = new Standing(topic, genesis);
    topic.judge((event) => standing.isVoid(event));
    const said = new Map([[topic.genesis, readControlEvent(signed.event) as Said]]);
    this.#revision += 1;
    this.#open = {
      topic,
      standing,
      said,
      published: new Published(topic),
      fold: undefined,
      view: undefined,
    };
    this.#pending.set(topic.genesis.key, signed);
  }

  #rules(open: Open, offer: Offer): IntakeRules {
    return {
      topic: open.topic,
      mayEnter: ({ event: { author, type } }, after) =>
        open.standing.mayWrite(author, type) && open.standing.hasRoom(author, after),
      hadSay: ({ event: { author, type } }) => open.standing.hadSay(author, type),
      enter: (signed) => this.#enter(open, signed, offer),
      givesSay: (type) => SAYS.includes(controlKindOf(type)),
    };
  }

  /** Puts an event into the topic; false when it can never be there. */
  #enter(open: Open, signed: SignedEvent, offer: Offer): boolean {
    const { topic, standing } = open;
    let said: Said;
    try {
      said = saidBy(signed.event, this.verify);
    } catch (error) {
      offer.fail(signed, error);
      return false;
    }
    const { size } = topic;
    const { author } = signed.event;
    const counting = topic.countingOf(author);
    const added = topic.add(signed, (event) => standing.problemOf(event, said));
    if (added.kind === "invalid") {
      offer.refuse(signed, "corrupt", `event ${signed.id}: ${added.problem}`);
      return false;
    }
    if (added.kind !== "added") return added.kind === "known";
    const { event } = added;
    if (said.kind === "manifest") {
      const at = open.published.take(event, said.digests);
      said = { ...said, problem: said.problem ?? treeProblem(said.tree, headAt(at)) };
    }
    open.said.set(event, said);
    this.#pending.set(event.key, signed);
    offer.accepted.push(signed);
    open.view = undefined;
    this.#revision += 1;
    const isJudged = standing.learn(event, said) && topic.judge((e) => standing.isVoid(e));
    // Nothing of what came before it looks different now.
    const isSame = !isJudged && topic.size === size + 1 && topic.countingOf(author) === counting;
    if (isSame && topic.counts(event) && topic.isLast(event)) open.fold?.take(event);
    else if (!isSame || topic.counts(event) || said.kind === "manifest") open.fold = undefined;
    return true;
  }

  #folded(open: Open): RealmFold {
    return open.fold ??= RealmFold.of({
      topic: open.topic,
      standing: open.standing,
      said: (event) => open.said.get(event)!,
      touched: (before, after) => this.#touchedBetween(before, after),
    });
  }

  #touchedBetween(before: TopicEvent, after: TopicEvent): readonly string[] {
    const pair = before.key + after.key;
    let touched = this.#touched.get(pair);
    if (touched === undefined) {
      const release = (event: TopicEvent) => {
        const { manifest, signature } = this.#manifestOf(event);
        return { manifest, digests: signature.digests };
      };
      touched = planChanges(release(before), release(after))
        .filter(({ subject }) => subject === "component").map(({ name }) => name);
      this.#touched.set(pair, touched);
    }
    return touched;
  }

  #manifestOf(event: TopicEvent): InForceManifest {
    const read = readControlEvent(this.#read(event).event);
    if (read.kind !== "manifest") throw new Error("not the event of a manifest");
    const { manifestBytes, signature } = read;
    const manifest = parseManifest(decodeManifest(manifestBytes));
    return { event: event.id, bytes: manifestBytes, manifest, signature };
  }

  /** An event of the topic with its payload. */
  #read(event: TopicEvent): SignedEvent {
    const pending = this.#pending.get(event.key);
    if (pending !== undefined) return pending;
    const stored = this.#events.load(event);
    if (stored === undefined) {
      throw new RealmError("corrupt", `Cannot read event ${event.id}: it is gone from the store`);
    }
    return stored.signed;
  }
}
