/**
 * What shows a peer for whom a node speaks, and that it may take part in a topic.
 *
 *     tag   = sha256("realm/topic-tag/1", 0x00, [topic, nonce, node, other])
 *     proof = signature of the person over "realm/topic-hello/1", 0x00, [topic, nonce, node, other]
 *
 * with the arrays in canonical dag-cbor, and `node` and `other` the keys of the node that speaks and
 * of the one that listens, which their connection has proven. So a hello is of no use to anybody
 * else, and who does not know the topic learns from the tag only that there is one.
 *
 * @module
 */
import { sha256 } from "@noble/hashes/sha2.js";
import { type CID, encodeCanonical, signedBytes } from "../../kernel/canonical.ts";
import { decodeSigned, topicOf, verifyEventSync } from "../../kernel/event.ts";
import { bytesEqual, formatPublicKey, parsePublicKey } from "../../kernel/key.ts";
import type { Topic } from "../../kernel/topic.ts";
import type { SyncSigner, VerifySync } from "../../kernel/verify.ts";
import { type AppRole, joinBytes, readAppEvent } from "../topic/app_event.ts";
import { type AccessLog, isOpenInvite, mayInvite } from "./topic_access.ts";
import type { TopicHello } from "./topic_frame.ts";

/** Which nodes meet over which topic; keys in text form. */
export interface Meeting {
  readonly topic: CID;
  /** Who speaks, and who listens. */
  readonly node: string;
  readonly other: string;
}

/** A hello of a person. */
export function helloAt(
  meeting: Meeting,
  options: {
    readonly nonce: Uint8Array;
    readonly person: SyncSigner;
    /** The key of the invite that the person holds, who has not joined yet. */
    readonly invite: SyncSigner | undefined;
    readonly vouch: readonly Uint8Array[];
  },
): TopicHello {
  const { nonce, person, invite, vouch } = options;
  const said = encodeMeeting(meeting, nonce);
  return {
    frame: "hello",
    v: 1,
    tag: tagOf(said),
    nonce,
    person: person.publicKey,
    proof: person.sign(signedBytes("realm/topic-hello/1", said)),
    invite: invite === undefined ? null : {
      key: invite.publicKey,
      proof: invite.sign(joinBytes(meeting.topic, person.publicKey)),
    },
    vouch,
  };
}

/** Whether a hello is about this topic: asked first, since it costs little. */
export function isAbout(hello: TopicHello, meeting: Meeting): boolean {
  return bytesEqual(hello.tag, tagOf(encodeMeeting(meeting, hello.nonce)));
}

/** Whether the person said it, here and to nobody else. */
export function isSaidBy(hello: TopicHello, meeting: Meeting, verify: VerifySync): boolean {
  const said = encodeMeeting(meeting, hello.nonce);
  return verify(hello.person, signedBytes("realm/topic-hello/1", said), hello.proof);
}

/** Whether a hello shows an invite that admits its person now. */
export function isInvited(
  { person, invite }: TopicHello,
  topic: CID,
  log: AccessLog,
  verify: VerifySync,
): boolean {
  return invite !== null && isOpenInvite(log, invite.key) &&
    verify(invite.key, joinBytes(topic, person), invite.proof);
}

/** How a person was admitted, as far as it showed. */
export interface Vouch {
  /** The person's join. */
  readonly join: CID;
  /** Keys that it rests on, of invites and of people, and whether each is, or makes, an admin. */
  readonly keys: readonly { readonly key: Uint8Array; readonly isAdmin: boolean }[];
}

/**
 * Whether a join that was shown may still come: nothing that it rests on was revoked, or those who have
 * the secret of a revoked invite could go on reading by new keys.
 */
export function isVouchGood({ join, keys }: Vouch, topic: Topic, log: AccessLog): boolean {
  return !topic.has(join) &&
    keys.every(({ key, isAdmin }) => log.membership?.isRevoked(key, isAdmin) === false);
}

/**
 * The join that admitted a person, where events show that it was by somebody who may invite, as far
 * as is known here: an invite, a join by it, and so on up to the person's. A join that is here already
 * shows nothing more: then it was revoked, or its author left.
 *
 * Throws RealmError `corrupt` and `bad-signature` for what no honest peer shows.
 */
export function vouchedBy(
  { person, vouch }: TopicHello,
  topic: Topic,
  log: AccessLog,
  verify: VerifySync,
): Vouch | undefined {
  const keys: { key: Uint8Array; isAdmin: boolean }[] = [];
  /** Who was admitted as admin by what was shown. */
  const admins = new Set<string>();
  /** By the text of their events. */
  const invites = new Map<string, { readonly key: string; readonly role: AppRole }>();
  for (const encoded of vouch) {
    const signed = decodeSigned(encoded);
    const { id, event: { author } } = signed;
    if (!topicOf(signed).equals(topic.id)) return undefined;
    const said = readAppEvent(signed.event);
    if (
      said.kind === "invite" &&
      (mayInvite(log, author) || admins.has(formatPublicKey(author)))
    ) {
      verifyEventSync(signed, verify);
      invites.set(id.toString(), said);
    } else if (said.kind === "join") {
      const invite = invites.get(said.invite.toString());
      if (invite === undefined) return undefined;
      verifyEventSync(signed, verify);
      const key = parsePublicKey(invite.key);
      if (!verify(key, joinBytes(topic.id, author), said.proof)) return undefined;
      const isAdmin = invite.role === "admin";
      // An invite that is open here is good, whatever became of who made it: a join by it may come.
      if (isOpenInvite(log, key)) keys.length = 0;
      keys.push({ key, isAdmin }, { key: author, isAdmin });
      if (bytesEqual(author, person)) {
        const vouch = { join: id, keys };
        return isVouchGood(vouch, topic, log) ? vouch : undefined;
      }
      if (invite.role === "admin") admins.add(formatPublicKey(author));
    }
  }
  return undefined;
}

function encodeMeeting({ topic, node, other }: Meeting, nonce: Uint8Array): Uint8Array {
  return encodeCanonical([topic, nonce, parsePublicKey(node), parsePublicKey(other)]);
}

function tagOf(meeting: Uint8Array): Uint8Array {
  return sha256(signedBytes("realm/topic-tag/1", meeting));
}
