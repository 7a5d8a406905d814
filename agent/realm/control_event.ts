/**
 * Events of the control log of a realm: the topic that holds what its owner, its operators and its
 * nodes decided and did. `docs/control-log.md` says who may author which, and what each does.
 *
 * The genesis holds the owner's key and the hash of the recovery key, and the topic id is the CID
 * of the genesis, so that keys can change and the realm stays the same one.
 *
 * Payloads are checked when they are read, with RealmError `corrupt`; that an event was allowed to
 * its author is for the reader of the log (`realm_fold.ts`).
 *
 * @module
 */
import { sha256 } from "@noble/hashes/sha2.js";
import { type CborValue, CID, isCanonicalCid } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import {
  type Event,
  type EventContent,
  genesisEvent,
  type SignedEvent,
  signEvent,
} from "../kernel/event.ts";
import { bytesEqual, formatPublicKey, KEY_BYTES, parsePublicKey } from "../kernel/key.ts";
import { SHA256_HEX } from "../kernel/sha256.ts";
import type { Signer } from "../kernel/verify.ts";
import { isComponentName, isNodeName, isSecretName, REPLICAS_MAX } from "./manifest.ts";
import {
  formatManifestSignature,
  type ManifestSignature,
  parseManifestSignature,
} from "./manifest_signature.ts";
import type { TreeHead } from "./published.ts";

/** Names in a `restart`. */
const NODES_MAX = 1_000;
/** Words of a command, and characters of them together. */
export const COMMAND_WORDS_MAX = 256;
export const COMMAND_LENGTH_MAX = 16 * 1024;
export const NONCE_BYTES = 16;
const ARTIFACT_NAME_MAX = 256;
/** A value with a stanza of a hundred bytes for each node. */
const SEALED_BYTES_MAX = 256 * 1024;

/** What an event of the control log says. Keys are in text form. */
export type ControlEvent =
  /** The owner, and the sha256 of the recovery key, which alone can replace a stolen owner key. */
  | { readonly kind: "genesis"; readonly owner: string; readonly recoveryHash: Uint8Array }
  /** Still has to pass `verifyManifest()`. */
  | {
    readonly kind: "manifest";
    readonly manifestBytes: Uint8Array;
    readonly signature: ManifestSignature;
    /** Of all that was published until here: see `published.ts`. */
    readonly tree: TreeHead;
  }
  /** The key is the node of that name. */
  | { readonly kind: "approve"; readonly key: string; readonly name: string }
  /** Nothing of the key counts but `last` and what of it is in the past of `last`. */
  | { readonly kind: "revoke"; readonly key: string; readonly last: CID | null }
  /** Replicas start anew: on these nodes, on every node where there are none. */
  | { readonly kind: "restart"; readonly component: string; readonly nodes: readonly string[] }
  /** A number of replicas in place of the manifest's; null gives it back. */
  | {
    readonly kind: "scale";
    readonly component: string;
    readonly replicas: number | null;
    readonly node: string | null;
  }
  /** The node runs nothing, or again what it should. */
  | { readonly kind: "drain"; readonly node: string; readonly drained: boolean }
  /** Bytes are there for nodes to fetch: their sha256 in hex, their number, and a name. */
  | {
    readonly kind: "publish";
    readonly digest: string;
    readonly bytes: number;
    readonly name: string;
  }
  /** A node is to run a program, once, before this time. */
  | {
    readonly kind: "exec";
    readonly node: string;
    readonly command: readonly string[];
    readonly nonce: Uint8Array;
    /** Milliseconds since 1970. */
    readonly expiresAtMs: number;
  }
  /** A node did, and how that ended: an exit status of 0 to 255. */
  | { readonly kind: "executed"; readonly exec: CID; readonly status: number }
  /** The value of a secret, sealed to these nodes and the owner; null takes the secret away. */
  | {
    readonly kind: "secret";
    readonly name: string;
    /** Text forms of their keys. */
    readonly nodes: readonly string[];
    /** An age file. */
    readonly sealed: Uint8Array | null;
  }
  /** By the recovery key: a new owner; `last` as in `revoke`, of the owner that was. */
  | { readonly kind: "succession"; readonly owner: string; readonly last: CID | null };

/** A kind of {@link ControlEvent}; the type of its event is `control/KIND`. */
export type ControlKind = ControlEvent["kind"];

/** The kind of an event's type; `undefined` for one that this version does not know. */
export function controlKindOf(type: string): ControlKind | undefined {
  const kind = type.slice("control/".length);
  const isKnown = type.startsWith("control/") && Object.hasOwn(READERS, kind);
  return isKnown ? kind as ControlKind : undefined;
}

/** What a genesis says. */
export interface ControlGenesis {
  /** The owner's 32-byte public key, which is the author's. */
  readonly owner: Uint8Array;
  /** sha256 of the 32-byte public recovery key. */
  readonly recoveryHash: Uint8Array;
}

