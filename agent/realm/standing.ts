/**
 * Whose events a control log keeps: which are void because their key was revoked or never had a
 * say.
 *
 * Read from the events without their order, so that every node that has the same events comes to
 * the same answer, whichever came first:
 *
 * - The owner of the genesis is an owner; so is who a succession by the recovery key names, for
 *   events that have that succession in their past.
 * - A node that an owner ever approved, and an operator that a manifest of an owner ever named, has
 *   a say in what nodes and operators may author. Whether it had it at the event's place is for
 *   the fold.
 * - Of a key that was revoked only the events up to the one that the revocation names are left;
 *   several revocations of it leave what each of them leaves. Owners are replaced by successions
 *   alone.
 *
 * A revocation takes its key's events away also while the owner's events do not count because of a
 * branch: it is the safe side.
 *
 * @module
 */
import { sha256 } from "@noble/hashes/sha2.js";
import { textOf } from "../kernel/byte_string.ts";
import { bytesEqual, parsePublicKey } from "../kernel/key.ts";
import type { Topic, TopicEvent } from "../kernel/topic.ts";
import { type ControlGenesis, type ControlKind, controlKindOf } from "./control_event.ts";
import type { Said } from "./said.ts";

/**
 * Events that an operator or a node may author after the last event of an owner that it has seen:
 * who has a say may fill no disk.
 */
export const SAID_MAX = 10_000;
/** Branches of an operator or a node: one more waits aside until an event that is kept needs it. */
export const BRANCHES_MAX = 8;

const OPERATORS: readonly (ControlKind | undefined)[] = ["restart", "scale", "drain", "publish"];

/** An event that says something about whose events are kept. */
interface Fact {
  readonly event: TopicEvent;
  readonly said: Said;
}

/** Keys are in the form of `textOf()`: a character for each byte. */
type KeyText = string;
const keyText = (key: string): KeyText => textOf(parsePublicKey(key));

/** See the module. */
export class Standing {
  readonly #genesisOwner: KeyText;
  readonly #successions: Fact[] = [];
  readonly #others: Fact[] = [];
  /** Commands of owners, with the answers to them. */
  readonly #execs = new Map<
    TopicEvent,
    { readonly node: string; readonly answers: TopicEvent[] }
  >();
  /** Owners' events. */
  readonly #ofOwners: TopicEvent[] = [];
  /** Owners, with the successions of which their events have one in their past. */
  #owners = new Map<KeyText, TopicEvent[] | null>();
  readonly #nodes = new Set<KeyText>();
  readonly #operators = new Set<KeyText>();
  /** Of each key that was revoked, the last events that count. */
  #lasts = new Map<KeyText, (TopicEvent | null)[]>();

  constructor(readonly topic: Topic, readonly genesis: ControlGenesis) {
    this.#genesisOwner = textOf(genesis.owner);
    this.#owners.set(this.#genesisOwner, null);
  }

