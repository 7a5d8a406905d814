/**
 * What the events of the kernel in the topic of an app come to: who takes part in which role, by which
 * invites, and where bundles, checkpoints and epochs change.
 *
 * A value that is never changed. Keys are in text form, ids of events the text of their CIDs. Two
 * peers with the same heads have equal views.
 *
 * @module
 */
import { formatPublicKey } from "../../kernel/key.ts";
import type { Topic, TopicEvent } from "../../kernel/topic.ts";
import type { AppRole, ForkOrigin } from "./app_event.ts";
import type { Membership } from "./membership.ts";

/** Who takes part. */
export interface AppMember {
  readonly key: string;
  readonly role: AppRole | "creator";
  /** Of a behavior the key of its person, whom it goes with. */
  readonly person?: string;
  /** The joins that admitted it; the genesis, for the creator. */
  readonly events: readonly string[];
}

/** By what one can join. */
export interface AppInvite {
  readonly event: string;
  readonly key: string;
  readonly role: AppRole;
  readonly by: string;
  /** Whether one still can. */
  readonly isOpen: boolean;
}

/** A key that was revoked, of a member or of an invite. */
export interface AppRevocation {
  readonly event: string;
  readonly key: string;
  readonly by: string;
  /** The `seq` of the last event that counts; null where none does. */
  readonly lastSeq: number | null;
}

/** A kernel event that changes something at its place; those that count, parents first. */
export interface AppMark {
  readonly event: string;
  readonly by: string;
}

/** Something that a person should look at: a key wrote on branches and has not joined them. */
export interface AppAlarm {
  readonly kind: "conflict";
  readonly author: string;
  /** At most 16 of its newest events. */
  readonly tips: readonly string[];
}

/** See the module. */
export interface AppView {
  /** The CID of the genesis. */
  readonly topic: string;
  readonly creator: string;
  /** CID of the app's first bundle. */
  readonly app: string;
  /** The bundle that the topic starts with; a replay knows the one in force. */
  readonly bundle: string;
  /** By name, a byte string. */
  readonly params: ReadonlyMap<string, Uint8Array>;
  readonly isEncrypted: boolean;
  readonly fork: ForkOrigin | undefined;
  /** By key, in order of their keys. */
  readonly members: ReadonlyMap<string, AppMember>;
  readonly invites: readonly AppInvite[];
  readonly revocations: readonly AppRevocation[];
  readonly upgrades: readonly (AppMark & { readonly bundle: string })[];
  readonly checkpoints: readonly (AppMark & { readonly digest: string | null })[];
  readonly epochs: readonly (AppMark & { readonly epoch: number })[];
  /** Events of the kernel that only a later version of realm knows. */
  readonly unknown: readonly (AppMark & { readonly type: string })[];
  readonly alarms: readonly AppAlarm[];
}

const TIPS_MAX = 16;

/** What has come of the events that are there. */
export function appView(topic: Topic, membership: Membership): AppView {
  const { genesis } = membership;
  const by = ({ author }: TopicEvent) => formatPublicKey(author);
  const mark = (event: TopicEvent): AppMark => ({ event: text(event), by: by(event) });
  const creator = by(topic.genesis);
  const members = new Map<string, AppMember>([
    [creator, { key: creator, role: "creator", events: [text(topic.genesis)] }],
  ]);
  const roles = new Map<string, ReturnType<Membership["roleOf"]>>();
  for (const { event } of inOrder(membership.joins())) {
    const key = by(event);
    // Once for each: it looks at every join of theirs.
    if (!roles.has(key)) roles.set(key, membership.roleOf(event.author));
    const role = roles.get(key);
    if (role === undefined || role === "creator") continue;
    const events = [...members.get(key)?.events ?? [], text(event)];
    members.set(key, { key, role, events });
  }
  for (const { event, said: { person } } of inOrder(membership.behaviors())) {
    const key = by(event);
    const role = roles.has(key) ? undefined : membership.roleOf(event.author);
    if (role === undefined || role === "creator") continue;
    const events = [...members.get(key)?.events ?? [], text(event)];
    members.set(key, { key, role, person, events });
  }
  const marks = membership.marks().filter(({ event }) =>
    topic.isKept(event) && topic.counts(event)
  );
  const of = <Kind extends typeof marks[number]["said"]["kind"]>(kind: Kind) =>
    inOrder(marks.filter((fact) => fact.said.kind === kind)) as (
      & typeof marks[number]
      & { said: { kind: Kind } }
    )[];
  return {
    topic: topic.id.toString(),
    creator,
    app: genesis.app.toString(),
    bundle: genesis.bundle.toString(),
    params: genesis.params,
    isEncrypted: genesis.isEncrypted,
    fork: genesis.fork,
    members: new Map([...members].sort(([a], [b]) => a < b ? -1 : 1)),
    invites: inOrder(membership.invites()).map(({ event, said: { key, role }, isOpen }) => ({
      event: text(event),
      key,
      role,
      by: by(event),
      isOpen,
    })),
    revocations: inOrder(membership.revocations()).map(({ event, said: { key, last } }) => ({
      event: text(event),
      key,
      by: by(event),
      lastSeq: last && topic.get(last)!.seq,
    })),
    upgrades: of("upgrade").map(({ event, said }) => ({
      ...mark(event),
      bundle: said.bundle.toString(),
    })),
    checkpoints: of("checkpoint").map(({ event, said }) => ({
      ...mark(event),
      digest: said.digest && said.digest.toHex(),
    })),
    epochs: of("epoch").map(({ event, said }) => ({ ...mark(event), epoch: said.epoch })),
    unknown: of("unknown").map(({ event }) => ({ ...mark(event), type: event.type })),
    alarms: topic.forked().map((author) => ({
      kind: "conflict",
      author: formatPublicKey(author),
      tips: topic.tipsOf(author).slice(0, TIPS_MAX).map(text),
    })),
  };
}

function text(event: TopicEvent): string {
  return event.id.toString();
}

/** Parents first, then by id: the order in which they came is another one on each peer. */
function inOrder<Fact extends { readonly event: TopicEvent }>(facts: readonly Fact[]): Fact[] {
  return facts.toSorted(({ event: a }, { event: b }) =>
    a.lamport - b.lamport || (a.key < b.key ? -1 : 1)
  );
}
