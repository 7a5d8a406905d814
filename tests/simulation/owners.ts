/**
 * The people of a simulated realm: its owner with one laptop or two, who acts on what the node he
 * asks happens to know, and the thief of his key.
 *
 * @module
 */
import type { SignedEvent } from "../../agent/kernel/event.ts";
import type { ControlEvent } from "../../agent/realm/control_event.ts";
import type { Offered } from "../../agent/realm/realm_log.ts";
import { type Player, player } from "./cast.ts";
import type { SimulatedNode } from "./node.ts";
import type { SeededRandom } from "../../agent/kernel/seeded_random.ts";
import type { World } from "./world.ts";

/** See the module. */
export class Owners {
  readonly random: SeededRandom;
  /** sha256 of the last manifest that the owner made. */
  lastSha256 = "";
  /** The owner's last event before his key was stolen; `undefined` while he has it alone. */
  stolen: { readonly key: Player; readonly last: SignedEvent } | undefined;
  #last: SignedEvent | undefined;
  #successions = 0;
  /** Names of nodes that a manifest lists. */
  readonly names: string[];

  constructor(readonly world: World, names: readonly string[]) {
    this.random = world.random.fork("owners");
    this.names = [...names];
  }

  /** Signs on what a node knows, and hands it to that node. */
  act(node: SimulatedNode, said: ControlEvent, author = this.world.owner): Offered | undefined {
    const signed = this.sign(node, said, author);
    return signed && this.hand(node, signed);
  }

  /** Signs on what a node knows. */
  sign(node: SimulatedNode, said: ControlEvent, author = this.world.owner) {
    const log = node.run?.log;
    if (log?.view === undefined) return undefined;
    return this.world.sign(author, log, said);
  }

  hand(node: SimulatedNode, signed: SignedEvent): Offered | undefined {
    const offered = node.post([signed]);
    const isTaken = offered?.accepted.some(({ id }) => id.equals(signed.id)) === true;
    if (isTaken && this.stolen === undefined) this.#last = signed;
    return offered;
  }

  approve(node: SimulatedNode, key: string, name: string): void {
    if (!this.names.includes(name)) this.names.push(name);
    this.act(node, { kind: "approve", key, name });
  }

  revoke(node: SimulatedNode, key: string): void {
    const last = node.run?.log.topic?.newestOf(this.world.publicKeyOf(key))?.id ?? null;
    this.act(node, { kind: "revoke", key, last });
  }

  /** `realm apply` through a node. */
  apply(node: SimulatedNode, author = this.world.owner): Offered | undefined {
    const manifest = this.manifest(node, author);
    return manifest && this.act(node, manifest, author);
  }

  /** A manifest after those that a node knows. */
  manifest(node: SimulatedNode, author = this.world.owner) {
    const log = node.run?.log;
    if (log?.view === undefined) return undefined;
    const { random } = this;
    const digests = new Map(
      ["web", "job", "edge"].map((name) => [name, random.pick(["a", "b", "c"]).repeat(64)]),
    );
    const nodes = this.names.map((name) => `[nodes.${name}]\ntags = ["all"]`).join("\n");
    const version = log.versionMax + 1;
    const text = `# ${version} ${random.uint32()}
[owner]
pubkey = "${author.key}"
[realm]
partition = "${random.chance(0.15) ? "continue" : "majority"}"
operators = ["${player("operator").key}"]
${nodes}
[components.web]
source = "file:web.wasm"
world = "wasi:http/proxy"
[components.job]
source = "file:job.wasm"
world = "wasi:cli/command"
placement = { tags = ["all"], replicas = ${random.between(1, 4)} }
[components.edge]
source = "file:edge.wasm"
world = "wasi:http/proxy"
[routing]
"tag:all" = [{ path = "/...", component = "web", replicas = ${random.between(1, 6)} }]
${random.pick(this.names)} = [{ path = "/edge/...", component = "edge", replicas = 2 }]
`;
    const manifest = this.world.manifest(
      text,
      version,
      { digests, published: log.published() },
      author,
    );
    if (author === this.world.owner) this.lastSha256 = manifest.signature.sha256;
    return manifest;
  }

  /** Somebody else has the owner's key from now on. */
  steal(): void {
    if (this.stolen !== undefined || this.#last === undefined) return;
    this.world.note("thief", "has the owner's key");
    this.stolen = { key: this.world.owner, last: this.#last };
  }

  /** The recovery key names another owner; what the thief did is void. False when it has to wait. */
  recover(node: SimulatedNode): boolean {
    if (this.stolen === undefined) return true;
    const { last } = this.stolen;
    if (node.run?.log.topic?.has(last.id) !== true) return false;
    const next = player(`owner ${this.#successions + 1}`);
    // The node may have died after it wrote the last attempt down.
    if (node.run.log.view?.owner === next.key) return this.#recovered(next);
    const said: ControlEvent = { kind: "succession", owner: next.key, last: last.id };
    const offered = this.act(node, said, this.world.recovery);
    if (offered === undefined || offered.accepted.length === 0) return false;
    return this.#recovered(next);
  }

  #recovered(owner: Player): true {
    this.world.note("owner", "recovers with another key");
    this.#successions += 1;
    this.world.owner = owner;
    this.stolen = undefined;
    return true;
  }
}
