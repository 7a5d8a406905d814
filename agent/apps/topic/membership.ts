/**
 * Who takes part in the topic of an app, and whose events are void.
 *
 * Read from the events without their order, so that every peer that has the same events comes to the
 * same answer, whichever came first:
 *
 * - An author is *admitted* by what is in the past of its event: it is the creator, or it joined there
 *   by an invite of the creator or of an admin, and has not left since. Of several joins the highest
 *   role counts.
 * - A *revocation* acts on events wherever they are. Of a member that was revoked only the events up to
 *   the one that the revocation names are left; by an invite that was revoked only those have joined
 *   whose join the revocation has in its past.
 * - The creator revokes anybody. Admins revoke who is no admin, and invites that make none. So who is
 *   admin follows from the creator's revocations alone, and two admins cannot revoke each other.
 *
 * A *behavior* is a key that a person has signed for: it is admitted where its person is, as a member at
 * most, and of it only those events are left that each revocation of its person has in its past. So it
 * goes with its person, also where nobody has heard of it yet. Who acts for several at once acts for none.
 *
 * An event of who is not admitted, or that its role does not allow, is void, and so is what rests on
 * it: the joins by a void invite, and the events of who joined so. Whether the events of an author on
 * branches count does not matter here.
 *
 * @module
 */
import { bytesOf, textOf } from "../../kernel/byte_string.ts";
import { bytesEqual, parsePublicKey } from "../../kernel/key.ts";
import type { SignedEvent } from "../../kernel/event.ts";
import { Recent } from "../../kernel/recent.ts";
import { type EventKey, keyOf, type Topic, type TopicEvent } from "../../kernel/topic.ts";
import type { VerifySync } from "../../kernel/verify.ts";
import {
  APP_ROLES,
  type AppGenesis,
  type AppRole,
  type AppSaid,
  behaviorBytes,
  isKernelType,
  joinBytes,
  readAppEvent,
} from "./app_event.ts";
import {
  type Acting,
  actingOf,
  append,
  type Fact,
  type Grant,
  isActing,
  isAdminJoin,
  isInvite,
  isJoin,
  type Join,
  Joined,
  type KeyText,
  keyText,
} from "./joined.ts";

/** Revocations by the key that they revoke. */
type Revocations = Map<KeyText, Fact<"revoke">[]>;

/** Kinds of events that change something at their place, for whoever applies events. */
export type Mark = "upgrade" | "checkpoint" | "epoch" | "unknown";

/** Keys that would take part by who does no more and are remembered, the oldest forgotten for new ones. */
const ENDED_MAX = 8_192;

/** What is in the past of an event that is asked about. */
type IsPast = (event: TopicEvent) => boolean;

const RANKS: Readonly<Record<AppRole, number>> = { keeper: 1, member: 2, admin: 3 };

/** The rank that an author has to have for a type of events. */
function rankFor(type: string): number {
  if (type === "realm/leave") return RANKS.keeper;
  return isKernelType(type) ? RANKS.admin : RANKS.member;
}

/** See the module. */
export class Membership {
  /** What events of the kernel say. */
  readonly #said = new Map<TopicEvent, AppSaid>();
  /** As they came: parents first. */
  readonly #facts: Grant[] = [];
  /** Void ones too. */
  readonly #joined = new Joined();
  readonly #leaves = new Map<KeyText, TopicEvent[]>();
  readonly #revokes: Fact<"revoke">[] = [];
  /** By the creator, and by admins. */
  #ofCreator: Revocations = new Map();
  #ofAdmins: Revocations = new Map();
  /** Who joined as admin, at any place: the revocations of admins do not touch these. */
  #admins = new Set<KeyText>();
  #invites = new Set<TopicEvent>();
  /** Joins that are not void, by author. */
  #joins = new Map<KeyText, Join[]>();
  /** What makes keys behaviors and is not void, by author. */
  #behaviors = new Map<KeyText, Acting[]>();
  /**
   * Of who admitted whom as admin, without any revocation: so it is the same wherever the past of an
   * event is.
   */
  readonly #adminInvites = new Set<TopicEvent>();
  readonly #adminJoins = new Map<KeyText, TopicEvent[]>();
  readonly #creator: KeyText;
  readonly #marks: Fact<Mark>[] = [];
  /** By the name of their payload key, in the form of `textOf()`. */
  readonly #epochs = new Map<string, Fact<"epoch">[]>();
  /** Whether proofs are good: what waits for a say is asked about again with each that comes. */
  readonly #proven = new WeakMap<SignedEvent, boolean>();
  /** Who would take part by somebody who does no more: nothing of theirs enters. */
  readonly #ended = new Recent<KeyText, true>(ENDED_MAX);
  /** The keys of their invites. */
  readonly #endedInvites = new Recent<EventKey, string>(ENDED_MAX);