/**
 * The genesis of a new realm. A recovery key of its own makes the topic id unique, so each realm
 * needs a new one.
 */
export function createControlGenesis(
  owner: Signer,
  recoveryPublicKey: Uint8Array,
): Promise<SignedEvent> {
  const content = controlContent({
    kind: "genesis",
    owner: formatPublicKey(owner.publicKey),
    recoveryHash: sha256(recoveryPublicKey),
  });
  return signEvent(genesisEvent(owner.publicKey, content), owner);
}

/** Reads a genesis of a control log. Throws RealmError `corrupt`. */
export function readControlGenesis(event: Event): ControlGenesis {
  if (event.topic !== null) throw corrupt("is no genesis");
  const read = readControlEvent(event);
  if (read.kind !== "genesis") throw corrupt(`type is ${event.type}, wanted control/genesis`);
  const owner = parsePublicKey(read.owner);
  if (!bytesEqual(owner, event.author)) throw corrupt("owner is not its author's key");
  return { owner, recoveryHash: read.recoveryHash };
}

/** Type and payload of an event that says this. */
export function controlContent(said: ControlEvent): EventContent {
  return { type: `control/${said.kind}`, payload: payloadOf(said) };
}

function payloadOf(said: ControlEvent): CborValue {
  switch (said.kind) {
    case "genesis":
      return { owner: parsePublicKey(said.owner), recovery: said.recoveryHash };
    case "manifest": {
      const { manifestBytes, signature, tree: { size, root } } = said;
      const line = formatManifestSignature(signature);
      return { manifest: manifestBytes, signature: line, tree: { size, root } };
    }
    case "approve":
      return { key: parsePublicKey(said.key), name: said.name };
    case "revoke":
      return { key: parsePublicKey(said.key), last: said.last };
    case "secret": {
      const { name, nodes, sealed } = said;
      return { name, nodes: nodes.map(parsePublicKey), sealed };
    }
    case "succession":
      return { owner: parsePublicKey(said.owner), last: said.last };
    default: {
      const { kind: _, ...payload } = said;
      return payload;
    }
  }
}

/** What an event says, from its type and payload. Throws RealmError `corrupt`. */
export function readControlEvent({ type, payload }: Pick<Event, "type" | "payload">): ControlEvent {
  const kind = controlKindOf(type);
  if (kind === undefined) {
    throw corrupt(`type is ${type}, wanted one of control/${Object.keys(READERS).join(", ")}`);
  }
  const { keys, read } = READERS[kind];
  const isMap = typeof payload === "object" && payload !== null && !Array.isArray(payload);
  if (!isMap || Object.keys(payload).sort().join(" ") !== keys) {
    throw corrupt(`payload of ${type} is not a map with the keys ${keys}`);
  }
  return read(payload as Fields);
}

type Fields = Readonly<Record<string, CborValue>>;