  /** Whether an event of this topic is void: the answer for {@link Topic.judge}. */
  isVoid(event: TopicEvent): boolean {
    const kind = controlKindOf(event.type);
    const author = textOf(event.author);
    if (kind === "succession") return !this.isRecoveryKey(event.author);
    if (!this.#isLeft(event, author)) return true;
    if (this.#isOwner(event, author)) return false;
    return !this.#hasSay(author, kind);
  }

  /** Whether a new event of this author and type can be one that is not void. */
  mayWrite(author: Uint8Array, type: string): boolean {
    const kind = controlKindOf(type);
    if (kind === "succession") return this.isRecoveryKey(author);
    const key = textOf(author);
    // What comes after a revocation is not in the past of the event that it names.
    if (this.#lasts.has(key)) return false;
    return this.#owners.has(key) || this.#hasSay(key, kind);
  }

  /**
   * Whether there is room for an event whose past is `after` and what is in the past of that, which
   * is for every node to say for itself: nobody can know of all branches.
   */
  hasRoom(author: Uint8Array, after: readonly TopicEvent[]): boolean {
    if (this.#owners.has(textOf(author)) || this.isRecoveryKey(author)) return true;
    const tips = this.topic.tipsOf(author);
    return tips.length < BRANCHES_MAX ||
      tips.some((tip) => after.some((a) => a === tip || this.topic.isAncestor(tip, a)));
  }

  /**
   * Whether an owner ever gave the key a say in events of this type: whoever does not know that it
   * was taken back, or that there is no room for them here, may take them.
   */
  hadSay(author: Uint8Array, type: string): boolean {
    const kind = controlKindOf(type);
    const key = textOf(author);
    if (kind === "succession") return false;
    const isNamed = ({ said }: Fact) =>
      said.kind === "approve"
        ? kind === "executed" && keyText(said.key) === key
        : said.kind === "manifest" && OPERATORS.includes(kind) &&
          said.operators.some((operator) => keyText(operator) === key);
    return this.#owners.has(key) || this.#others.some(isNamed);
  }

  isRecoveryKey(key: Uint8Array): boolean {
    return bytesEqual(sha256(key), this.genesis.recoveryHash);
  }

  /** Keys that were revoked, in no order. */
  revoked(): Iterable<Uint8Array> {
    return [...this.#lasts.keys()].map((key) => Uint8Array.from(key, (c) => c.charCodeAt(0)));
  }

  /**
   * What keeps an event, whose parents are in the topic, from ever having an effect; the same for
   * everyone, because it is read from the event and its past.
   */
  problemOf(event: TopicEvent, said: Said): string | undefined {
    const isPast = (other: TopicEvent | undefined) =>
      other !== undefined && this.topic.isAncestor(other, event);
    const author = textOf(event.author);
    if (!this.#isOwner(event, author) && !this.isRecoveryKey(event.author)) {
      if (this.#saidSince(event) >= SAID_MAX) {
        return `its author wrote ${SAID_MAX} since the last event of an owner in its past`;
      }
    }
    if (said.kind === "executed") {
      const exec = this.topic.get(said.exec);
      const asked = exec && this.#execs.get(exec);
      if (asked === undefined || !isPast(exec)) return "exec is no command in its past";
      const isAsked = this.#others.some((fact) =>
        fact.said.kind === "approve" && fact.said.name === asked.node &&
        keyText(fact.said.key) === author && isPast(fact.event)
      );
      if (!isAsked) return `exec is for ${asked.node}, and its author was never called so`;
      if (asked.answers.some((answer) => textOf(answer.author) === author && isPast(answer))) {
        return "exec is answered by its author already";
      }
    }
    if (said.kind !== "revoke" && said.kind !== "succession") return undefined;
    const of = said.kind === "revoke" ? [keyText(said.key)] : [...this.#replacedBy(event)];
    if (said.kind === "revoke" && of[0] === textOf(event.author)) return "revokes its own key";
    if (said.kind === "succession") {
      const owner = keyText(said.owner);
      const before = this.#successions.filter((s) => isPast(s.event));
      const taken = [this.#genesisOwner, textOf(event.author), ...before.map(ownerOf)];
      if (taken.includes(owner)) return "its owner is or was owner, or is the recovery key";
    }
    if (said.last === null) return undefined;
    const last = this.topic.get(said.last);
    if (!isPast(last) || !of.includes(textOf(last!.author))) {
      return "last is no event of the key in its past";
    }
    return undefined;
  }

  /**
   * Takes account of an event that is in the topic now. Returns whether events that are there may
   * have become void or stopped being it: then the topic has to judge again.
   */
  learn(event: TopicEvent, said: Said): boolean {
    const isOwner = this.#isOwner(event, textOf(event.author));
    if (isOwner) this.#ofOwners.push(event);
    // What others say of these has no effect, now or later: who is owner at an event's place is
    // read from its past.
    else if (said.kind !== "succession" && said.kind !== "executed") return false;
    switch (said.kind) {
      case "exec":
        this.#execs.set(event, { node: said.node, answers: [] });
        return false;
      case "executed":
        this.#execs.get(this.topic.get(said.exec)!)!.answers.push(event);
        return false;
      case "approve":
      case "manifest":
        this.#others.push({ event, said });
        return this.#admit(event, said);
      case "revoke":
        this.#others.push({ event, said });
        break;
      case "succession":
        if (this.isVoid(event)) return false;
        this.#successions.push({ event, said });
        break;
      default:
        return false;
    }
    this.#recompute();
    return true;
  }

  /** Gives a say to those whom an owner's event names. Returns whether the topic knows one. */
  #admit(event: TopicEvent, said: Said): boolean {
    const author = textOf(event.author);
    if (!this.#isOwner(event, author) || !this.#isLeft(event, author)) return false;
    const admit = (keys: Set<KeyText>, key: string) => {
      const name = keyText(key);
      if (keys.has(name)) return false;
      keys.add(name);
      return this.topic.knows(parsePublicKey(key));
    };
    if (said.kind === "approve") return admit(this.#nodes, said.key);
    if (said.kind !== "manifest") return false;
    return said.operators.map((key) => admit(this.#operators, key)).includes(true);
  }

  #recompute(): void {
    this.#owners = new Map<KeyText, TopicEvent[] | null>([[this.#genesisOwner, null]]);
    this.#lasts = new Map();
    for (const { event, said } of this.#successions) {
      const owner = ownerOf({ event, said });
      this.#owners.set(owner, [...this.#owners.get(owner) ?? [], event]);
      for (const key of this.#replacedBy(event)) this.#limit(key, said);
    }
    this.#nodes.clear();
    this.#operators.clear();
    // Owners' events first: what they revoke does not touch owners, so these are settled.
    const left = this.#others.filter(({ event }) => {
      const author = textOf(event.author);
      return this.#isOwner(event, author) && this.#isLeft(event, author);
    });
    for (const { event, said } of left) {
      this.#admit(event, said);
      if (said.kind !== "revoke") continue;
      const key = keyText(said.key);
      if (!this.#owners.has(key)) this.#limit(key, said);
    }
  }

  #limit(key: KeyText, said: Said): void {
    if (said.kind !== "revoke" && said.kind !== "succession") return;
    const last = said.last === null ? null : this.topic.get(said.last)!;
    const lasts = this.#lasts.get(key);
    if (lasts === undefined) this.#lasts.set(key, [last]);
    else lasts.push(last);
  }

  /** The owners that a succession replaces: those named last in its past. */
  #replacedBy(succession: TopicEvent): Set<KeyText> {
    const { topic } = this;
    const before = this.#successions.filter((s) => topic.isAncestor(s.event, succession));
    const newest = before.filter((s) => !before.some((t) => topic.isAncestor(s.event, t.event)));
    return newest.length === 0 ? new Set([this.#genesisOwner]) : new Set(newest.map(ownerOf));
  }

  /** How much the author of an event wrote before it, less what the owners' events there have seen. */
  #saidSince(event: TopicEvent): number {
    const { topic } = this;
    const all = topic.countIn(event, event.author);
    if (all < SAID_MAX) return all;
    let seen = 0;
    for (const owners of this.#ofOwners) {
      if (topic.isAncestor(owners, event)) {
        seen = Math.max(seen, topic.countIn(owners, event.author));
      }
    }
    return all - seen;
  }

  #isOwner(event: TopicEvent, author: KeyText): boolean {
    const since = this.#owners.get(author);
    return since === null || (since ?? []).some((named) => this.topic.isAncestor(named, event));
  }

  #isLeft(event: TopicEvent, author: KeyText): boolean {
    const lasts = this.#lasts.get(author);
    return lasts === undefined ||
      lasts.every((last) =>
        last !== null && (last === event || this.topic.isAncestor(event, last))
      );
  }

  #hasSay(author: KeyText, kind: ControlKind | undefined): boolean {
    return (kind === "executed" && this.#nodes.has(author)) ||
      (OPERATORS.includes(kind) && this.#operators.has(author));
  }
}

function ownerOf({ said }: Fact): KeyText {
  return said.kind === "succession" ? keyText(said.owner) : "";
}
