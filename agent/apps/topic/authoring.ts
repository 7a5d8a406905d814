/**
 * What members write for the kernel: invites with their secret, joins, revocations, epochs, and when a
 * checkpoint is due.
 *
 * @module
 */
import type { CID } from "../../kernel/canonical.ts";
import { RealmError } from "../../kernel/error.ts";
import { PARENTS_MAX } from "../../kernel/event.ts";
import {
  bytesEqual,
  formatPublicKey,
  KEY_BYTES,
  parsePublicKey,
  publicKeyProblem,
} from "../../kernel/key.ts";
import type { Random } from "../../kernel/ports.ts";
import type { SyncSigner } from "../../kernel/verify.ts";
import { type AppRole, behaviorBytes, joinBytes, type KernelEvent } from "./app_event.ts";
import type { AppLog } from "./app_log.ts";
import { openerOf, sealEpoch, sealKey } from "./payload_keys.ts";

const MEMBERS = "realm app topics --json lists members: a person's key is not its machine's";

type Of<Kind extends KernelEvent["kind"]> = Extract<KernelEvent, { kind: Kind }>;

/** An invite in a role, and the seed that goes into the ticket. */
export function inviteTo(
  log: AppLog,
  role: AppRole,
  random: Random,
): { readonly said: Of<"invite">; readonly seed: Uint8Array } {
  const seed = random.bytes(KEY_BYTES);
  const key = formatPublicKey(openerOf(seed).publicKey);
  // A keeper stores and serves, and reads nothing.
  const epoch = role === "keeper" ? undefined : newestKey(log);
  const sealed = epoch && sealKey(key, epoch.key, random);
  return { said: { kind: "invite", key, role, sealed }, seed };
}

/**
 * The join of `newcomer` by an invite's key. Throws RealmError `not-found` where the invite is not here
 * yet, `refused` where it was revoked.
 */
export function joinBy(log: AppLog, invite: SyncSigner, newcomer: Uint8Array): Of<"join"> {
  const key = formatPublicKey(invite.publicKey);
  const invites = log.view?.invites.filter((each) => each.key === key) ?? [];
  const open = invites.find(({ isOpen }) => isOpen);
  if (open === undefined) {
    throw invites.length > 0
      ? new RealmError("refused", "Cannot join the topic: the invite was revoked", {
        hint: "Ask for another one: realm app invite",
      })
      : new RealmError("not-found", "Cannot join the topic: the invite is not here yet", {
        hint: "Wait until a peer that has the topic is connected",
      });
  }
  const event = log.membership!.invites().find((each) => each.event.id.toString() === open.event)!;
  const proof = invite.sign(joinBytes(log.topicId, newcomer));
  return { kind: "join", invite: event.event.id, proof };
}

/** How a key comes to act for a person, whose signer is `person`. */
export function behaviorOf(topic: CID, person: SyncSigner, behavior: Uint8Array): Of<"behavior"> {
  return {
    kind: "behavior",
    person: formatPublicKey(person.publicKey),
    proof: person.sign(behaviorBytes(topic, behavior)),
  };
}

/**
 * The revocation of a member after the last event of it that is here (or after `last`), or of an invite
 * key. With a member go the invites by which it joined, since it has their secrets, and its behaviors
 * by themselves (`membership.ts`).
 */
export function revocationsOf(log: AppLog, key: string, last?: CID | null): Of<"revoke">[] {
  const author = parsePublicKey(key);
  const invites = log.membership?.joins()
    .filter(({ event }) => bytesEqual(event.author, author))
    .map(({ invite }) => invite.said.key) ?? [];
  const newest = log.topic?.newestOf(author)?.id ?? null;
  return [
    { kind: "revoke", key, last: last === undefined ? newest : last },
    ...[...new Set(invites)].map((
      invite,
    ) => ({ kind: "revoke", key: invite, last: null } as const)),
  ];
}

/**
 * The event by which a key was taken out of a topic, in a way that nobody undoes who could not undo it
 * if `by` said it again; undefined for one to take out. Throws RealmError `not-found` for one that never
 * took part.
 */
