/**
 * Events of the topic of an app: the genesis, those of the kernel, whose types begin with `realm/`,
 * and those of the app, whose payload is the app's own. `docs/apps.md` says who may author which.
 *
 * The genesis names the app, the bundle that the topic starts with and its parameters. Its CID is the
 * topic, its author the creator. Payloads are checked when they are read, with RealmError `corrupt`;
 * whether an event was allowed to its author is for `membership.ts`.
 *
 * @module
 */
import { bytesOf, textOf } from "../../kernel/byte_string.ts";
import {
  type CborValue,
  CID,
  encodeCanonical,
  isCanonicalCid,
  signedBytes,
} from "../../kernel/canonical.ts";
import { RealmError } from "../../kernel/error.ts";
import type { Event, EventContent } from "../../kernel/event.ts";
import { formatPublicKey, KEY_BYTES, parsePublicKey } from "../../kernel/key.ts";
import { SIGNATURE_BYTES } from "../../kernel/verify.ts";

/** What a member may do; each what the one before may, except that a keeper writes nothing of the app. */
export const APP_ROLES = ["keeper", "member", "admin"] as const;
/** One of {@link APP_ROLES}. */
export type AppRole = typeof APP_ROLES[number];

/** Most of each in one event. */
export const PARAMS_MAX = 64;
export const PARAM_NAME_BYTES_MAX = 64;
export const PARAM_BYTES_MAX = 64 * 1024;
export const SEALED_MAX = 4096;
/** Bytes of an app's payload, encrypted or not. */
export const PAYLOAD_BYTES_MAX = 256 * 1024;
/** Bytes that make a topic another one than its twin. */
export const NONCE_BYTES = 16;
/** Bytes that name a payload key. */
export const KEY_ID_BYTES = 16;
/** A payload key, encrypted: 32 bytes and a tag. */
export const SEALED_KEY_BYTES = 48;

/** The state of another topic that a topic begins with. */
export interface ForkOrigin {
  readonly topic: CID;
  /** Of that topic: what begins is the state of this event and its past alone. */
  readonly event: CID;
  /** Of the state, 32 bytes. */
  readonly digest: Uint8Array;
}

/** A payload key for one who has the secret half of a key. */
export interface SealedKey {
  /** Names the payload key. */
  readonly id: Uint8Array;
  /** A public X25519 key that was made for this. */
  readonly ephemeral: Uint8Array;
  readonly box: Uint8Array;
}

/** What a genesis says. */
export interface AppGenesis {
  readonly kind: "app";
  /** The app: the CID of its first bundle. */
  readonly app: CID;
  /** The bundle that the topic starts with. */
  readonly bundle: CID;
  /** By name, a byte string. */
  readonly params: ReadonlyMap<string, Uint8Array>;
  /** Payloads of the app are encrypted to keys of epochs, from 1 on. */
  readonly isEncrypted: boolean;
  readonly nonce: Uint8Array;
  readonly fork: ForkOrigin | undefined;
}

/** What an event of the kernel says after the genesis. Keys are in text form. */
export type KernelEvent =
  /** Who has the secret half of the key may join in this role. */
  | {
    readonly kind: "invite";
    readonly key: string;
    readonly role: AppRole;
    /** To the invite key: the newest payload key. */
    readonly sealed: SealedKey | undefined;
  }
  /** Its author takes part from here on: by an invite, whose key has signed it. */
  | { readonly kind: "join"; readonly invite: CID; readonly proof: Uint8Array }
  /** Its author acts for a person, whose key has signed it, as long as that takes part. */
  | { readonly kind: "behavior"; readonly person: string; readonly proof: Uint8Array }
  /** Its author takes no part any more, unless it joins again. */
  | { readonly kind: "leave" }
  /**
   * Of a member: nothing of it counts but `last` and what of it is in the past of `last`, so no event
   * with a greater `seq`. Of an invite key, then `last` is null: nobody joins by it any more.
   */
  | { readonly kind: "revoke"; readonly key: string; readonly last: CID | null }
  /** What is in its past has its place for good. `digest`: of the state there. */
  | { readonly kind: "checkpoint"; readonly digest: Uint8Array | null }
  /** From its place in the order on this bundle applies events. */
  | { readonly kind: "upgrade"; readonly bundle: CID }
  /** A new payload key, for those whom it is sealed to. */
  | {
    readonly kind: "epoch";
    /** One more than an epoch in its past; the first is 1. */
    readonly epoch: number;
    readonly id: Uint8Array;
    readonly ephemeral: Uint8Array;
    /** By public key, 32 bytes; in byte order. */
    readonly sealed: readonly { readonly key: Uint8Array; readonly box: Uint8Array }[];
    /** The key of the epoch before, by its name, encrypted to this one; null in the first. */
    readonly previous: { readonly id: Uint8Array; readonly box: Uint8Array } | null;
  };

