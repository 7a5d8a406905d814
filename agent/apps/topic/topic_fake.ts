/**
 * What tests of topics of apps share: people with keys, logs in memory, and random bytes from a seed.
 *
 * @module
 */
import { sha256 } from "@noble/hashes/sha2.js";
import { nodeBackend } from "../../node/crypto_node.ts";
import { bytesOf } from "../../kernel/byte_string.ts";
import { type CID, cidOf } from "../../kernel/canonical.ts";
import { eventAt, type EventContent, type SignedEvent, signEventSync } from "../../kernel/event.ts";
import { formatPublicKey } from "../../kernel/key.ts";
import type { Random, Store } from "../../kernel/ports.ts";
import { keyPairOf, signerOf, type SyncSigner } from "../../kernel/verify.ts";
import { verify } from "../../verify_fake.ts";
import type { AppliedEvent } from "../guest/host_imports.ts";
import type { Guest } from "../replay.ts";
import type { Journal } from "../state.ts";
import { MemoryStore } from "../../store/memory_store.ts";
import { appContent, type AppGenesis, type AppRole, type KernelEvent } from "./app_event.ts";
import { AppLog } from "./app_log.ts";
import { inviteTo, joinBy } from "./authoring.ts";
import { type Opener, openerOf } from "./payload_keys.ts";

export { verify };

const backend = nodeBackend();

/** Somebody with a key. */
export interface Person extends SyncSigner {
  /** The public key in text form. */
  readonly key: string;
  readonly opener: Opener;
}

/** Who has the secret key of a seed. */
export async function personOf(seed: Uint8Array): Promise<Person> {
  const signer = signerOf(await keyPairOf(seed, backend), backend);
  return { ...signer, key: formatPublicKey(signer.publicKey), opener: openerOf(seed) };
}

const people = await Promise.all(
  [1, 2, 3, 4, 5, 6].map((byte) => personOf(new Uint8Array(32).fill(byte))),
);
export const [ann, ben, cem, dan, eva, stranger] = people as [
  Person,
  Person,
  Person,
  Person,
  Person,
  Person,
];

/** Bytes that are random enough, and the same each time. */
export function randomFrom(seed: number): Random {
  let count = 0;
  return {
    bytes: (length) =>
      Uint8Array.from(
        { length },
        (_, i) => sha256(bytesOf(`${seed} ${i % 32 === 0 ? count++ : count} ${i >> 5}`))[i % 32]!,
      ),
  };
}

/** A CID of nothing that there is. */
export function someCid(name: string): CID {
  return cidOf(bytesOf(name));
}

/** A new topic of ann's. */
export function createTopic(
  content: Partial<AppGenesis> = {},
  { store = new MemoryStore(), random = randomFrom(1) }: { store?: Store; random?: Random } = {},
): AppLog {
  const bundle = someCid("bundle");
  const genesis = {
    app: bundle,
    bundle,
    params: new Map(),
    isEncrypted: false,
    fork: undefined,
    ...content,
  };
  const init = { store, verify, openers: [ann.opener] };
  return AppLog.create(init, genesis, { signer: ann, random });
}

/** The log of another peer, which has nothing yet. */
export function emptyLog(topic: CID, openers: Opener[] = [], store = new MemoryStore()): AppLog {
  return AppLog.open({ store, verify, topic, openers });
}

/** An event of somebody on the newest events of a log, which is not asked whether it may be. */
export function proposed(log: AppLog, by: SyncSigner, content: EventContent | KernelEvent) {
  const said = "kind" in content ? appContent(content) : content;
  return signEventSync(eventAt(by.publicKey, log.placeFor(by.publicKey), said), by);
}

/** An event of the app, which counts up. */
let count = 0;
export function something(): { type: string; payload: Uint8Array } {
  return { type: "app/say", payload: bytesOf(`${count++}`) };
}

/** Invites and joins, as one does on the same log; returns what the invite's seed opens. */
export async function join(
  log: AppLog,
  newcomer: Person,
  role: AppRole = "member",
  by: Person = ann,
  random: Random = randomFrom(count++),
): Promise<Opener> {
  const { said, seed } = inviteTo(log, role, random);
  log.write(said, by);
  const invite = await personOf(seed);
  log.write(joinBy(log, invite, newcomer.publicKey), newcomer);
  return invite.opener;
}

/** A guest of a bundle: keeps what each author said last, and a chain of everything. */
export function guestOf(name: string): Guest {
  return {
    apply({ author, kind, payload }: AppliedEvent, writes: Journal) {
      const chain = writes.get(bytesOf("chain")) ?? new Uint8Array();
      writes.put(bytesOf("chain"), sha256(Uint8Array.of(...chain, ...payload, ...bytesOf(name))));
      writes.put(author, Uint8Array.of(...kind, ...payload));
      return { verdict: { kind: "accepted" }, fuel: 1 };
    },
    migrate({ payload }, writes) {
      writes.put(bytesOf("from"), payload);
      return { verdict: { kind: "accepted" }, fuel: 1 };
    },
  };
}

/** Everything that a log keeps. */
export function allOf(log: AppLog): SignedEvent[] {
  log.flush(0);
  return [...log.stored()].map(({ id }) => log.load(id)!);
}

/** Both logs get what the other one keeps, until there is nothing new; what is wanted again, again. */
export function exchange(a: AppLog, b: AppLog): void {
  for (let isNew = true; isNew;) {
    const offered = [b.offer(allOf(a)), a.offer(allOf(b))];
    isNew = offered.some(({ accepted, isAgain }) => isAgain || accepted.length > 0);
  }
}

/** So many events of the app by somebody in a row, the first after these events alone. */
export function chain(
  log: AppLog,
  by: SyncSigner,
  length: number,
  after = log.placeFor(by.publicKey),
): SignedEvent[] {
  const events: SignedEvent[] = [];
  for (let place = after; events.length < length;) {
    const signed = signEventSync(eventAt(by.publicKey, place, something()), by);
    const { id, event: { lamport, seq } } = signed;
    events.push(signed);
    place = { ...place, heads: [{ id, lamport }], previous: { id, seq } };
  }
  return events;
}

/** What two logs that agree have in common. */
export function summary(log: AppLog): unknown {
  return {
    order: log.topic!.order().map(({ id }) => id.toString()),
    heads: log.topic!.heads.map(({ id }) => id.toString()),
    counting: log.topic!.order().filter((e) => log.topic!.counts(e)).map(({ id }) => id.toString()),
    view: log.view,
  };
}
