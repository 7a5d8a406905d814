/**
 * What a seed has in store for a realm: what its people do, what breaks, and who attacks. Each seed
 * has some kinds of trouble and not others, so that every combination comes to pass.
 *
 * @module
 */
import type { ControlEvent } from "../../agent/realm/control_event.ts";
import { player } from "./cast.ts";
import { FAULTS, Faults } from "./faults.ts";
import { Outsider, Traitor } from "./hostile.ts";
import { SimulatedNode } from "./node.ts";
import type { Owners } from "./owners.ts";
import { operator, type World } from "./world.ts";

const KINDS = [
  "apply",
  "laptops",
  "newcomer",
  "revoke",
  "scale",
  "exec",
  "operate",
  ...FAULTS,
  "clock",
  "exit",
  "outsider",
  "crowd",
  "traitor",
  "theft",
] as const;
/** A kind of trouble. */
export type Kind = typeof KINDS[number];

/** Nodes in one realm at most: the judge knows no more players. */
const NODES_MAX = 12;

/** See the module. */
export class Scenario extends Faults<SimulatedNode> {
  readonly #kinds: readonly Kind[];
  #newcomers = 0;

  constructor(override readonly world: World, readonly owners: Owners, readonly troubleMs: number) {
    super(world, { offMsMax: 30_000, partitionMsMax: 20_000 });
    const count = this.random.between(3, KINDS.length);
    this.#kinds = world.options.kinds ??
      (troubleMs > 600_000 ? KINDS : this.random.shuffled(KINDS).slice(0, count));
    world.note("world", `has ${this.#kinds.join(", ")}`);
    const slowest = this.random.pick([5, 20, 100, 400]);
    world.network.delayMs = [1, slowest];
  }

  /** Plans everything. */
  plan(): void {
    for (const node of this.world.nodes) this.#keepDialling(node);
    // Each thing that is done stays in the log: a long life is a slower one.
    const isLong = this.troubleMs > 600_000;
    const pause = isLong ? 30_000 : this.random.pick([500, 1_500, 4_000]);
    const next = () => {
      this.world.timeline.after(this.random.between(50, pause), () => {
        if (this.isOver) return;
        this.#do(this.random.pick(this.#kinds));
        next();
      });
    };
    next();
  }