/** What an event says; `unknown` is of a later version of realm: kept, and without effect. */
export type AppSaid =
  | AppGenesis
  | KernelEvent
  | { readonly kind: "event" }
  | { readonly kind: "unknown" };

const KERNEL = "realm/";

/** Whether events of a type are the kernel's. */
export function isKernelType(type: string): boolean {
  return type.startsWith(KERNEL);
}

/** What the invite key signs for a newcomer. */
export function joinBytes(topic: CID, newcomer: Uint8Array): Uint8Array<ArrayBuffer> {
  return signedBytes("realm/join/1", encodeCanonical([topic, newcomer]));
}

/** What a person's key signs for the key of its behavior. */
export function behaviorBytes(topic: CID, behavior: Uint8Array): Uint8Array<ArrayBuffer> {
  return signedBytes("realm/acts-for/1", encodeCanonical([topic, behavior]));
}

/** The person in the payload of a `realm/behavior` that nobody has read yet. */
export function personIn(payload: CborValue): Uint8Array | undefined {
  const { person } = payload as { person?: CborValue } ?? {};
  return person instanceof Uint8Array && person.length === KEY_BYTES ? person : undefined;
}

/** Type and payload of an event of the kernel. */
export function appContent(said: AppGenesis | KernelEvent): EventContent {
  return { type: KERNEL + said.kind, payload: payloadOf(said) };
}

function payloadOf(said: AppGenesis | KernelEvent): CborValue {
  switch (said.kind) {
    case "app":
      return {
        app: said.app,
        bundle: said.bundle,
        params: [...said.params].sort(([a], [b]) => a < b ? -1 : 1)
          .map(([name, value]) => [bytesOf(name), value]),
        encrypted: said.isEncrypted,
        nonce: said.nonce,
        fork: said.fork === undefined ? null : { ...said.fork },
      };
    case "invite": {
      const { key, role, sealed } = said;
      return {
        key: parsePublicKey(key),
        role,
        sealed: sealed === undefined ? null : { ...sealed },
      };
    }
    case "behavior":
      return { person: parsePublicKey(said.person), proof: said.proof };
    case "revoke":
      return { key: parsePublicKey(said.key), last: said.last };
    case "epoch": {
      const { epoch, id, ephemeral, sealed, previous } = said;
      return {
        epoch,
        id,
        ephemeral,
        sealed: sealed.map(({ key, box }) => [key, box]),
        previous: previous && { ...previous },
      };
    }
    default: {
      const { kind: _, ...payload } = said;
      return payload;
    }
  }
}

