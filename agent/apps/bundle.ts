/**
 * A bundle: the components of an app, under a manifest that its publisher signed.
 *
 * The manifest is a canonical dag-cbor map, its CID is the identity of the bundle, and it names
 * every component by the CID of its bytes. The signature travels beside it, over `realm/bundle/1`, a
 * zero byte and the manifest. Packed, a bundle is an archive (`car.ts`) of these blocks in this
 * order, each once: the manifest; the seal, which has the signature and the succession of keys; the
 * manifest of the app's first bundle where this is a later one; the components in the order of
 * {@link ROLES}. One bundle with one seal has one packed form.
 *
 * An app is the CID of its first bundle. Whoever signed that may hand the app to another key, by a
 * signature over `realm/succession/1`, and so may each key after it: a later bundle is signed by the
 * last key of the chain. An unpacked bundle is not verified by being one: {@link verifyBundle}.
 *
 * @module
 */
import {
  type CborValue,
  CID,
  cidOf,
  decodeCanonical,
  encodeCanonical,
  isCanonicalCid,
  signedBytes,
} from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import { bytesEqual, formatPublicKey, KEY_BYTES } from "../kernel/key.ts";
import { parseOutbound } from "../kernel/network_grant.ts";
import { SIGNATURE_BYTES, type SignatureBackend, type Signer, verify } from "../kernel/verify.ts";
import { CAPABILITIES, IMPORT, type Profile, PROFILES } from "./contracts.ts";
import { type Block, decodeCar, encodeCar, isRawCid, rawCidOf } from "./car.ts";

/** What a component of an app is for: its profile. A bundle has at most one of each. */
export type Role = Profile;
/** Every {@link Role}, in the order in which bundles keep them. */
export const ROLES = PROFILES;

/**
 * What an app may ask for, sorted: interfaces of `realm:app` that its components import, and parts
 * of WebAssembly that need a grant.
 */
export const ASKS: readonly string[] = [
  ...new Set([...Object.keys(IMPORT), ...Object.keys(CAPABILITIES)]),
].sort();

/** A component that was composed into others. */
export interface BundleModule {
  /** Of its bytes. */
  readonly component: CID;
  /** The components that have it in them, in the order of {@link ROLES}. */
  readonly into: readonly Role[];
}

/** What the publisher signs. */
export interface Bundle {
  /** A label for people. */
  readonly name: string;
  /** `1.2.3`, or `1.2.3-beta.1`. */
  readonly version: string;
  /** The 32-byte key that signs. */
  readonly publisher: Uint8Array;
  /** The first bundle of the app; `undefined` in that one itself. */
  readonly app: CID | undefined;
  /** What decides verdicts: rewriter, fuel and prices. */
  readonly abi: number;
  /** How the digest of the state is made. */
  readonly stateDigest: number;
  /** CIDs of the components' bytes. */
  readonly components: ReadonlyMap<Role, CID>;
  /** By name, sorted. */
  readonly modules: ReadonlyMap<string, BundleModule>;
  /** All that any of its components may use, of {@link ASKS}, sorted. */
  readonly capabilities: readonly string[];
  /** Where it may send requests to: SCHEME://HOST[:PORT], sorted; only with `network`. */
  readonly network: readonly string[];
}

/** A step from one publisher's key to the next, signed by the one before. */
export interface Succession {
  readonly to: Uint8Array;
  readonly signature: Uint8Array;
}

/** A bundle with what proves it, and its components. */
export interface PackedBundle {
  /** Its identity: the CID of its manifest. */
  readonly id: CID;
  readonly bundle: Bundle;
  readonly signature: Uint8Array;
  /** From the key of the first bundle to that of this one. */
  readonly succession: readonly Succession[];
  /** The app's first bundle; this one, where it is the first. */
  readonly first: Bundle;
  /** The CID of the first bundle: the app. */
  readonly app: CID;
  /** Bytes of the components, whose digests were compared. */
  readonly components: ReadonlyMap<Role, Uint8Array>;
}

/** The newest of each that this version of realm knows; all from 1 on are known. */
export const ABI_MAX = 1;
export const STATE_DIGEST_MAX = 1;

