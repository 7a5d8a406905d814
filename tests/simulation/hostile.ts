/**
 * Those who mean harm: a node that is approved and lies, and keys that nobody approved.
 *
 * @module
 */
import { encodeCanonical } from "../../agent/kernel/canonical.ts";
import { encodeSigned, eventAt, signEventSync } from "../../agent/kernel/event.ts";
import { formatPublicKey } from "../../agent/kernel/key.ts";
import { controlContent, type ControlEvent } from "../../agent/realm/control_event.ts";
import { PublishedDigests } from "../../agent/realm/published.ts";
import { encodeFrame, type Frame } from "../../agent/realm/peering/frame.ts";
import { signHealth } from "../../agent/realm/peering/health_record.ts";
import type { Player } from "./cast.ts";
import { kindOf } from "./judge.ts";
import type { Endpoint } from "./network.ts";
import { SimulatedNode } from "./node.ts";
import type { SeededRandom } from "../../agent/kernel/seeded_random.ts";
import type { World } from "./world.ts";

/** What a traitor may do; each has some of it. */
const CRIMES = [
  "withhold",
  "damage",
  "replay",
  "garbage",
  "forge",
  "usurp",
  "orphan",
  "impersonate",
  "crowd",
] as const;

/** An approved node whose frames somebody tampers with. */
export class Traitor extends SimulatedNode {
  readonly #crimes: ReadonlySet<string>;
  /** Frames that it sent or could have kept. */
  readonly #kept: Uint8Array[] = [];

  constructor(world: World, who: Player, name: string) {
    super(world, who, name, false);
    const count = this.random.between(1, 4);
    this.#crimes = new Set(this.random.shuffled(CRIMES).slice(0, count));
    world.note(name, `is a traitor: ${[...this.#crimes].join(", ")}`);
  }

  override transmit(endpoint: Endpoint, peer: string, frame: Uint8Array): boolean {
    const { random } = this;
    const kind = kindOf(frame);
    if (kind !== "hello" && this.#kept.length < 50) this.#kept.push(frame);
    const isOpen = kind !== "hello" && kind !== "pending" && kind !== "ready";
    if (isOpen && this.#does("withhold", 0.5) && kind !== "health") return true;
    if (isOpen && random.chance(0.2)) {
      for (const bytes of this.#crime()) super.transmit(endpoint, peer, bytes);
    }
    if (!this.#does("damage", 0.03)) return super.transmit(endpoint, peer, frame);
    const damaged = frame.slice();
    damaged[random.between(0, damaged.length - 1)]! ^= 1 << random.between(0, 7);
    return super.transmit(endpoint, peer, damaged);
  }

  #does(crime: string, chance: number): boolean {
    return this.#crimes.has(crime) && this.random.chance(chance);
  }

  *#crime(): Iterable<Uint8Array> {
    const { random } = this;
    if (this.#does("replay", 0.5) && this.#kept.length > 0) yield random.pick(this.#kept);
    if (this.#does("garbage", 0.1)) yield random.bytes(random.between(0, 200));
    if (this.#does("forge", 0.4)) yield* this.#event(this.world.owner, this.#manifest(), true);
    if (this.#does("usurp", 0.3)) {
      const approve = { kind: "approve", key: this.key, name: "mine" } as const;
      yield* this.#event(this.player, random.chance(0.5) ? this.#manifest() : approve, false);
    }
    if (this.#does("orphan", 0.3)) {
      const exec = this.world.genesis.id;
      yield* this.#event(this.player, { kind: "executed", exec, status: 0 }, false, true);
    }
    if (this.#does("impersonate", 0.3)) yield this.#record(this.world.nodes[0]!.key);
    if (this.#does("crowd", 0.5)) yield this.#record(this.key);
  }

  /** A manifest that no owner signed. */
  #manifest(): ControlEvent {
    const text = `[owner]\npubkey = "${this.world.owner.key}"\n[nodes.${this.name}]\n`;
    const known = this.world.manifests.size;
    const liar = { ...this.player, publicKey: this.world.owner.publicKey };
    const published = this.run?.log.published() ?? new PublishedDigests();
    const contents = { digests: new Map<string, string>(), published };
    const manifest = this.world.manifest(text, 100 + known, contents, liar);
    this.world.manifests.delete(manifest.signature.sha256);
    return manifest;
  }

  *#event(
    author: Player,
    said: ControlEvent,
    isForged: boolean,
    isOrphan = false,
  ): Iterable<Uint8Array> {
    const log = this.run?.log;
    if (log?.topic === undefined) return;
    const place = log.placeFor(author.publicKey);
    const id = isOrphan ? this.world.genesis.id : undefined;
    const signer = isForged ? { ...this.player, publicKey: author.publicKey } : author;
    const event = eventAt(author.publicKey, place, controlContent(said));
    const orphaned = id && {
      ...event,
      parents: [this.world.randomId(this.random)],
      lamport: event.lamport + 5,
    };
    const signed = signEventSync(orphaned ?? event, signer);
    yield encodeFrame({ frame: "events", events: [encodeSigned(signed)] });
  }

  /** A health record with somebody's name on it and a crowd of made-up keys in it. */
  #record(key: string): Uint8Array {
    const { random } = this;
    const signed = signHealth({
      key,
      epoch: 1_000,
      counter: random.uint32(),
      name: "x",
      program: "x",
      saidAtMs: 0,
      heads: "0".repeat(64),
      viewDigest: "0".repeat(64),
      count: 0,
      version: 0,
      basis: "",
      refusal: null,
      turns: 0,
      givenUp: [],
      verdicts: [],
      cpuPermille: 0,
      memoryBytes: 0,
      addresses: [],
      replicas: [],
      failures: [],
      alarms: [],
      heard: [],
      pending: Array.from({ length: 8 }, () => ({
        key: formatPublicKey(random.bytes(32)),
        name: "crowd",
      })),
    }, (message) => this.player.sign(message));
    return encodeFrame({ frame: "health", records: [signed.bytes] });
  }
}

/** A key that nobody approved, and what it says when it is let in. */
export class Outsider implements Endpoint {
  readonly key: string;
  readonly #script: readonly Uint8Array[];

  constructor(readonly world: World, random: SeededRandom) {
    this.key = formatPublicKey(random.bytes(32));
    const hello = encodeFrame({
      frame: "hello",
      v: 1,
      name: random.pick(["n1", "stranger", ""]),
      topic: random.pick([null, world.genesis.id, world.randomId(random)]),
      owner: null,
      program: "x",
      addresses: [],
    });
    const event = encodeFrame({ frame: "events", events: [encodeSigned(world.genesis)] });
    const say = (frame: Frame) => encodeFrame(frame);
    this.#script = random.pick<Uint8Array[]>([
      [],
      [hello],
      [hello],
      [hello],
      [hello, event],
      [hello, say({ frame: "ready" }), event],
      [hello, say({ frame: "ready" }), say({ frame: "health", records: [] })],
      [hello, say({ frame: "ready" }), say({ frame: "sync", message: random.bytes(50) })],
      [hello, hello],
      [event],
      [random.bytes(100)],
      [new Uint8Array(5_000)],
      [encodeCanonical({ frame: "hello", v: 2 })],
    ]);
  }

  mayConnect(): boolean {
    return true;
  }

  connected(peer: string): void {
    for (const frame of this.#script) this.world.network.send(this, peer, frame);
  }

  disconnected(): void {}
  received(): void {}
  sent(): void {}
}
