/**
 * What `wit/realm-app-0.1.0` says, as data: which interfaces there are, with the types of their
 * functions, and which profile imports and exports which. A test compares it with the WIT.
 *
 * Types are written out to the last: `record {key: list<u8>}` for what WIT gives a name.
 *
 * @module
 */

/** What a component of an app may be. */
export const PROFILES = ["state-apply", "state-propose", "interaction", "behavior"] as const;

/** One of {@link PROFILES}. */
export type Profile = typeof PROFILES[number];

/** What all names of the contract begin with. */
export const PACKAGE = "realm:app/";
/** The version of the contract. */
export const VERSION = "0.1.0";

const NODE = "record {parent: u32, kind: enum {column, row, heading, text, button, field, gap}, " +
  "text: string, id: string}";
const INPUT = "variant {press(string), submit(tuple<string, string>), key(string)}";
const HEADERS = "list<tuple<string, list<u8>>>";
const REQUEST = `record {method: string, url: string, headers: ${HEADERS}, body: list<u8>}`;
const RESPONSE = `record {status: u16, headers: ${HEADERS}, body: list<u8>}`;
const FAILURE = "variant {denied, invalid(string), unreachable(string), timed-out, too-large}";
const ENTRY = "record {key: list<u8>, value: list<u8>}";
const PROPOSAL = "record {kind: list<u8>, payload: list<u8>}";
const INTENT = "record {name: list<u8>, input: list<u8>}";

/** Types of functions, by interface and name. */
export const INTERFACES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "state-read": {
    "get": "(list<u8>) -> option<list<u8>>",
    "scan": `(list<u8>, list<u8>, u32) -> list<${ENTRY}>`,
  },
  "state-write": {
    "put": "(list<u8>, list<u8>)",
    "delete": "(list<u8>)",
  },
  "params": {
    "get": "(list<u8>) -> option<list<u8>>",
    "creator": "() -> list<u8>",
  },
  "event": {
    "id": "() -> list<u8>",
    "author": "() -> list<u8>",
    "seq": "() -> u64",
    "lamport": "() -> u64",
    "kind": "() -> list<u8>",
  },
  "identity": { "key": "() -> list<u8>" },
  "crypto": {
    "sha256": "(list<u8>) -> list<u8>",
    "verify": "(list<u8>, list<u8>, list<u8>) -> result",
    "check-canonical": "(list<u8>) -> result",
  },
  "log": { "write": "(u32, list<u8>)" },
  "clock": { "now": "() -> u64" },
  "random": { "bytes": "(u32) -> list<u8>" },
  "outbox": { "propose": "(list<u8>, list<u8>) -> result<list<u8>, list<u8>>" },
  "network": { "fetch": `(${REQUEST}) -> result<${RESPONSE}, ${FAILURE}>` },
  "ui": {},
  "applier": { "apply": "(list<u8>) -> result<_, list<u8>>" },
  "migrator": { "migrate": "(list<u8>) -> result<_, list<u8>>" },
  "proposer": { "propose": `(list<u8>, list<u8>) -> result<list<${PROPOSAL}>, list<u8>>` },
  "view": {
    "render": `() -> list<${NODE}>`,
    "handle": `(${INPUT}) -> list<${INTENT}>`,
  },
  "bot": { "wake": "(enum {started, event, time}) -> option<u64>" },
};

/** The interface that a component of a profile exports. */
export const EXPORT: Readonly<Record<Profile, string>> = {
  "state-apply": "applier",
  "state-propose": "proposer",
  "interaction": "view",
  "behavior": "bot",
};

/** What a state-apply may export besides. */
export const MIGRATOR = "migrator";

const EVERY: readonly Profile[] = PROFILES;

/** Which profiles may import an interface. */
export const IMPORT: Readonly<Record<string, readonly Profile[]>> = {
  "state-read": EVERY,
  "state-write": ["state-apply"],
  "params": EVERY,
  "event": ["state-apply", "behavior"],
  "identity": ["state-propose", "interaction", "behavior"],
  "crypto": EVERY,
  /** Of state-apply it is dropped. */
  "log": EVERY,
  "clock": ["interaction", "behavior"],
  "random": ["interaction", "behavior"],
  "ui": ["interaction"],
  "outbox": ["behavior"],
  "network": ["behavior"],
};

/** What a bundle may ask for beyond the contract, and for which profiles. */
export const CAPABILITIES = {
  /** Requests to hosts. */
  "network": ["behavior"],
  "floats": ["behavior"],
  "simd": ["behavior"],
} as const satisfies Readonly<Record<string, readonly Profile[]>>;

/** One of {@link CAPABILITIES}. */
export type Capability = keyof typeof CAPABILITIES;

/** The interfaces whose use has to be granted, and the capability that grants it. */
export const GRANTED: Readonly<Record<string, Capability>> = { "network": "network" };