/** Most of each in one bundle. */
export const BUNDLE_BYTES_MAX = 64 * 1024 * 1024;
export const BUNDLED_COMPONENT_BYTES_MAX = 16 * 1024 * 1024;
export const MODULES_MAX = 64;
export const NETWORK_MAX = 64;
export const SUCCESSIONS_MAX = 64;
const MANIFEST_BYTES_MAX = 64 * 1024;
const OUTBOUND_LENGTH_MAX = 300;
/** Manifest, seal and first manifest stand before the components. */
const BLOCKS_MAX = 3 + ROLES.length;

const NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const VERSION =
  /^(?=.{1,64}$)(?:0|[1-9]\d{0,8})(?:\.(?:0|[1-9]\d{0,8})){2}(?:-[0-9a-z]+(?:[.-][0-9a-z]+)*)?$/;
/** What {@link isLabel} and {@link isVersion} want, for messages. */
export const LABEL_WANTED = "1 to 63 of a-z, 0-9 and - (not first or last)";
export const VERSION_WANTED = "a version such as 1.2.3 or 1.2.3-beta.1";

/** Whether text may name a bundle or a module. */
export const isLabel = (text: string): boolean => NAME.test(text);
/** Whether text is the version of a bundle. */
export const isVersion = (text: string): boolean => VERSION.test(text);
/** Whether text says where requests may go to. */
export const isOutbound = (text: string): boolean =>
  text.length <= OUTBOUND_LENGTH_MAX && parseOutbound(text) !== undefined;

/** The manifest of a bundle as bytes; what is wrong with the bundle is a bug: TypeError. */
export function encodeBundle(bundle: Bundle): Uint8Array<ArrayBuffer> {
  const problem = problemOf(bundle);
  if (problem !== undefined) throw new TypeError(`Cannot encode bundle: ${problem}`);
  return encodeCanonical({
    v: 1,
    abi: bundle.abi,
    app: bundle.app ?? null,
    name: bundle.name,
    version: bundle.version,
    publisher: bundle.publisher,
    stateDigest: bundle.stateDigest,
    components: Object.fromEntries(bundle.components),
    modules: Object.fromEntries(
      [...bundle.modules].map(([name, { component, into }]) => [name, { component, into }]),
    ),
    capabilities: bundle.capabilities,
    network: bundle.network,
  });
}

/** The bundle of a manifest's bytes. Throws RealmError `corrupt`, or `unsupported` if it is newer. */
export function decodeBundle(bytes: Uint8Array): Bundle {
  if (bytes.length > MANIFEST_BYTES_MAX) {
    throw tooMuch(`its manifest has ${bytes.length} bytes, wanted at most ${MANIFEST_BYTES_MAX}`);
  }
  const map = decodeCanonical(bytes);
  if (isMap(map) && typeof map.v === "number" && map.v > 1) {
    throw unsupported(`it is of form ${map.v}, wanted 1`);
  }
  if (!hasKeys(map, MANIFEST_KEYS) || map.v !== 1) throw malformed("its manifest has other keys");
  const { abi, app, name, version, publisher, stateDigest, capabilities, network } = map;
  const bundle = {
    name: name as string,
    version: version as string,
    publisher: publisher as Uint8Array,
    app: app === null ? undefined : app as CID,
    abi: abi as number,
    stateDigest: stateDigest as number,
    components: mapOf(map.components, (value) => value as CID, ROLES) as ReadonlyMap<Role, CID>,
    modules: mapOf(map.modules, (value) => {
      if (!hasKeys(value, ["component", "into"])) throw malformed("a module has other keys");
      return { component: value.component as CID, into: value.into as readonly Role[] };
    }),
    capabilities: capabilities as readonly string[],
    network: network as readonly string[],
  };
  const problem = problemOf(bundle);
  if (problem !== undefined) throw malformed(problem);
  return bundle;
}

const MANIFEST_KEYS = [
  ...["abi", "app", "capabilities", "components", "modules", "name"],
  ...["network", "publisher", "stateDigest", "v", "version"],
];

