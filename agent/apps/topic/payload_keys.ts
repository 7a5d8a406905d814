/**
 * Payloads that only members can read: XChaCha20-Poly1305 under the key of an epoch.
 *
 * The key of an epoch is 32 random bytes. Whoever is to read gets it sealed: X25519 between a key made
 * for the epoch and the reader's own Ed25519 key in its Montgomery form, HKDF-SHA256, and
 * XChaCha20-Poly1305 again. Each epoch also has the key of the one before under its own, so that who
 * has the newest key reads everything before it (and has to: the state comes of all events), while
 * who was left out of an epoch reads nothing from it on.
 *
 * A payload is `key id (16), nonce (24), ciphertext, tag (16)`, with the topic, author, seq and type of
 * its event as associated data. The id commits to the key, so that no ciphertext opens under two keys;
 * the nonce is made from key and contents, so that none is used twice for two payloads.
 *
 * @see https://datatracker.ietf.org/doc/html/draft-irtf-cfrg-xchacha-03
 * @module
 */
import { xchacha20poly1305 } from "@noble/ciphers/chacha.js";
import { ed25519, x25519 } from "@noble/curves/ed25519.js";
import { hkdf } from "@noble/hashes/hkdf.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { textOf } from "../../kernel/byte_string.ts";
import { type CID, encodeCanonical } from "../../kernel/canonical.ts";
import type { Event } from "../../kernel/event.ts";
import { bytesEqual, KEY_BYTES, parsePublicKey } from "../../kernel/key.ts";
import type { Random } from "../../kernel/ports.ts";
import { type KernelEvent, KEY_ID_BYTES, type SealedKey } from "./app_event.ts";

const NONCE_BYTES = 24;
const TAG_BYTES = 16;

const ZERO_NONCE = new Uint8Array(NONCE_BYTES);
const utf8 = new TextEncoder();

type Epoch = Extract<KernelEvent, { kind: "epoch" }>;
type Boxes = Pick<Epoch, "id" | "ephemeral" | "sealed" | "previous">;

/** The secret half of an Ed25519 key, as what was sealed to it is opened with. */
export interface Opener {
  readonly publicKey: Uint8Array;
  /** X25519. */
  readonly secret: Uint8Array;
}

/** What opens for the key pair of a 32-byte seed. */
export function openerOf(seed: Uint8Array): Opener {
  return {
    publicKey: ed25519.getPublicKey(seed),
    secret: ed25519.utils.toMontgomerySecret(seed),
  };
}

/** A key that is used for one purpose only. */
function derived(
  key: Uint8Array,
  purpose: string,
  data: Uint8Array = new Uint8Array(),
): Uint8Array {
  const name = utf8.encode(`realm/${purpose}/1\0`);
  const input = new Uint8Array(name.length + data.length);
  input.set(name);
  input.set(data, name.length);
  return hmac(sha256, key, input);
}

/** The name of a payload key. */
function idOf(key: Uint8Array): Uint8Array {
  return derived(key, "payload-key-id").subarray(0, KEY_ID_BYTES);
}

/** Of X25519: public keys, the ephemeral one first, are part of what the key is made of. */
function boxKey(shared: Uint8Array, ephemeral: Uint8Array, reader: Uint8Array): Uint8Array {
  const info = utf8.encode("realm/seal/1");
  return hkdf(sha256, shared, Uint8Array.of(...ephemeral, ...reader), info, 32);
}

/** Seals under a secret that is used for this one key only; `undefined` to who has no such point. */
function seal(secret: Uint8Array, reader: Uint8Array, key: Uint8Array): Uint8Array | undefined {
  let shared: Uint8Array;
  try {
    shared = x25519.getSharedSecret(secret, ed25519.utils.toMontgomery(reader));
  } catch {
    return undefined;
  }
  return xchacha20poly1305(boxKey(shared, x25519.getPublicKey(secret), reader), ZERO_NONCE)
    .encrypt(key);
}

/** Seals a payload key to the one who has an invite; `undefined` where its key is no point. */
export function sealKey(reader: string, key: Uint8Array, random: Random): SealedKey | undefined {
  const secret = random.bytes(KEY_BYTES);
  const box = seal(secret, parsePublicKey(reader), key);
  return box && { id: idOf(key), ephemeral: x25519.getPublicKey(secret), box };
}

/** A new epoch, for these readers: public keys in text form. */
export function sealEpoch(
  epoch: number,
  readers: Iterable<string>,
  previous: Uint8Array | undefined,
  random: Random,
): Epoch {
  const key = random.bytes(KEY_BYTES);
  const secret = random.bytes(KEY_BYTES);
  const sealed = [...new Set(readers)].map(parsePublicKey)
    .map((reader) => ({ key: reader, box: seal(secret, reader, key) }))
    .filter((each): each is { key: Uint8Array; box: Uint8Array } => each.box !== undefined)
    .sort((a, b) => textOf(a.key) < textOf(b.key) ? -1 : 1);
  return {
    kind: "epoch",
    epoch,
    id: idOf(key),
    ephemeral: x25519.getPublicKey(secret),
    sealed,
    previous: previous === undefined ? null : {
      id: idOf(previous),
      box: xchacha20poly1305(derived(key, "previous-epoch"), ZERO_NONCE).encrypt(previous),
    },
  };
}

