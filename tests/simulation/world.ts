/**
 * One simulation: machines, the network between them, the people who own the realm, and the record
 * of everything that happened. Two worlds of one seed have one history.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { sha256 } from "@noble/hashes/sha2.js";
import { CID, cidOf, sha256HexSync } from "../../agent/kernel/canonical.ts";
import {
  eventAt,
  genesisEvent,
  type SignedEvent,
  signEventSync,
} from "../../agent/kernel/event.ts";
import { formatPublicKey, parsePublicKey } from "../../agent/kernel/key.ts";
import {
  controlContent,
  type ControlEvent,
  readControlEvent,
} from "../../agent/realm/control_event.ts";
import type { DesiredReplica, Overrides } from "../../agent/realm/desired.ts";
import { decodeManifest, type Manifest, parseManifest } from "../../agent/realm/manifest.ts";
import { signManifestSync } from "../../agent/realm/manifest_signature.ts";
import { PublishedDigests } from "../../agent/realm/published.ts";
import { PeerCore, type PeerCoreInit } from "../../agent/realm/peering/peer_core.ts";
import { RealmLog, type RealmTrust } from "../../agent/realm/realm_log.ts";
import { followManifest } from "../../agent/realm/applied_manifest.ts";
import { type Player, player } from "./cast.ts";
import type { CrashingDisk } from "./crashing_store.ts";
import type { Kind } from "./scenario.ts";
import { Judge } from "./judge.ts";
import { SimulatedNetwork } from "./network.ts";
import type { SimulatedNode } from "./node.ts";
import { SeededRandom } from "../../agent/kernel/seeded_random.ts";
import { Timeline } from "./timeline.ts";

/** A manifest, read. */
export interface Contents {
  readonly manifest: Manifest;
  readonly digests: ReadonlyMap<string, string>;
}

/** Who runs the operator's commands. */
export const operator = player("operator");

/** What differs from the real thing: for tests that break a rule on purpose. */
export interface WorldOptions {
  readonly makeCore?: (init: PeerCoreInit) => PeerCore;
  readonly openLog?: (init: Parameters<typeof RealmLog.open>[0]) => RealmLog;
  readonly openStore?: (disk: CrashingDisk) => ReturnType<CrashingDisk["open"]>;
  readonly follow?: typeof followManifest;
  /** The kinds of trouble there are, in place of those that the seed picks. */
  readonly kinds?: readonly Kind[];
  /** Sees a line for everything that happens. */
  readonly trace?: (line: string) => void;
}

/** Read manifests by their sha256: reading one costs more than everything else about it. */
const parsed = new Map<string, Manifest>();

/** See the module. */
export class World {
  readonly random: SeededRandom;
  readonly timeline = new Timeline();
  readonly network: SimulatedNetwork;
  readonly judge: Judge;
  readonly nodes: SimulatedNode[] = [];
  readonly #byKey = new Map<string, SimulatedNode>();
  readonly genesis: SignedEvent;
  readonly trust: RealmTrust;
  /** Who owns the realm at this moment, as people would say. */
  owner = player("owner");
  readonly recovery = player("recovery");
  /** sha256 of every manifest that a key of an owner signed. */
  readonly manifests = new Set<string>();
  /** Keys that an owner's key ever approved. */
  readonly wasApproved = new Set<string>();
  readonly #history = createHash("sha256");
  readonly #contents = new Map<string, Contents>();
  readonly #memo = new WeakMap<Overrides, Map<string, DesiredReplica[]>>();
  frames = 0;

  constructor(readonly seed: string, readonly options: WorldOptions = {}) {
    this.random = new SeededRandom(seed);
    this.network = new SimulatedNetwork(this.timeline, this.random.fork("network"));
    this.judge = new Judge(this);
    this.genesis = signEventSync(
      genesisEvent(
        this.owner.publicKey,
        controlContent({
          kind: "genesis",
          owner: this.owner.key,
          recoveryHash: sha256(this.recovery.publicKey),
        }),
      ),
      this.owner,
    );
    this.trust = { owner: this.owner.key, topic: this.genesis.id.toString() };
  }

  add(node: SimulatedNode): void {
    this.nodes.push(node);
    this.#byKey.set(node.key, node);
    this.judge.watch(node);
  }