/** What an event says, from its type and payload. Throws RealmError `corrupt`. */
export function readAppEvent(
  { type, payload, topic, keyEpoch }: Pick<Event, "type" | "payload" | "topic" | "keyEpoch">,
): AppSaid {
  if (!isKernelType(type)) {
    if (topic === null) throw corrupt(`type of a genesis is ${type}, wanted realm/app`);
    if (!(payload instanceof Uint8Array)) throw corrupt("payload is not bytes");
    if (payload.length > PAYLOAD_BYTES_MAX) {
      throw corrupt(`payload has ${payload.length} bytes, wanted at most ${PAYLOAD_BYTES_MAX}`);
    }
    return { kind: "event" };
  }
  if (keyEpoch !== 0) {
    throw corrupt(`keyEpoch is ${keyEpoch}, events of the kernel are not encrypted`);
  }
  const kind = type.slice(KERNEL.length);
  if ((kind === "app") !== (topic === null)) throw corrupt(`${type} is out of place`);
  if (!Object.hasOwn(READERS, kind)) return { kind: "unknown" };
  const { keys, read } = READERS[kind as keyof typeof READERS];
  return read(fields(type, payload, keys));
}

/** Reads a genesis. Throws RealmError `corrupt`. */
export function readAppGenesis(event: Event): AppGenesis {
  const said = readAppEvent(event);
  if (said.kind !== "app") throw corrupt("it is no genesis");
  return said;
}

type Fields = Readonly<Record<string, CborValue>>;
type Read = AppGenesis | KernelEvent;

/** For each kind the keys of its payload, sorted, and what makes an {@link AppSaid} of it. */
const READERS: {
  readonly [K in Read["kind"]]: {
    readonly keys: string;
    readonly read: (fields: Fields) => Extract<Read, { kind: K }>;
  };
} = {
  app: {
    keys: "app bundle encrypted fork nonce params",
    read: ({ app, bundle, encrypted, fork, nonce, params }) => {
      if (typeof encrypted !== "boolean") throw corrupt("encrypted is not a boolean");
      return {
        kind: "app",
        app: idField("app", app),
        bundle: idField("bundle", bundle),
        params: paramsOf(params),
        isEncrypted: encrypted,
        nonce: bytesField("nonce", nonce, NONCE_BYTES),
        fork: fork === null ? undefined : forkOf(fields("fork", fork, "digest event topic")),
      };
    },
  },
  invite: {
    keys: "key role sealed",
    read: ({ key, role, sealed }) => {
      if (!APP_ROLES.includes(role as AppRole)) {
        throw corrupt(`role is not ${APP_ROLES.join(", ")}`);
      }
      return {
        kind: "invite",
        key: keyField("key", key),
        role: role as AppRole,
        sealed: sealed === null
          ? undefined
          : sealedOf(fields("sealed", sealed, "box ephemeral id")),
      };
    },
  },
  join: {
    keys: "invite proof",
    read: ({ invite, proof }) => ({
      kind: "join",
      invite: idField("invite", invite),
      proof: bytesField("proof", proof, SIGNATURE_BYTES),
    }),
  },
  behavior: {
    keys: "person proof",
    read: ({ person, proof }) => ({
      kind: "behavior",
      person: keyField("person", person),
      proof: bytesField("proof", proof, SIGNATURE_BYTES),
    }),
  },
  leave: { keys: "", read: () => ({ kind: "leave" }) },
  revoke: {
    keys: "key last",
    read: ({ key, last }) => ({
      kind: "revoke",
      key: keyField("key", key),
      last: last === null ? null : idField("last", last),
    }),
  },
  checkpoint: {
    keys: "digest",
    read: ({ digest }) => ({
      kind: "checkpoint",
      digest: digest === null ? null : bytesField("digest", digest, 32),
    }),
  },
  upgrade: {
    keys: "bundle",
    read: ({ bundle }) => ({ kind: "upgrade", bundle: idField("bundle", bundle) }),
  },
  epoch: {
    keys: "ephemeral epoch id previous sealed",
    read: ({ ephemeral, epoch, id, previous, sealed }) => {
      if (typeof epoch !== "number" || !Number.isSafeInteger(epoch) || epoch < 1) {
        throw corrupt("epoch is not a whole number from 1");
      }
      if (!Array.isArray(sealed) || sealed.length > SEALED_MAX) {
        throw corrupt(`sealed is not an array of at most ${SEALED_MAX}`);
      }
      const boxes = (sealed as readonly CborValue[]).map((pair) => {
        const [key, box] = Array.isArray(pair) && pair.length === 2 ? pair as CborValue[] : [];
        return {
          key: bytesField("key", key, KEY_BYTES),
          box: bytesField("box", box, SEALED_KEY_BYTES),
        };
      });
      if (!isAscending(boxes.map(({ key }) => textOf(key)))) throw corrupt("sealed is not sorted");
      const before = previous === null ? null : fields("previous", previous, "box id");
      if ((before === null) !== (epoch === 1)) throw corrupt("previous is not of the epoch before");
      return {
        kind: "epoch",
        epoch,
        id: bytesField("id", id, KEY_ID_BYTES),
        ephemeral: bytesField("ephemeral", ephemeral, KEY_BYTES),
        sealed: boxes,
        previous: before && {
          id: bytesField("previous", before.id, KEY_ID_BYTES),
          box: bytesField("previous", before.box, SEALED_KEY_BYTES),
        },
      };
    },
  },
};

