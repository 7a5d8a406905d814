/**
 * Proof of approval, for a node that was away when the approval was given.
 *
 * Two nodes may each be approved, and one of them not know of the other, because the events that say
 * so are among those that it has missed. Were that all, it could only ever catch up with nodes that it
 * knew before. So who is approved shows the owner's event that says so, which anybody can check who
 * knows the owner. It is believed as far as to take events from the bearer: the approval may have
 * been revoked since.
 *
 * @module
 */
import { sha256 } from "@noble/hashes/sha2.js";
import { CID } from "../../kernel/canonical.ts";
import { decodeSigned, encodeSigned, topicOf, verifyEventSync } from "../../kernel/event.ts";
import { formatPublicKey } from "../../kernel/key.ts";
import type { VerifySync } from "../../kernel/verify.ts";
import { readControlEvent } from "../control_event.ts";
import type { RealmLog } from "../realm_log.ts";
import { VOUCH_EVENTS_MAX } from "./frame.ts";

/** What shows that `self` is approved; `undefined` when it is not, or not yet durably. */
export function vouchFor(self: string, log: RealmLog): readonly Uint8Array[] | undefined {
  const approval = log.view?.nodes.get(self)?.event;
  const signed = approval === undefined ? undefined : log.load(CID.parse(approval));
  if (signed === undefined) return undefined;
  const successions = log.view!.owners.length === 1 ? [] : [...log.stored()]
    .filter(({ type }) => type === "control/succession")
    .map(({ id }) => log.load(id)!);
  return [...successions.slice(1 - VOUCH_EVENTS_MAX), signed].map(encodeSigned);
}

/**
 * Whether the events show that an owner approved the key, as far as this node can tell: by the
 * owners of its view, or the one that it was told of. Throws RealmError `corrupt` and
 * `bad-signature` for what no honest node shows.
 */
export function isVouched(
  peer: string,
  events: readonly Uint8Array[],
  log: RealmLog,
  verify: VerifySync,
): boolean {
  const topic = log.topic?.id.toString() ?? log.trust.topic;
  const owners = new Set(log.view?.owners ?? (log.trust.owner ? [log.trust.owner] : []));
  // Whoever knows of the succession has every approval of the owner before that still counts.
  for (const key of log.view?.revoked ?? []) owners.delete(key);
  for (const encoded of events) {
    const signed = decodeSigned(encoded);
    verifyEventSync(signed, verify);
    if (topic !== undefined && topicOf(signed).toString() !== topic) return false;
    const author = formatPublicKey(signed.event.author);
    const said = readControlEvent(signed.event);
    if (said.kind === "succession" && log.view !== undefined) {
      if (sha256(signed.event.author).toHex() === log.view.recoveryHash) owners.add(said.owner);
    } else if (said.kind === "approve" && said.key === peer) return owners.has(author);
  }
  return false;
}