  #do(kind: Kind): void {
    this.world.note("world", kind);
    this[kind]();
  }

  // What people do.

  apply(): void {
    this.owners.apply(this.#asked());
  }

  /** Two laptops with one key, which know nothing of each other. */
  laptops(): void {
    const [one, two] = [this.#asked(), this.anyone()];
    const acts = [one, two].map((node) => {
      const said = this.random.chance(0.7) ? this.owners.manifest(node) : this.#scaling();
      return { node, signed: said && this.owners.sign(node, said) };
    });
    for (const { node, signed } of acts) {
      if (signed === undefined) continue;
      this.world.timeline.after(this.random.between(0, 3_000), () => {
        if (!this.isOver) this.owners.hand(node, signed);
      });
    }
  }

  /** Somebody new asks to join; those who asked before are approved. */
  newcomer(): void {
    const { world, owners, random } = this;
    const node = this.#asked();
    const waiting = node.run?.core.introductions() ?? [];
    const honest = waiting.filter(({ key }) => world.nodeOf(key) !== undefined);
    if (honest.length > 0) {
      const { key, name } = random.pick(honest);
      return owners.approve(node, key, name);
    }
    this.#join(`x${++this.#newcomers}`, SimulatedNode);
  }

  revoke(): void {
    const { world, owners, random } = this;
    const candidates = world.nodes.slice(2);
    if (candidates.length === 0 || !random.chance(0.4)) return;
    owners.revoke(this.#asked(), random.pick(candidates).key);
  }

  scale(): void {
    this.owners.act(this.#asked(), this.#scaling());
  }

  exec(): void {
    const node = this.random.pick(this.owners.names);
    this.owners.act(this.#asked(), {
      kind: "exec",
      node,
      command: ["uptime"],
      nonce: this.random.bytes(16),
      expiresAtMs: 2_000_000_000_000,
    });
  }

  /** An operator restarts, scales or drains; now and then what is not his to do. */
  operate(): void {
    const { random, owners } = this;
    const node = this.#asked();
    const said = random.pick<ControlEvent>([
      { kind: "restart", component: "web", nodes: [] },
      { kind: "drain", node: random.pick(owners.names), drained: random.chance(0.5) },
      this.#scaling(),
      { kind: "approve", key: operator.key, name: "n1" },
    ]);
    owners.act(node, said, operator);
  }

  #scaling(): ControlEvent {
    const replicas = this.random.pick([null, 0, 1, 3]);
    return { kind: "scale", component: this.random.pick(["web", "job"]), replicas, node: null };
  }

  // What else breaks.

  clock(): void {
    this.anyone().wallOffsetMs += this.random.between(-86_400_000, 86_400_000);
  }

  exit(): void {
    this.anyone().endReplica();
  }

  // Who attacks.

  outsider(): void {
    const { world, random } = this;
    const outsider = new Outsider(world, random);
    world.network.attach(outsider);
    for (const node of world.nodes) {
      if (random.chance(0.5)) world.network.dial(outsider.key, node.key);
    }
    world.timeline.after(random.between(1_000, 40_000), () => world.network.detach(outsider));
  }

  /** Many of them at once. */
  crowd(): void {
    if (this.random.chance(0.2)) { for (let i = 0; i < 30; i++) this.outsider(); }
  }

  /** A node that lies asks to join, and is approved. */
  traitor(): void {
    if (this.world.nodes.some(({ isHonest }) => !isHonest)) return;
    const node = this.#join("t1", Traitor);
    if (node === undefined) return;
    this.world.timeline.after(1_000, () => {
      if (!this.isOver) this.owners.approve(this.#asked(), node.key, node.name);
    });
  }

  /** The owner's key is stolen, used, and replaced. */
  theft(): void {
    const { owners, world, random } = this;
    if (owners.stolen === undefined) {
      if (random.chance(0.3)) owners.steal();
      return;
    }
    if (random.chance(0.3)) return void owners.recover(world.nodes[0]!);
    const { key: thief } = owners.stolen;
    const node = this.anyone();
    const victim = world.nodes.at(-1)!;
    const said = random.pick<ControlEvent | undefined>([
      owners.manifest(node, thief),
      { kind: "approve", key: player("evil").key, name: "evil" },
      { kind: "revoke", key: victim.key, last: null },
      this.#scaling(),
    ]);
    if (said !== undefined) owners.act(node, said, thief);
  }

  #join(
    name: string,
    Kind: new (world: World, who: ReturnType<typeof player>, name: string) => SimulatedNode,
  ): SimulatedNode | undefined {
    const { world } = this;
    if (world.nodes.length >= NODES_MAX) return undefined;
    const node = new Kind(world, player(`node ${name}`), name);
    for (const known of world.nodes.slice(0, 2)) node.named.add(known.key);
    world.add(node);
    node.start();
    this.#keepDialling(node);
    return node;
  }

  /** The node that the owner mostly asks. */
  #asked(): SimulatedNode {
    return this.random.chance(0.7) ? this.world.nodes[0]! : this.anyone();
  }

  protected machines(): readonly SimulatedNode[] {
    return this.world.nodes;
  }

  /** A node dials whom it knows of, again and again. */
  #keepDialling(node: SimulatedNode): void {
    const { world, random } = this;
    world.timeline.after(random.between(200, 1_200), () => {
      this.#keepDialling(node);
      const known = new Set([...node.named, ...node.run?.log.view?.nodes.keys() ?? []]);
      const missing = [...known].filter((key) =>
        key !== node.key && !world.network.isLinked(node.key, key)
      );
      if (node.run !== undefined && missing.length > 0) {
        world.network.dial(node.key, random.pick(missing));
      }
    });
  }
}