/** What keeps a bundle from being one; whatever its fields are, however they were typed. */
function problemOf(bundle: Bundle): string | undefined {
  const { name, version, publisher, app, abi, stateDigest, capabilities, network } = bundle;
  const { components, modules } = bundle;
  if (typeof name !== "string" || !isLabel(name)) {
    return `its name is wrong, wanted ${LABEL_WANTED}`;
  }
  if (typeof version !== "string" || !isVersion(version)) {
    return `its version is wrong, wanted ${VERSION_WANTED}`;
  }
  if (!isBytes(publisher, KEY_BYTES)) return `its publisher is no key of ${KEY_BYTES} bytes`;
  if (app !== undefined && !(CID.asCID(app) && isCanonicalCid(app))) return "its app is no bundle";
  for (const [what, number] of [["abi", abi], ["stateDigest", stateDigest]] as const) {
    if (!Number.isSafeInteger(number) || number < 1) {
      return `its ${what} is wrong, wanted 1 or more`;
    }
  }
  if (!components.has("state-apply")) return "it has no state-apply component";
  if (![...components.values()].every(isComponentCid)) return "a component has no raw CID";
  if (modules.size > MODULES_MAX) return `it has ${modules.size} modules, at most ${MODULES_MAX}`;
  for (const [label, { component, into }] of modules) {
    if (!isLabel(label)) return `the name of a module is wrong, wanted ${LABEL_WANTED}`;
    if (!isComponentCid(component)) return `module ${label} has no raw CID`;
    if (!isSubsequence(into, ROLES) || into.length === 0) {
      return `module ${label} is not in roles in their order`;
    }
    const missing = into.find((role) => !components.has(role));
    if (missing !== undefined) return `module ${label} is in ${missing}, which is not there`;
  }
  if (!isSubsequence(capabilities, ASKS)) {
    return "its capabilities are not known and sorted";
  }
  if (!Array.isArray(network) || network.length > NETWORK_MAX) {
    return `its network is wrong, wanted at most ${NETWORK_MAX} hosts`;
  }
  if (!network.every((host) => typeof host === "string" && isOutbound(host))) {
    return "its network has what is not SCHEME://HOST[:PORT]";
  }
  if (network.some((host, i) => i > 0 && network[i - 1]! >= host)) {
    return "its network is not sorted";
  }
  if (network.length > 0 && !capabilities.includes("network")) {
    return "it names hosts without the capability network";
  }
  return undefined;
}

/** Signs and packs: `components` are the bytes whose CIDs the bundle gives. */
export async function packBundle(
  bundle: Bundle,
  components: ReadonlyMap<Role, Uint8Array>,
  signer: Signer,
  origin: { readonly first: Bundle; readonly succession: readonly Succession[] } = {
    first: bundle,
    succession: [],
  },
): Promise<Uint8Array<ArrayBuffer>> {
  const manifest = encodeBundle(bundle);
  return pack({
    id: cidOf(manifest),
    bundle,
    signature: await signer.sign(signedBytes("realm/bundle/1", manifest)),
    succession: origin.succession,
    first: origin.first,
    app: bundle.app ?? cidOf(manifest),
    components,
  });
}

/** The packed form, which {@link unpackBundle} reads. */
export function pack(packed: PackedBundle): Uint8Array<ArrayBuffer> {
  const { id, bundle, signature, succession, first, components } = packed;
  const seal = encodeCanonical({
    bundle: id,
    signature,
    succession: succession.map(({ to, signature }) => ({ to, signature })),
  });
  const blocks: [Block, ...Block[]] = [
    { cid: id, bytes: encodeBundle(bundle) },
    { cid: cidOf(seal), bytes: seal },
  ];
  if (bundle.app !== undefined) blocks.push({ cid: bundle.app, bytes: encodeBundle(first) });
  for (const cid of componentBlocks(bundle)) {
    const bytes = [...components.values()].find((each) => rawCidOf(each).equals(cid));
    if (bytes === undefined) throw new TypeError(`Cannot pack bundle: component ${cid} is missing`);
    blocks.push({ cid, bytes });
  }
  return encodeCar(blocks);
}

/**
 * Reads the packed form, and compares every block with its name; signatures are {@link verifyBundle}'s.
 *
 * Throws RealmError: `limit-exceeded` past a bound, `digest-mismatch` for other bytes than were
 * named, `unsupported` for what is newer than this realm, `corrupt` for what is malformed: blocks
 * missing, twice, too many, or in another order included.
 */