export function removedBy(log: AppLog, key: string, by: Uint8Array): string | undefined {
  const problem = publicKeyProblem(key);
  if (problem !== undefined) {
    throw new RealmError("usage", `Cannot remove a key of the topic: ${problem}`, {
      hint: MEMBERS,
    });
  }
  const author = parsePublicKey(key);
  const { membership, topic, view } = log;
  if (membership === undefined || topic === undefined || view === undefined) return undefined;
  const isInvite = view.invites.some((invite) => invite.key === key);
  if (!topic.knows(author) && !isInvite) {
    throw new RealmError(
      "not-found",
      `Cannot remove ${key}: it never took part, wanted the key of a member, a behavior or an invite`,
      { hint: MEMBERS },
    );
  }
  if (membership.roleOf(author) !== undefined) return undefined;
  const strong = [view.creator, formatPublicKey(by)];
  const before = revocationsOf(log, key).map((wanted) =>
    view.revocations.find((each) => each.key === wanted.key && strong.includes(each.by))
  );
  return before.includes(undefined) ? undefined : before[0]!.event;
}

/**
 * Whether what is written from now on is encrypted to a key, or to an invite by which it joined: after
 * its removal that is so where the newest epoch was written beside it, by who did not know of it.
 */
export function readsOn(log: AppLog, key: string): boolean {
  const { membership, topic } = log;
  const newest = topic && membership?.newestEpoch(topic.heads);
  const keys = revocationsOf(log, key).map((said) => parsePublicKey(said.key));
  return newest?.sealed.some((to) => keys.some((each) => bytesEqual(each, to.key))) ?? false;
}

/**
 * A new epoch for all who are to read on: members and open invites, but no keepers, and no behaviors:
 * what they see their person's key opens. After a revocation
 * the revoked is none of them. Throws RealmError `not-found` where the key before is not known here.
 */
export function nextEpoch(log: AppLog, random: Random): Of<"epoch"> {
  const { members, invites } = log.view!;
  const readers = [
    ...[...members.values()].filter(({ role, person }) =>
      role !== "keeper" && person === undefined
    ),
    ...invites.filter(({ isOpen, role }) => isOpen && role !== "keeper"),
  ].map(({ key }) => key);
  const before = newestKey(log);
  if (before === undefined) {
    throw new RealmError("not-found", "Cannot write an epoch: the topic is not encrypted");
  }
  return sealEpoch(before.epoch + 1, readers, before.key, random);
}

/** Events without fixed places after which one is fixed: as many as an author may make be applied again. */
export const CHECKPOINT_EVENTS = 5_000;

/**
 * Whether somebody should write a checkpoint, where `open` events have no fixed place: the creator first,
 * and the more there are the more admins, since checkpoints that are written beside one another are
 * less worth than one.
 */
export function isCheckpointDue(log: AppLog, author: Uint8Array, open: number): boolean {
  const { view, topic } = log;
  // What it does not have in its past would have to go behind it.
  if (view === undefined || topic!.heads.length > PARENTS_MAX) return false;
  const key = formatPublicKey(author);
  const admins = [...view.members.values()].filter(({ role }) => role === "admin")
    .map(({ key }) => key);
  const turn = [view.creator, ...admins].indexOf(key);
  return turn >= 0 && open >= (1 + turn) * CHECKPOINT_EVENTS;
}

/**
 * The newest epoch here, and its key; undefined where the topic is not encrypted. Throws RealmError
 * `not-found` where that key is not known here.
 */
export function newestKey(log: AppLog): { epoch: number; key: Uint8Array } | undefined {
  const { topic, membership } = log;
  if (topic === undefined || membership?.genesis.isEncrypted !== true) return undefined;
  const epoch = membership.newestEpoch(topic.heads);
  const key = epoch && log.keys.get(epoch.id);
  if (key !== undefined) return { epoch: epoch!.epoch, key };
  throw new RealmError("not-found", `Cannot read the key of epoch ${epoch?.epoch ?? 1}: not here`, {
    hint: "Ask an admin of the topic for a new epoch",
  });
}
