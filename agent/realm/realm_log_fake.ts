/**
 * What tests of the control log share: people with keys, manifests that they signed, and logs in
 * memory.
 *
 * @module
 */
import { nodeBackend } from "../node/crypto_node.ts";
import { eventAt, type EventPlace, type SignedEvent, signEventSync } from "../kernel/event.ts";
import { formatPublicKey } from "../kernel/key.ts";
import type { Store } from "../kernel/ports.ts";
import { keyPairOf, signerOf, type SyncSigner } from "../kernel/verify.ts";
import { verify } from "../verify_fake.ts";
import { MemoryStore } from "../store/memory_store.ts";
import { controlContent, type ControlEvent, createControlGenesis } from "./control_event.ts";
import { signManifest } from "./manifest_signature.ts";
import { PublishedDigests } from "./published.ts";
import { RealmLog, type RealmTrust } from "./realm_log.ts";

export { verify };

const backend = nodeBackend();

/** Somebody with a key. */
export interface Person extends SyncSigner {
  /** The public key in text form. */
  readonly key: string;
}

async function person(byte: number): Promise<Person> {
  const signer = signerOf(await keyPairOf(new Uint8Array(32).fill(byte), backend), backend);
  return { ...signer, key: formatPublicKey(signer.publicKey) };
}

export const owner = await person(1);
export const recovery = await person(2);
/** Owners by succession. */
export const heir = await person(3);
export const otherHeir = await person(4);
export const operator = await person(5);
export const otherOperator = await person(6);
export const nodes = await Promise.all([10, 11, 12].map(person)) as [Person, Person, Person];
export const stranger = await person(20);

export const genesis = await createControlGenesis(owner, recovery.publicKey);

/** A manifest event's content: by its owner, with two nodes, and a component `auth`. */
export async function manifestOf(
  by: Person,
  version: number,
  {
    operators = [],
    memory = 64,
    components = ["auth"],
    names = ["bm-01", "bm-02"],
    digest = "ab".repeat(32),
    published = new PublishedDigests(),
  }: {
    operators?: readonly Person[];
    memory?: number;
    components?: readonly string[];
    names?: readonly string[];
    /** Of all components. */
    digest?: string;
    /** Before it; where all have the same bytes the tree is the same one wherever it is put. */
    published?: PublishedDigests;
  } = {},
): Promise<Extract<ControlEvent, { kind: "manifest" }>> {
  const manifestBytes = new TextEncoder().encode([
    `owner.pubkey = "${by.key}"`,
    `realm.operators = ${JSON.stringify(operators.map(({ key }) => key))}`,
    ...names.map((name) => `[nodes.${name}]`),
    ...components.map((name) =>
      `[components.${name}]\nsource = "file:${name}.wasm"\nworld = "wasi:cli/command"\n` +
      `memory_max_mb = ${memory}`
    ),
  ].join("\n"));
  const digests = components.map((name) => [name, digest] as const);
  const signature = await signManifest(manifestBytes, { version, digests, signer: by });
  const tree = published.add(digests.map(([, digest]) => digest)).head;
  return { kind: "manifest", manifestBytes, signature, tree };
}

/** A log in memory, or in `store`; with the genesis unless it was told of another realm. */
export function openLog(store: Store = new MemoryStore(), trust?: RealmTrust): RealmLog {
  const log = RealmLog.open({ store, verify, trust: trust ?? { owner: owner.key } });
  if (trust === undefined) log.offer([genesis]);
  return log;
}

/** An event at a place of its author's choice: nobody asks whether it may. */
export function signed(by: SyncSigner, place: EventPlace, said: ControlEvent): SignedEvent {
  return signEventSync(eventAt(by.publicKey, place, controlContent(said)), by);
}

/** The event of somebody on the newest events of a log, which is not asked whether it may be. */
export function proposed(log: RealmLog, by: SyncSigner, said: ControlEvent): SignedEvent {
  return signed(by, log.placeFor(by.publicKey), said);
}

/** Everything that a log keeps. */
export function allOf(log: RealmLog): SignedEvent[] {
  log.flush(0);
  return [...log.stored()].map(({ id }) => log.load(id)!);
}

/** Both logs get what the other one keeps, until there is nothing new. */
export function exchange(a: RealmLog, b: RealmLog): void {
  for (let isNew = true; isNew;) {
    const accepted = a.offer(allOf(b)).accepted.length + b.offer(allOf(a)).accepted.length;
    isNew = accepted > 0;
  }
}

/** What two logs that agree have in common. */
export function summary(log: RealmLog): unknown {
  return {
    heads: log.topic!.heads.map(({ id }) => id.toString()),
    order: log.topic!.order().map(({ id }) => id.toString()),
    size: log.topic!.size,
    view: log.view,
  };
}