export function unpackBundle(bytes: Uint8Array): PackedBundle {
  const [root, ...rest] = decodeCar(bytes, {
    bytesMax: BUNDLE_BYTES_MAX,
    blocksMax: BLOCKS_MAX,
    blockBytesMax: BUNDLED_COMPONENT_BYTES_MAX,
  });
  if (!isCanonicalCid(root.cid)) throw malformed("its root is no manifest");
  const bundle = decodeBundle(root.bytes);
  if (bundle.abi > ABI_MAX) {
    throw unsupported(`its abi is ${bundle.abi}, wanted at most ${ABI_MAX}`);
  }
  if (bundle.stateDigest > STATE_DIGEST_MAX) {
    throw unsupported(
      `its state digest is ${bundle.stateDigest}, wanted at most ${STATE_DIGEST_MAX}`,
    );
  }
  const seal = rest.shift();
  if (seal === undefined || !isCanonicalCid(seal.cid)) throw malformed("it has no seal");
  const { signature, succession } = sealOf(seal.bytes, root.cid);

  let first = bundle;
  if (bundle.app !== undefined) {
    const block = rest.shift();
    if (!block?.cid.equals(bundle.app)) throw malformed("the app's first bundle is missing");
    first = decodeBundle(block.bytes);
    if (first.app !== undefined) throw malformed("the app's first bundle is not a first one");
  }
  const wanted = componentBlocks(bundle);
  const byCid = new Map<string, Uint8Array>();
  for (const cid of wanted) {
    const block = rest.shift();
    if (!block?.cid.equals(cid)) throw malformed(`component ${cid} is missing at its place`);
    byCid.set(cid.toString(), block.bytes);
  }
  if (rest.length > 0) throw malformed(`block ${rest[0]!.cid} belongs to nothing`);
  return {
    id: root.cid,
    bundle,
    signature,
    succession,
    first,
    app: bundle.app ?? root.cid,
    components: new Map([...bundle.components].map(([role, cid]) => [role, byCid.get(`${cid}`)!])),
  };
}

/**
 * The gate of every bundle: the succession leads from the first publisher to this one, who signed.
 *
 * Throws RealmError `bad-signature`, or `wrong-owner` when the chain ends at another key.
 */
export async function verifyBundle(packed: PackedBundle, backend: SignatureBackend): Promise<void> {
  const { bundle, app, first, signature, succession } = packed;
  const key = await followSuccession({ app, number: 0, key: first.publisher }, succession, backend);
  if (!bytesEqual(key, bundle.publisher)) {
    throw refuse(
      "wrong-owner",
      `it is signed for ${formatPublicKey(bundle.publisher)}, wanted ${formatPublicKey(key)}`,
    );
  }
  const message = signedBytes("realm/bundle/1", encodeBundle(bundle));
  if (!await verify(key, message, signature, backend)) {
    throw refuse("bad-signature", `it is not signed by its publisher ${formatPublicKey(key)}`);
  }
}

/**
 * The key to which steps of a succession lead, which come after the first `number`.
 *
 * Throws RealmError `bad-signature`.
 */
export async function followSuccession(
  { app, number, key: from }: {
    readonly app: CID;
    readonly number: number;
    readonly key: Uint8Array;
  },
  steps: readonly Succession[],
  backend: SignatureBackend,
): Promise<Uint8Array> {
  let key = from;
  for (const [i, step] of steps.entries()) {
    const at = number + i + 1;
    const message = successionBytes({ app, number: at, from: key, to: step.to });
    if (!await verify(key, message, step.signature, backend)) {
      throw refuse("bad-signature", `step ${at} of its succession is not signed by the key before`);
    }
    key = step.to;
  }
  return key;
}

/**
 * Hands an app to another key: the next step of a succession, after `chain`.
 *
 * `signer` is the key that publishes now.
 */
export async function succeed(
  { app, chain, to }: {
    readonly app: CID;
    readonly chain: readonly Succession[];
    readonly to: Uint8Array;
  },
  signer: Signer,
): Promise<Succession> {
  const number = chain.length + 1;
  const message = successionBytes({ app, number, from: signer.publicKey, to });
  return { to, signature: await signer.sign(message) };
}

/** The number keeps a step from being used again when a key comes back. */
function successionBytes(
  step: {
    readonly app: CID;
    readonly number: number;
    readonly from: Uint8Array;
    readonly to: Uint8Array;
  },
): Uint8Array {
  return signedBytes("realm/succession/1", encodeCanonical({ v: 1, ...step }));
}