  nodeOf(key: string): SimulatedNode | undefined {
    return this.#byKey.get(key);
  }

  nameOf(key: string): string {
    return this.#byKey.get(key)?.name ?? key.slice(0, 16);
  }

  isHonest(key: string): boolean {
    return this.#byKey.get(key)?.isHonest ?? false;
  }

  makeCore(init: PeerCoreInit): PeerCore {
    return this.options.makeCore?.(init) ?? new PeerCore(init);
  }

  openLog(init: Parameters<typeof RealmLog.open>[0]): RealmLog {
    return this.options.openLog?.(init) ?? RealmLog.open(init);
  }

  openStore(disk: CrashingDisk): ReturnType<CrashingDisk["open"]> {
    return this.options.openStore?.(disk) ?? disk.open();
  }

  follow(...args: Parameters<typeof followManifest>): ReturnType<typeof followManifest> {
    return (this.options.follow ?? followManifest)(...args);
  }

  /** Something happened that the trace shows. */
  note(who: string, what: string): void {
    this.#history.update(`${this.timeline.nowMs} ${who} ${what}\n`);
    this.options.trace?.(`${(this.timeline.nowMs / 1000).toFixed(3).padStart(9)} ${who} ${what}`);
  }

  /** A frame arrived. */
  delivered(from: string, to: string, frame: Uint8Array): void {
    this.frames += 1;
    this.#history.update(`${this.timeline.nowMs} ${from} ${to}\n`).update(frame);
  }

  /** Names everything that happened. Ends the record. */
  historyHash(): string {
    return this.#history.digest("hex");
  }

  idOf(text: string): CID {
    return CID.parse(text);
  }

  /** The id of an event that nobody made. */
  randomId(random: SeededRandom): CID {
    return cidOf(random.bytes(16));
  }

  publicKeyOf(key: string): Uint8Array {
    return parsePublicKey(key);
  }

  keyOf(publicKey: Uint8Array): string {
    return formatPublicKey(publicKey);
  }

  /** The event of a person or machine at a place in the log of a node. */
  sign(author: Player, at: RealmLog, said: ControlEvent): SignedEvent {
    if (said.kind === "approve" && author !== operator) this.wasApproved.add(said.key);
    const place = at.placeFor(author.publicKey);
    return signEventSync(eventAt(author.publicKey, place, controlContent(said)), author);
  }

  /** A signed manifest, as `realm apply` makes it. */
  manifest(
    text: string,
    version: number,
    { digests, published = new PublishedDigests() }: {
      digests: Map<string, string>;
      published?: PublishedDigests;
    },
    signer: Player,
  ) {
    const manifestBytes = new TextEncoder().encode(text);
    const signature = signManifestSync(manifestBytes, { version, digests, signer });
    this.manifests.add(sha256HexSync(manifestBytes));
    const tree = published.add(digests.values()).head;
    return { kind: "manifest", manifestBytes, signature, tree } as const satisfies ControlEvent;
  }

  /** The manifest of an event. */
  contentsOf(log: RealmLog, event: string): Contents | undefined {
    const known = this.#contents.get(event);
    if (known !== undefined) return known;
    const inForce = log.manifest();
    const signed = log.load(this.idOf(event));
    let contents: Contents | undefined;
    if (inForce?.event.toString() === event) {
      contents = { manifest: inForce.manifest, digests: inForce.signature.digests };
    } else if (signed !== undefined) {
      const read = readControlEvent(signed.event);
      if (read.kind !== "manifest") throw new Error(`${event} is not the event of a manifest`);
      const { sha256, digests } = read.signature;
      let manifest = parsed.get(sha256);
      if (manifest === undefined) {
        manifest = parseManifest(decodeManifest(read.manifestBytes));
        parsed.set(sha256, manifest);
      }
      contents = { manifest, digests };
    }
    if (contents !== undefined) this.#contents.set(event, contents);
    return contents;
  }

  /** What was computed from the same overrides and the rest before. */
  memo(overrides: Overrides, rest: string, compute: () => DesiredReplica[]): DesiredReplica[] {
    let known = this.#memo.get(overrides);
    if (known === undefined) this.#memo.set(overrides, known = new Map());
    let value = known.get(rest);
    if (value === undefined) known.set(rest, value = compute());
    return value;
  }
}
