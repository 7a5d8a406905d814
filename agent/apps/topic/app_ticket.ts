/**
 * What `realm app invite` prints and `realm app join` takes: which topic of which app, where peers may
 * be found that have it, and the secret by which one may join. Who has the word can join in its role
 * until the invite is revoked.
 *
 * @module
 */
import { base58btc } from "multiformats/bases/base58";
import {
  type CborValue,
  CID,
  decodeCanonical,
  encodeCanonical,
  isCanonicalCid,
} from "../../kernel/canonical.ts";
import { RealmError } from "../../kernel/error.ts";
import { formatPublicKey, KEY_BYTES, parsePublicKey } from "../../kernel/key.ts";
import { APP_ROLES, type AppRole } from "./app_event.ts";

/** A node that has the topic. */
export interface TicketPeer {
  /** Text form of the node's public key. */
  readonly key: string;
  /** Multiaddrs. */
  readonly addresses: readonly string[];
}

/** A state that the newcomer may begin with before it has applied all events. */
export interface TicketState {
  /** `headsDigest()` of the events that it is the state of; 32 bytes. */
  readonly heads: Uint8Array;
  /** How many events these are, with all in their past. */
  readonly count: number;
  /** Of the state; 32 bytes. */
  readonly digest: Uint8Array;
}

/** What a ticket says. */
export interface AppTicket {
  readonly topic: CID;
  /** The bundle in force where the ticket was made. */
  readonly bundle: CID;
  readonly peers: readonly TicketPeer[];
  /** The secret half of an invite's key, 32 bytes, and the role that it gives. */
  readonly invite: { readonly seed: Uint8Array; readonly role: AppRole } | undefined;
  readonly state: TicketState | undefined;
}

/** What every ticket begins with. */
export const TICKET_PREFIX = "realmapp1";
const LENGTH_MAX = 8192;
const PEERS_MAX = 16;
const ADDRESSES_MAX = 16;

/** `realmapp1z…`: the ticket in one word. */
export function formatAppTicket({ topic, bundle, peers, invite, state }: AppTicket): string {
  return TICKET_PREFIX + base58btc.encode(encodeCanonical({
    topic,
    bundle,
    peers: peers.slice(0, PEERS_MAX)
      .map(({ key, addresses }) => [parsePublicKey(key), addresses.slice(0, ADDRESSES_MAX)]),
    invite: invite === undefined ? null : [invite.seed, invite.role],
    state: state === undefined ? null : [state.heads, state.count, state.digest],
  }));
}

/** Inverse of {@link formatAppTicket}. Throws RealmError `usage`. */
export function parseAppTicket(text: string): AppTicket {
  if (!text.startsWith(TICKET_PREFIX)) throw wrong(`it does not start with ${TICKET_PREFIX}`);
  if (text.length > LENGTH_MAX) throw wrong(`it has ${text.length} characters`);
  let value;
  try {
    value = decodeCanonical(base58btc.decode(text.slice(TICKET_PREFIX.length)));
  } catch (cause) {
    throw wrong("it was changed or cut", cause);
  }
  const { topic, bundle, peers, invite, state, ...rest } = (value ?? {}) as Record<
    string,
    CborValue | undefined
  >;
  if (Object.keys(rest).length > 0) throw wrong("it has other contents");
  return {
    topic: idOf(topic),
    bundle: idOf(bundle),
    peers: listOf(peers, PEERS_MAX).map((peer) => {
      const [key, addresses] = listOf(peer, 2);
      return {
        key: formatPublicKey(bytesOf(key)),
        addresses: listOf(addresses, ADDRESSES_MAX).map((address) => {
          if (typeof address !== "string") throw wrong("an address is no text");
          return address;
        }),
      };
    }),
    invite: invite === null ? undefined : inviteOf(listOf(invite, 2)),
    state: state === null ? undefined : stateOf(listOf(state, 3)),
  };
}

function inviteOf([seed, role]: readonly CborValue[]): AppTicket["invite"] {
  if (!APP_ROLES.includes(role as AppRole)) throw wrong("its role is not known");
  return { seed: bytesOf(seed), role: role as AppRole };
}

function stateOf([heads, count, digest]: readonly CborValue[]): TicketState {
  if (typeof count !== "number" || !Number.isSafeInteger(count) || count < 1) {
    throw wrong("its state has no count");
  }
  return { heads: bytesOf(heads), count, digest: bytesOf(digest) };
}

function listOf(value: CborValue | undefined, countMax: number): readonly CborValue[] {
  if (!Array.isArray(value) || value.length > countMax) throw wrong("it has other contents");
  return value;
}

function bytesOf(value: CborValue | undefined): Uint8Array {
  if (value instanceof Uint8Array && value.length === KEY_BYTES) return value;
  throw wrong("a part of it is not 32 bytes");
}

function idOf(value: CborValue | undefined): CID {
  const id = CID.asCID(value);
  if (id !== null && isCanonicalCid(id)) return id;
  throw wrong("a part of it is no CID");
}

function wrong(why: string, cause?: unknown): RealmError {
  return new RealmError(
    "usage",
    `Cannot read the ticket: ${why}, wanted what realm app invite printed`,
    { hint: "Run realm app invite and copy the whole word", cause },
  );
}
