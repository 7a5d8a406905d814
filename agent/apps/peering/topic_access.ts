/**
 * Who may take part in a topic, as far as its events that are here say.
 *
 * @module
 */
import { CID } from "../../kernel/canonical.ts";
import { formatPublicKey } from "../../kernel/key.ts";
import type { AppRole } from "../topic/app_event.ts";
import type { AppLog } from "../topic/app_log.ts";

/** What a log says of people and invites. Without a genesis nobody is anything. */
export type AccessLog = Pick<AppLog, "membership">;

/** Admins who admitted one another, up to the creator, that are followed. */
const CHAIN_MAX = 8;

/**
 * What a person is; `undefined` for one who was not admitted, left, or was revoked, and for the key of a
 * behavior: that has no node, and whoever a member lets act for it would come in.
 */
export function roleOf(log: AccessLog, person: Uint8Array): AppRole | "creator" | undefined {
  const { membership } = log;
  const isBehavior = membership !== undefined && membership.personOf(person) !== person;
  return isBehavior && membership.admittedBy(person) === undefined
    ? undefined
    : membership?.roleOf(person);
}

/** Whether a person may invite others. */
export function mayInvite(log: AccessLog, person: Uint8Array): boolean {
  const role = roleOf(log, person);
  return role === "creator" || role === "admin";
}

/** Whether one can join by an invite's key. */
export function isOpenInvite(log: AccessLog, key: Uint8Array): boolean {
  const text = formatPublicKey(key);
  return log.membership?.invites().some(({ isOpen, said }) => isOpen && said.key === text) ?? false;
}

/**
 * Events by which a person came to be admitted, the first first; none for the creator. A join that
 * ended by a leave shows nothing to who has heard of that.
 */
export function admissionOf(log: AccessLog, person: Uint8Array): readonly CID[] {
  const chain: CID[] = [];
  let join = log.membership?.admittedBy(person);
  for (let i = 0; join !== undefined && i < CHAIN_MAX; i++) {
    const invite = join.invite.event;
    chain.unshift(invite.id, join.event.id);
    join = log.membership!.admittedBy(invite.author, invite);
  }
  return chain;
}