  constructor(readonly topic: Topic, readonly genesis: AppGenesis, readonly verify: VerifySync) {
    this.#creator = textOf(topic.genesis.author);
    this.#said.set(topic.genesis, genesis);
  }

  /** What an event of the kernel says; `undefined` for one of the app. */
  said(event: TopicEvent): AppSaid | undefined {
    return this.#said.get(event);
  }

  isCreator(key: Uint8Array): boolean {
    return bytesEqual(key, this.topic.genesis.author);
  }

  /** Whether an event of this topic is void: the answer for {@link Topic.judge}. */
  isVoid(event: TopicEvent): boolean {
    const author = textOf(event.author);
    if (author === this.#creator) return false;
    const said = this.#said.get(event);
    if (said?.kind === "join") return !this.#isGoodJoin(this.#joinOf(event, said));
    if (said?.kind === "behavior") return !this.#isGoodBehavior(actingOf(event, said));
    return !this.#isLeft(event, author) ||
      this.#rankAt(author, (e) => this.topic.isAncestor(e, event), event) < rankFor(event.type);
  }

  /**
   * Whether a new event can be one that is not void; see `IntakeRules.mayEnter`. What comes after a
   * revocation is not in the past of what that names.
   */
  mayEnter(signed: SignedEvent, after: readonly TopicEvent[]): boolean {
    const { event } = signed;
    const author = textOf(event.author);
    if (author === this.#creator) return true;
    const isPast: IsPast = (e) => after.some((a) => a === e || this.topic.isAncestor(e, a));
    if (event.type === "realm/behavior") {
      const said = readAppEvent(event) as Fact<"behavior">["said"];
      return this.#revokesOf(author, this.#admins.has(author)).length === 0 &&
        this.#rankOfPerson(keyText(said.person), isPast) > 0 && !this.isForged(signed, said);
    }
    if (event.type !== "realm/join") {
      return this.#revokesOf(author, this.#admins.has(author)).length === 0 &&
        this.#rankAt(author, isPast) >= rankFor(event.type);
    }
    const said = readAppEvent(event) as Fact<"join">["said"];
    const invite = this.#inviteOf(said);
    if (invite === undefined) return false;
    const isAdmin = invite.said.role === "admin";
    return this.#invites.has(invite.event) &&
      this.#revokesOf(keyText(invite.said.key), isAdmin).length === 0 &&
      this.#revokesOf(author, isAdmin || this.#admins.has(author)).length === 0 &&
      !this.isForged(signed, said);
  }

  /**
   * Whether an event has a proof that is not by the key of the invite or of the person that it names, as
   * far as that is known: nobody honest hands it on.
   */
  isForged(signed: SignedEvent, said: AppSaid): boolean {
    if (said.kind !== "join" && said.kind !== "behavior") return false;
    const known = this.#proven.get(signed);
    if (known !== undefined) return !known;
    const key = said.kind === "join"
      ? this.#inviteOf(said)?.said.key ?? this.#endedInvites.get(keyOf(said.invite))
      : said.person;
    if (key === undefined) return false;
    const bytes = said.kind === "join" ? joinBytes : behaviorBytes;
    const message = bytes(this.topic.id, signed.event.author);
    const isProven = this.verify(parsePublicKey(key), message, said.proof);
    this.#proven.set(signed, isProven);
    return !isProven;
  }

  /** The person for whom a key acts, void or not, or the key itself. */
  personOf(author: Uint8Array): Uint8Array {
    const person = this.#joined.personOf(textOf(author));
    return person === undefined ? author : bytesOf(person);
  }

  /**
   * Why a key may not join once more, or begin to act for a person, by all that is there, on branches
   * too.
   */
  joinProblem(author: Uint8Array, person: Uint8Array | undefined): string | undefined {
    return this.#joined.problemOf(textOf(author), person && textOf(person));
  }

  /** How often a key has left, on branches too. */
  leftBy(author: Uint8Array): number {
    return this.#leaves.get(textOf(author))?.length ?? 0;
  }

  /**
   * Whether an event may not enter since its author takes part no more, which not everyone may know: so
   * they hand it on, with what makes the author take part, which does not enter either.
   */
  hadSay(signed: SignedEvent): boolean {
    const key = textOf(signed.event.author);
    const said = readAppEvent(signed.event);
    if (this.#isByEnded(said) && !this.isForged(signed, said)) this.#ended.put(key, true, 1);
    const persons = this.#joined.by(key).flatMap((fact) => isActing(fact) ? [fact.person] : []);
    const had = this.#ended.get(key) === true ||
      [key, ...new Set(persons)].some((each) => this.#hasEnded(each));
    if (had && said.kind === "invite") this.#endedInvites.put(keyOf(signed.id), said.key, 1);
    return had;
  }

  /** Whether it is by somebody who takes part no more that an event makes its author take part. */
  #isByEnded(said: AppSaid): boolean {
    if (said.kind === "behavior") return this.#hasEnded(keyText(said.person));
    if (said.kind !== "join") return false;
    const invite = this.#inviteOf(said);
    return invite === undefined
      ? this.#endedInvites.get(keyOf(said.invite)) !== undefined
      : this.#hasEnded(textOf(invite.event.author)) ||
        this.#revokesOf(keyText(invite.said.key), invite.said.role === "admin").length > 0;
  }

  #hasEnded(key: KeyText): boolean {
    return this.#leaves.has(key) || this.#revokesOf(key, false).length > 0 ||
      this.#joined.by(key).some((fact) => isJoin(fact) && !this.#isGoodJoin(fact));
  }

  /**
   * What keeps an event, whose parents are in the topic, from ever having an effect; the same for
   * everyone, because it is read from the event and its past. Takes note of what it says otherwise.
   */
  problemOf(event: TopicEvent, signed: SignedEvent, said: AppSaid): string | undefined {
    const isPast = (other: TopicEvent | undefined) =>
      other !== undefined && this.topic.isAncestor(other, event);
    const joinProblem = (person?: string) =>
      this.#joined.problemOf(textOf(event.author), person && keyText(person), isPast);
    const problem = (): string | undefined => {
      switch (said.kind) {
        case "join": {
          if (!isPast(this.#inviteOf(said)?.event)) return "invite is no such event in its past";
          const crowd = joinProblem();
          if (crowd !== undefined) return crowd;
          return this.isForged(signed, said) ? "proof is not by the invite's key" : undefined;
        }
        case "behavior": {
          if (this.isCreator(event.author)) return "the creator acts for nobody";
          const crowd = joinProblem(said.person);
          if (crowd !== undefined) return crowd;
          return this.isForged(signed, said) ? "proof is not by the person's key" : undefined;
        }
        case "leave":
          return this.isCreator(event.author) ? "the creator cannot leave" : undefined;
        case "revoke": {
          const key = parsePublicKey(said.key);
          if (this.isCreator(key)) return "revokes the creator";
          if (bytesEqual(key, event.author)) return "revokes its own key";
          if (said.last === null) return undefined;
          const last = this.topic.get(said.last);
          return isPast(last) && bytesEqual(last!.author, key)
            ? undefined
            : "last is no event of the key in its past";
        }
        case "epoch": {
          if (!this.genesis.isEncrypted) return "the topic is not encrypted";
          // What is encrypted to a key that a member keeps for itself would stop all others.
          if (!this.#wasAdmin(event)) return "its author is no admin";
          const { previous } = said;
          return previous === null || this.epochBefore(event, said.epoch - 1, previous.id)
            ? undefined
            : "previous is no epoch in its past";
        }
        case "event": {
          const { keyEpoch } = signed.event;
          if (!this.genesis.isEncrypted) return keyEpoch === 0 ? undefined : "it is encrypted";
          const id = (signed.event.payload as Uint8Array).subarray(0, 16);
          return this.epochBefore(event, keyEpoch, id)
            ? undefined
            : "its keyEpoch is none of an epoch in its past";
        }
        default:
          return undefined;
      }
    };
    const found = problem();
    if (found === undefined && said.kind !== "event") this.#said.set(event, said);
    return found;
  }

  /** Whether an epoch of this number and key is in the past of an event. */
  epochBefore(event: TopicEvent, epoch: number, id: Uint8Array): boolean {
    return this.#epochs.get(textOf(id))?.some(({ event: at, said }) =>
      said.epoch === epoch && this.topic.isAncestor(at, event)
    ) ?? false;
  }

  /** The epoch for an event after these: of those in its past that are not void the last. */
  newestEpoch(heads: readonly TopicEvent[]): Fact<"epoch">["said"] | undefined {
    let best: Fact<"epoch"> | undefined;
    for (const { event, said } of [...this.#epochs.values()].flat()) {
      if (this.isVoid(event)) continue;
      if (!heads.some((head) => head === event || this.topic.isAncestor(event, head))) continue;
      const order = best === undefined
        ? 1
        : said.epoch - best.said.epoch || event.lamport - best.event.lamport ||
          (event.key > best.event.key ? 1 : -1);
      if (order > 0) best = { event, said };
    }
    return best?.said;
  }

  /**
   * Takes account of an event that is in the topic now. Returns whether events that are there may
   * have become void or stopped being it: then the topic has to judge again.
   */
  learn(event: TopicEvent): boolean {
    const said = this.#said.get(event);
    const author = textOf(event.author);
    switch (said?.kind) {
      case "invite":
      case "join":
      case "behavior": {
        const fact = this.#grantOf(event, said);
        this.#facts.push(fact);
        if (!isInvite(fact)) this.#joined.learn(fact);
        this.#noteAdmin(fact);
        if (isAdminJoin(fact) && this.#ofAdmins.has(author)) break; // they may have no effect now
        this.#admit(fact);
        return false;
      }
      case "leave":
        append(this.#leaves, author, event);
        return false; // what it ends comes after it
      case "revoke":
        // Void whatever comes: it shall not cost that everything is judged again.
        if (!this.#wasAdmin(event)) return false;
        this.#revokes.push({ event, said });
        break;
      case "epoch": {
        const name = textOf(said.id);
        append(this.#epochs, name, { event, said });
        this.#marks.push({ event, said });
        return false;
      }
      case "upgrade":
      case "checkpoint":
      case "unknown":
        this.#marks.push({ event, said });
        return false;
      default:
        return false;
    }
    this.#recompute();
    return true;
  }

  #noteAdmin(fact: Grant): void {
    const { event } = fact;
    if (isInvite(fact)) {
      if (fact.said.role === "admin" && this.#wasAdmin(event)) this.#adminInvites.add(event);
    } else if (isJoin(fact) && this.#adminInvites.has(fact.invite.event)) {
      append(this.#adminJoins, textOf(event.author), event);
    }
  }

  /** Whether the author of an event is admitted as admin by its past, revocations left aside. */
  #wasAdmin(event: TopicEvent): boolean {
    const author = textOf(event.author);
    const isPast: IsPast = (other) => this.topic.isAncestor(other, event);
    const leaves = (this.#leaves.get(author) ?? []).filter(isPast);
    return author === this.#creator ||
      (this.#adminJoins.get(author) ?? []).some((join) =>
        isPast(join) && !leaves.some((leave) => this.topic.isAncestor(join, leave))
      );
  }

  #recompute(): void {
    const isCreators = ({ event }: Fact<"revoke">) => textOf(event.author) === this.#creator;
    this.#ofCreator = byKey(this.#revokes.filter(isCreators));
    this.#ofAdmins = new Map();
    // First who is admin, then what follows from the revocations by admins.
    this.#readmit();
    const others = this.#revokes.filter((fact) => !isCreators(fact) && !this.isVoid(fact.event));
    if (others.length === 0) return;
    this.#ofAdmins = byKey(others);
    const admins = this.#admins;
    this.#readmit(admins);
  }

  #readmit(admins = new Set<KeyText>()): void {
    this.#invites = new Set();
    this.#joins = new Map();
    this.#behaviors = new Map();
    this.#admins = admins;
    for (const fact of this.#facts) this.#admit(fact);
  }

  /** Once for each, and again where a revocation changes it: not with each event of its author. */
  #admit(fact: Grant): void {
    const { event } = fact;
    const author = textOf(event.author);
    if (isInvite(fact)) {
      if (!this.isVoid(event)) this.#invites.add(event);
    } else if (isActing(fact)) {
      if (this.#isGoodBehavior(fact)) append(this.#behaviors, author, fact);
    } else if (this.#isGoodJoin(fact)) {
      append(this.#joins, author, fact);
      if (isAdminJoin(fact)) this.#admins.add(author);
    }
  }

  #grantOf(event: TopicEvent, said: Fact<"invite" | "join" | "behavior">["said"]): Grant {
    if (said.kind === "join") return this.#joinOf(event, said);
    return said.kind === "behavior" ? actingOf(event, said) : { event, said };
  }

  #inviteOf({ invite }: Fact<"join">["said"]): Fact<"invite"> | undefined {
    const event = this.topic.get(invite);
    const said = event && this.#said.get(event);
    return said?.kind === "invite" ? { event: event!, said } : undefined;
  }

  #joinOf(event: TopicEvent, said: Fact<"join">["said"]): Join {
    return { event, said, invite: this.#inviteOf(said)! };
  }

  #isGoodBehavior({ event, person }: Acting): boolean {
    const isPast: IsPast = (other) => this.topic.isAncestor(other, event);
    return this.#isLeft(event, textOf(event.author)) &&
      this.#rankOfPerson(person, isPast, event) > 0;
  }

  /** The rank that its person gives a behavior in a past; `at` is the event that has that past. */
  #rankOfPerson(key: KeyText, isPast: IsPast, at?: TopicEvent): number {
    if (key === this.#creator) return RANKS.member;
    const isLeft = this.#revokesOf(key, this.#admins.has(key))
      .every(({ event }) => at !== undefined && this.topic.isAncestor(at, event));
    return isLeft ? Math.min(RANKS.member, this.#rankOfJoins(key, isPast)) : 0;
  }

  #isGoodJoin({ event, invite }: Join): boolean {
    const isAdmin = invite.said.role === "admin";
    const author = textOf(event.author);
    return this.#invites.has(invite.event) &&
      this.#revokesOf(keyText(invite.said.key), isAdmin)
        .every((revoke) => this.topic.isAncestor(event, revoke.event)) &&
      this.#isLeft(event, author, isAdmin);
  }

  /** Whether a key was revoked, of a person or an invite, that is or makes an admin or does not. */
  isRevoked(key: Uint8Array, isAdmin: boolean): boolean {
    const text = textOf(key);
    return this.#revokesOf(text, isAdmin || this.#admins.has(text)).length > 0;
  }

  /** The revocations that act on a key. */
  #revokesOf(key: KeyText, isSpared: boolean): readonly Fact<"revoke">[] {
    const byCreator = this.#ofCreator.get(key) ?? [];
    const byAdmins = isSpared ? undefined : this.#ofAdmins.get(key);
    return byAdmins === undefined ? byCreator : [...byCreator, ...byAdmins];
  }

  /** Whether an event is none of those that revocations of its author take away. */
  #isLeft(event: TopicEvent, author: KeyText, isSpared = false): boolean {
    return this.#revokesOf(author, isSpared || this.#admins.has(author)).every(({ said }) => {
      const last = said.last && this.topic.get(said.last)!;
      return last !== null && (last === event || this.topic.isAncestor(event, last));
    });
  }

  /**
   * The rank of an author in a past, that of the event `at`, or of none that is here; 0 where it is not
   * admitted.
   */
  #rankAt(author: KeyText, isPast: IsPast, at?: TopicEvent): number {
    const rank = this.#rankOfJoins(author, isPast);
    return this.#behaviors.has(author)
      ? Math.max(rank, this.#rankOfBehavior(author, isPast, at))
      : rank;
  }

  /** Of several persons none: to look at each with every event would take the time that a member likes. */
  #rankOfBehavior(author: KeyText, isPast: IsPast, at?: TopicEvent): number {
    const persons = this.#behaviors.get(author)!
      .filter(({ event }) => !this.#hasLeft(author, event, isPast))
      .map(({ person }) => person);
    const [person] = persons;
    return person !== undefined && persons.every((each) => each === person)
      ? this.#rankOfPerson(person, isPast, at)
      : 0;
  }

  #rankOfJoins(author: KeyText, isPast: IsPast): number {
    return this.#standing(author, isPast)
      .reduce((rank, { invite }) => Math.max(rank, RANKS[invite.said.role]), 0);
  }

  /** Of an author the joins in a past that are not void, and which no leave there has ended. */
  #standing(author: KeyText, isPast: IsPast): readonly Join[] {
    return (this.#joins.get(author) ?? [])
      .filter(({ event }) => !this.#hasLeft(author, event, isPast));
  }

  /** Whether an event by which an author takes part is not in a past, or a leave there has ended it. */
  #hasLeft(author: KeyText, event: TopicEvent, isPast: IsPast): boolean {
    if (!isPast(event)) return true;
    const ends = (leave: TopicEvent) => isPast(leave) && this.topic.isAncestor(event, leave);
    return this.#leaves.get(author)?.findLast(ends) !== undefined; // mostly it is the last one
  }

  /**
   * The join by which a key takes part after everything that is there, or is admin at an event of its
   * own; of several the last.
   */
  admittedBy(key: Uint8Array, at?: TopicEvent): Join | undefined {
    const isPast: IsPast = (event) =>
      at === undefined ? this.topic.isKept(event) : this.topic.isAncestor(event, at);
    return this.#standing(textOf(key), isPast)
      .filter((join) => at === undefined || isAdminJoin(join))
      .reduce<Join | undefined>(
        (last, join) => last === undefined || isAfter(join.event, last.event) ? join : last,
        undefined,
      );
  }

  /** The role that a key has after everything that is there; `undefined` for who takes no part. */
  roleOf(key: Uint8Array): AppRole | "creator" | undefined {
    const author = textOf(key);
    if (author === this.#creator) return "creator";
    if (this.#revokesOf(author, this.#admins.has(author)).length > 0) return undefined;
    return APP_ROLES[this.#rankAt(author, (event) => this.topic.isKept(event)) - 1];
  }

  /** Events that change something at their place, as they came, void ones too. */
  marks(): readonly Fact<Mark>[] {
    return this.#marks;
  }

  /** Joins that are not void, in no order. */
  joins(): readonly Join[] {
    return [...this.#joins.values()].flat();
  }

  /** What makes keys behaviors of persons and is not void, in no order. */
  behaviors(): readonly Fact<"behavior">[] {
    return [...this.#behaviors.values()].flat();
  }

  /** Invites that are not void, and whether one can still join by each. */
  invites(): readonly (Fact<"invite"> & { readonly isOpen: boolean })[] {
    return this.#facts.filter(isInvite)
      .filter(({ event }) => this.#invites.has(event))
      .map((fact) => ({
        ...fact,
        isOpen: this.#revokesOf(keyText(fact.said.key), fact.said.role === "admin").length === 0,
      }));
  }

  /** Revocations that are not void; those by admins do not touch admins. */
  revocations(): readonly Fact<"revoke">[] {
    return [...this.#ofCreator.values(), ...this.#ofAdmins.values()].flat();
  }
}

function byKey(revokes: readonly Fact<"revoke">[]): Revocations {
  const by: Revocations = new Map();
  for (const fact of revokes) {
    const key = keyText(fact.said.key);
    append(by, key, fact);
  }
  return by;
}

function isAfter(a: TopicEvent, b: TopicEvent): boolean {
  return a.lamport > b.lamport || (a.lamport === b.lamport && a.key > b.key);
}