/** Decrypts; `undefined` for what was made under another key, or changed. */
function opened(
  key: Uint8Array,
  nonce: Uint8Array,
  bytes: Uint8Array,
  data?: Uint8Array,
): Uint8Array | undefined {
  if (bytes.length < TAG_BYTES) return undefined;
  try {
    return xchacha20poly1305(key, nonce, data).decrypt(bytes);
  } catch (error) {
    // Anything else is a failure of this machine, and must not look like a payload's.
    if ((error as Error).message === "invalid tag") return undefined;
    throw error;
  }
}

/** The payload keys of a topic, as far as they are known here. */
export class KeyRing {
  readonly #openers: Opener[] = [];
  /** By name of the payload key, in the form of `textOf()`. */
  readonly #keys = new Map<string, Uint8Array>();
  readonly #boxes: Boxes[] = [];
  /** Grows with every key that is found. */
  revision = 0;

  constructor(openers: Iterable<Opener> = []) {
    for (const opener of openers) this.add(opener);
  }

  /** Another ring with the same secrets, to learn from other events. */
  again(): KeyRing {
    return new KeyRing(this.#openers);
  }

  /** Takes another secret, and opens with it what is there. */
  add(opener: Opener): void {
    this.#openers.push(opener);
    for (const boxes of this.#boxes) this.#open(boxes, [opener]);
  }

  /** Takes what an event has for those who can open it. */
  learn(said: KernelEvent): void {
    if (said.kind === "invite" && said.sealed !== undefined) {
      const { id, ephemeral, box } = said.sealed;
      const sealed = [{ key: parsePublicKey(said.key), box }];
      this.#take({ id, ephemeral, sealed, previous: null });
    } else if (said.kind === "epoch") this.#take(said);
  }

  #take(boxes: Boxes): void {
    this.#boxes.push(boxes);
    this.#open(boxes, this.#openers);
    this.#openPrevious([boxes]);
  }

  /** The key of this name. */
  get(id: Uint8Array): Uint8Array | undefined {
    return this.#keys.get(textOf(id));
  }

  #open({ id, ephemeral, sealed }: Boxes, openers: readonly Opener[]): void {
    if (this.get(id) !== undefined) return;
    for (const { publicKey, secret } of openers) {
      const mine = sealed.find(({ key }) => bytesEqual(key, publicKey));
      if (mine === undefined) continue;
      let shared: Uint8Array;
      try {
        shared = x25519.getSharedSecret(secret, ephemeral);
      } catch {
        continue; // a point of small order
      }
      const key = opened(boxKey(shared, ephemeral, publicKey), ZERO_NONCE, mine.box);
      if (key !== undefined && this.#put(id, key)) return;
    }
  }

  /** Keeps a key that is the one of its name, and those that it leads to. */
  #put(id: Uint8Array, key: Uint8Array): boolean {
    if (!bytesEqual(idOf(key), id) || this.get(id) !== undefined) return false;
    this.#keys.set(textOf(id), key);
    this.revision++;
    this.#openPrevious(this.#boxes.filter((boxes) => bytesEqual(boxes.id, id)));
    return true;
  }

  /** Goes back from epochs whose keys are known. */
  #openPrevious(open: Boxes[]): void {
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      const { id, previous } = next;
      const key = this.get(id);
      if (key === undefined || previous === null || this.get(previous.id) !== undefined) continue;
      const before = opened(derived(key, "previous-epoch"), ZERO_NONCE, previous.box);
      if (before === undefined || !bytesEqual(idOf(before), previous.id)) continue;
      this.#keys.set(textOf(previous.id), before);
      this.revision++;
      open.push(...this.#boxes.filter((boxes) => bytesEqual(boxes.id, previous.id)));
    }
  }
}

/** What of an event its payload is bound to. */
type Bound = Pick<Event, "author" | "seq" | "type">;

function associated(topic: CID, { author, seq, type }: Bound): Uint8Array {
  return encodeCanonical([topic, author, seq, type]);
}

/** Encrypts the payload of an event. */
export function encryptPayload(
  key: Uint8Array,
  topic: CID,
  bound: Bound,
  payload: Uint8Array,
): Uint8Array {
  const data = associated(topic, bound);
  const nonce = derived(key, "payload-nonce", Uint8Array.of(...sha256(data), ...sha256(payload)))
    .subarray(0, NONCE_BYTES);
  const box = xchacha20poly1305(derived(key, "payload"), nonce, data).encrypt(payload);
  const out = new Uint8Array(KEY_ID_BYTES + NONCE_BYTES + box.length);
  out.set(idOf(key));
  out.set(nonce, KEY_ID_BYTES);
  out.set(box, KEY_ID_BYTES + NONCE_BYTES);
  return out;
}

/** What is in an encrypted payload. */
export type Decrypted =
  | { readonly kind: "plain"; readonly payload: Uint8Array }
  /** The key is not known here, and may be to others. */
  | { readonly kind: "locked" }
  /** Nobody who has the key can read it. */
  | { readonly kind: "unreadable" };

/** Inverse of {@link encryptPayload}. */
export function decryptPayload(ring: KeyRing, topic: CID, event: Event): Decrypted {
  const bytes = event.payload as Uint8Array;
  const key = ring.get(bytes.subarray(0, KEY_ID_BYTES));
  if (key === undefined) return { kind: "locked" };
  const nonce = bytes.subarray(KEY_ID_BYTES, KEY_ID_BYTES + NONCE_BYTES);
  const box = bytes.subarray(KEY_ID_BYTES + NONCE_BYTES);
  const payload = nonce.length < NONCE_BYTES
    ? undefined
    : opened(derived(key, "payload"), nonce, box, associated(topic, event));
  return payload === undefined ? { kind: "unreadable" } : { kind: "plain", payload };
}