function sealOf(
  bytes: Uint8Array,
  id: CID,
): { readonly signature: Uint8Array; readonly succession: readonly Succession[] } {
  if (bytes.length > MANIFEST_BYTES_MAX) {
    throw tooMuch(`its seal has ${bytes.length} bytes, wanted at most ${MANIFEST_BYTES_MAX}`);
  }
  const map = decodeCanonical(bytes);
  if (!hasKeys(map, ["bundle", "signature", "succession"])) {
    throw malformed("its seal has other keys");
  }
  const { bundle, signature, succession } = map;
  const named = CID.asCID(bundle);
  if (named === null || !named.equals(id)) throw malformed("its seal is of another bundle");
  if (!isBytes(signature, SIGNATURE_BYTES)) throw malformed("its signature has another length");
  return { signature, succession: readSuccession(succession) };
}

/** Steps of a succession, of which no signature is verified. Throws RealmError. */
export function readSuccession(succession: CborValue | undefined): Succession[] {
  if (!Array.isArray(succession)) throw malformed("its succession is no list");
  if (succession.length > SUCCESSIONS_MAX) {
    throw tooMuch(
      `its succession has ${succession.length} steps, wanted at most ${SUCCESSIONS_MAX}`,
    );
  }
  return succession.map((step: CborValue) => {
    if (
      !hasKeys(step, ["signature", "to"]) || !isBytes(step.to, KEY_BYTES) ||
      !isBytes(step.signature, SIGNATURE_BYTES)
    ) throw malformed("a step of its succession is not a key with a signature");
    return { to: step.to, signature: step.signature };
  });
}

/** Two roles may be the same component: its block is there once. */
function componentBlocks({ components }: Bundle): CID[] {
  const cids = ROLES.flatMap((role) => components.get(role) ?? []);
  return cids.filter((cid, i) => cids.findIndex((other) => other.equals(cid)) === i);
}

function isMap(value: unknown): value is Record<string, CborValue> {
  return typeof value === "object" && value !== null && !Array.isArray(value) &&
    !(value instanceof Uint8Array) && CID.asCID(value) === null;
}

/** Whether a value is a map with exactly these keys, given sorted. */
export function hasKeys(
  value: unknown,
  keys: readonly string[],
): value is Record<string, CborValue> {
  return isMap(value) && Object.keys(value).sort().join() === keys.join();
}

/** In the order of `known`, which are all the keys there may be, else sorted. */
function mapOf<T>(
  value: CborValue | undefined,
  read: (value: CborValue) => T,
  known?: readonly string[],
): ReadonlyMap<string, T> {
  if (!isMap(value)) throw malformed("its components or modules are no map");
  const keys = Object.keys(value);
  if (known && !keys.every((key) => known.includes(key))) {
    throw malformed("a component has another role");
  }
  const order = known?.filter((key) => keys.includes(key)) ?? keys.sort();
  return new Map(order.map((key) => [key, read(value[key]!)]));
}

export function isBytes(value: unknown, length: number): value is Uint8Array {
  return value instanceof Uint8Array && value.length === length;
}

function isComponentCid(value: unknown): boolean {
  const cid = CID.asCID(value);
  return cid !== null && isRawCid(cid);
}

/** Whether a list has words of `all`, in that order, none twice. */
function isSubsequence(list: unknown, all: readonly string[]): boolean {
  if (!Array.isArray(list)) return false;
  const places = list.map((word) => all.indexOf(word));
  return places.every((place, i) => place >= 0 && (i === 0 || place > places[i - 1]!));
}

function malformed(problem: string): RealmError {
  return new RealmError("corrupt", `Cannot read bundle: ${problem}`);
}

function tooMuch(problem: string): RealmError {
  return new RealmError("limit-exceeded", `Cannot read bundle: ${problem}`);
}

function unsupported(problem: string): RealmError {
  return new RealmError("unsupported", `Cannot read bundle: ${problem}`, {
    hint: "Run realm upgrade",
  });
}

function refuse(code: "bad-signature" | "wrong-owner", problem: string): RealmError {
  return new RealmError(code, `Cannot accept bundle: ${problem}`);
}