function forkOf({ topic, event, digest }: Fields): ForkOrigin {
  return {
    topic: idField("topic", topic),
    event: idField("event", event),
    digest: bytesField("digest", digest, 32),
  };
}

function sealedOf({ id, ephemeral, box }: Fields): SealedKey {
  return {
    id: bytesField("id", id, KEY_ID_BYTES),
    ephemeral: bytesField("ephemeral", ephemeral, KEY_BYTES),
    box: bytesField("box", box, SEALED_KEY_BYTES),
  };
}

function paramsOf(value: CborValue | undefined): ReadonlyMap<string, Uint8Array> {
  if (!Array.isArray(value) || value.length > PARAMS_MAX) {
    throw corrupt(`params is not an array of at most ${PARAMS_MAX}`);
  }
  let bytes = 0;
  const params = (value as readonly CborValue[]).map((pair) => {
    const [name, of] = Array.isArray(pair) && pair.length === 2 ? pair as CborValue[] : [];
    if (!(name instanceof Uint8Array) || name.length > PARAM_NAME_BYTES_MAX) {
      throw corrupt(`the name of a parameter is not at most ${PARAM_NAME_BYTES_MAX} bytes`);
    }
    if (!(of instanceof Uint8Array)) throw corrupt("a parameter is not bytes");
    bytes += of.length;
    return [textOf(name), of.slice()] as const; // as bytesField()
  });
  if (bytes > PARAM_BYTES_MAX) throw corrupt(`params have ${bytes} bytes, over ${PARAM_BYTES_MAX}`);
  if (!isAscending(params.map(([name]) => name))) throw corrupt("params are not sorted");
  return new Map(params);
}

function isAscending(names: readonly string[]): boolean {
  return names.every((name, i) => i === 0 || names[i - 1]! < name);
}

/** A map with exactly these keys. */
function fields(of: string, value: CborValue | undefined, keys: string): Fields {
  const isMap = typeof value === "object" && value !== null && !Array.isArray(value) &&
    !(value instanceof Uint8Array) && CID.asCID(value) === null;
  if (!isMap || Object.keys(value).sort().join(" ") !== keys) {
    throw corrupt(`${of} is not a map with the keys ${keys || "of none"}`);
  }
  return value as Fields;
}

function keyField(name: string, value: CborValue | undefined): string {
  return formatPublicKey(bytesField(name, value, KEY_BYTES));
}

/** A copy: the event may lie in the memory of many, which would stay as long as what is kept of it. */
function bytesField(name: string, value: CborValue | undefined, length: number): Uint8Array {
  if (value instanceof Uint8Array && value.length === length) return value.slice();
  throw corrupt(`${name} is not ${length} bytes`);
}

function idField(name: string, value: CborValue | undefined): CID {
  const id = CID.asCID(value);
  if (id !== null && isCanonicalCid(id)) return id;
  throw corrupt(`${name} is not the CID of canonical bytes`);
}

function corrupt(problem: string): RealmError {
  return new RealmError("corrupt", `Cannot read event of an app: ${problem}`);
}