/** For each kind the keys of its payload, sorted, and what makes a {@link ControlEvent} of it. */
const READERS: {
  readonly [K in ControlKind]: {
    readonly keys: string;
    readonly read: (fields: Fields) => Extract<ControlEvent, { kind: K }>;
  };
} = {
  genesis: {
    keys: "owner recovery",
    read: ({ owner, recovery }) => ({
      kind: "genesis",
      owner: keyField("owner", owner),
      recoveryHash: bytesField("recovery", recovery, 32),
    }),
  },
  manifest: {
    keys: "manifest signature tree",
    read: ({ manifest, signature, tree }) => {
      if (!(manifest instanceof Uint8Array)) throw corrupt("manifest is not bytes");
      if (typeof signature !== "string") throw corrupt("signature is not text");
      return {
        kind: "manifest",
        manifestBytes: manifest.slice(), // as bytesField()
        signature: parseManifestSignature(signature),
        tree: treeField(tree),
      };
    },
  },
  approve: {
    keys: "key name",
    read: ({ key, name }) => ({
      kind: "approve",
      key: keyField("key", key),
      name: nameField("name", name, isNodeName),
    }),
  },
  revoke: {
    keys: "key last",
    read: ({ key, last }) => ({
      kind: "revoke",
      key: keyField("key", key),
      last: last === null ? null : idField("last", last),
    }),
  },
  restart: {
    keys: "component nodes",
    read: ({ component, nodes }) => {
      if (!Array.isArray(nodes) || nodes.length > NODES_MAX) {
        throw corrupt(`nodes is not an array of at most ${NODES_MAX} names`);
      }
      const names = nodes.map((node) => nameField("nodes", node, isNodeName));
      if (new Set(names).size < names.length) throw corrupt("nodes has a name twice");
      return {
        kind: "restart",
        component: nameField("component", component, isComponentName),
        nodes: names,
      };
    },
  },
  scale: {
    keys: "component node replicas",
    read: ({ component, node, replicas }) => ({
      kind: "scale",
      component: nameField("component", component, isComponentName),
      replicas: replicas === null ? null : countField("replicas", replicas, REPLICAS_MAX),
      node: node === null ? null : nameField("node", node, isNodeName),
    }),
  },
  drain: {
    keys: "drained node",
    read: ({ drained, node }) => {
      if (typeof drained !== "boolean") throw corrupt("drained is not a boolean");
      return { kind: "drain", node: nameField("node", node, isNodeName), drained };
    },
  },
  publish: {
    keys: "bytes digest name",
    read: ({ bytes, digest, name }) => ({
      kind: "publish",
      digest: nameField("digest", digest, (text) => SHA256_HEX.test(text)),
      bytes: countField("bytes", bytes, Number.MAX_SAFE_INTEGER),
      name: nameField("name", name, isArtifactName),
    }),
  },
  exec: {
    keys: "command expiresAtMs node nonce",
    read: ({ command, expiresAtMs, node, nonce }) => {
      const isWords = Array.isArray(command) && command.length > 0 &&
        command.length <= COMMAND_WORDS_MAX &&
        command.every((word) => typeof word === "string" && !word.includes("\0")) &&
        command.join("").length <= COMMAND_LENGTH_MAX;
      if (!isWords) throw corrupt("command is not an array of a program and its arguments");
      return {
        kind: "exec",
        node: nameField("node", node, isNodeName),
        command: command as readonly string[],
        nonce: bytesField("nonce", nonce, NONCE_BYTES),
        expiresAtMs: countField("expiresAtMs", expiresAtMs, Number.MAX_SAFE_INTEGER),
      };
    },
  },
  executed: {
    keys: "exec status",
    read: ({ exec, status }) => ({
      kind: "executed",
      exec: idField("exec", exec),
      status: countField("status", status, 255),
    }),
  },
  secret: {
    keys: "name nodes sealed",
    read: ({ name, nodes, sealed }) => {
      if (!Array.isArray(nodes) || nodes.length > NODES_MAX) {
        throw corrupt(`nodes is not an array of at most ${NODES_MAX} keys`);
      }
      const isSealed = sealed === null ||
        (sealed instanceof Uint8Array && sealed.length <= SEALED_BYTES_MAX);
      if (!isSealed) throw corrupt(`sealed is not null or at most ${SEALED_BYTES_MAX} bytes`);
      return {
        kind: "secret",
        name: nameField("name", name, isSecretName),
        nodes: nodes.map((node) => keyField("nodes", node)),
        sealed: (sealed as Uint8Array | null)?.slice() ?? null, // as bytesField()
      };
    },
  },
  succession: {
    keys: "last owner",
    read: ({ last, owner }) => ({
      kind: "succession",
      owner: keyField("owner", owner),
      last: last === null ? null : idField("last", last),
    }),
  },
};

/** What is not a character of one line of text. Spelled out: Unicode's classes grow. */
// deno-lint-ignore no-control-regex
const NO_TEXT = /[\0-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/;

function isArtifactName(text: string): boolean {
  return text !== "" && text.length <= ARTIFACT_NAME_MAX && !NO_TEXT.test(text);
}

function keyField(name: string, value: CborValue | undefined): string {
  return formatPublicKey(bytesField(name, value, KEY_BYTES));
}

function treeField(value: CborValue | undefined): TreeHead {
  const isMap = typeof value === "object" && value !== null && !Array.isArray(value);
  const { size, root, ...more } = (isMap ? value : {}) as Fields;
  const isCount = typeof size === "number" && Number.isSafeInteger(size) && size >= 0;
  if (!isCount || Object.keys(more).length > 0) throw corrupt("tree is not a size and a root");
  return { size, root: bytesField("root", root, 32) };
}

/** A copy: the event may lie in the memory of many, which would stay as long as what is kept of it. */
function bytesField(name: string, value: CborValue | undefined, length: number): Uint8Array {
  if (value instanceof Uint8Array && value.length === length) return value.slice();
  throw corrupt(`${name} is not ${length} bytes`);
}

function nameField(
  name: string,
  value: CborValue | undefined,
  isName: (text: string) => boolean,
): string {
  if (typeof value === "string" && isName(value)) return value;
  throw corrupt(`${name} is not a text that it can be`);
}

function countField(name: string, value: CborValue | undefined, max: number): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= max) {
    return value;
  }
  throw corrupt(`${name} is not a whole number from 0 to ${max}`);
}

function idField(name: string, value: CborValue | undefined): CID {
  const id = CID.asCID(value);
  if (id !== null && isCanonicalCid(id)) return id;
  throw corrupt(`${name} is not the id of an event`);
}

function corrupt(problem: string): RealmError {
  return new RealmError("corrupt", `Cannot read event of the control log: ${problem}`);
}
