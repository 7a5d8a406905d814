/**
 * What `realm invite` prints and `realm agent --ticket` takes: who owns the realm, which control
 * log is its, and where its nodes may be found. A ticket is no secret and grants nothing; it saves
 * typing a key.
 *
 * @module
 */
import { base58btc } from "multiformats/bases/base58";
import { CID, decodeCanonical, encodeCanonical, isCanonicalCid } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import { formatPublicKey, parsePublicKey } from "../kernel/key.ts";

/** What a ticket says. */
export interface Ticket {
  /** Text form of the owner's public key. */
  readonly owner: string;
  /** CID of the control log's genesis. */
  readonly topic: string;
  /** Multiaddrs of nodes. */
  readonly addresses: readonly string[];
}

const PREFIX = "realm1";
const LENGTH_MAX = 4096;

/** `realm1z…`: the ticket in one word. */
export function formatTicket(ticket: Ticket): string {
  return PREFIX + base58btc.encode(encodeCanonical({
    owner: parsePublicKey(ticket.owner),
    topic: CID.parse(ticket.topic),
    addresses: ticket.addresses,
  }));
}

/** Inverse of {@link formatTicket}. Throws RealmError `usage`. */
export function parseTicket(text: string): Ticket {
  const wrong = (why: string, cause?: unknown) =>
    new RealmError("usage", `Cannot read the ticket: ${why}, wanted what realm invite printed`, {
      hint: "Run realm invite on the owner's machine and copy the whole word",
      cause,
    });
  if (!text.startsWith(PREFIX)) throw wrong(`it does not start with ${PREFIX}`);
  if (text.length > LENGTH_MAX) throw wrong(`it has ${text.length} characters`);
  let value;
  try {
    value = decodeCanonical(base58btc.decode(text.slice(PREFIX.length)));
  } catch (cause) {
    throw wrong("it was changed or cut", cause);
  }
  const { owner, topic, addresses, ...rest } = (value ?? {}) as Record<string, unknown>;
  if (
    !(owner instanceof Uint8Array) || owner.length !== 32 || !(topic instanceof CID) ||
    !isCanonicalCid(topic) || !Array.isArray(addresses) ||
    !addresses.every((a) => typeof a === "string") || Object.keys(rest).length > 0
  ) {
    throw wrong("it has other contents");
  }
  return { owner: formatPublicKey(owner), topic: topic.toString(), addresses };
}
