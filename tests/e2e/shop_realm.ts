/**
 * A realm of a few machines that run one shop, each an agent of its own on loopback: what tests of
 * rollouts under load do with it and ask of it.
 *
 * @module
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import type { Status } from "../../agent/control/api.ts";
import { connectControl, type ControlClient } from "../../agent/control/client.ts";
import { get, succeeded, until } from "./agent_process.ts";
import type { Result, Running, Sandbox } from "./executable.ts";

/** A machine: the agent on it, and who asks that. */
export interface Machine {
  readonly name: string;
  readonly control: ControlClient;
  /** URL of its proxy. */
  readonly proxy: string;
  readonly running: Running;
}

/**
 * A label of the shop: `release` is in its environment, `code` what its health check gets, and
 * `memoryMb` what it may take.
 */
export interface Label {
  readonly release: string;
  readonly code?: number;
  readonly memoryMb?: number;
  readonly weight?: number;
}

/** How far a component is, as one machine says. */
export type Rollout = NonNullable<Status["components"][number]["rollout"]>;

/** Replicas of each label, over all machines. */
export const REPLICAS = 3;
/** Machines of continuous integration are slow, and do much else. */
const PATIENCE = { everyMs: 200, atMostMs: 120_000 };

/** See the module. */
export class ShopRealm {
  readonly machines: Machine[] = [];

  private constructor(
    readonly sandbox: Sandbox,
    readonly owner: string,
    readonly names: readonly string[],
  ) {}

  /** Gives the test a realm in which every replica of the first release is ready. */
  static async with(
    sandbox: Sandbox,
    names: readonly string[],
    test: (realm: ShopRealm) => Promise<void>,
  ): Promise<void> {
    await sandbox.fixtures("http-counter");
    const data = path.join(sandbox.folder, names[0]!);
    const init = await sandbox.realm("init", "--data", data, "--name", "shop", "--json");
    const realm = new ShopRealm(sandbox, succeeded(init).owner, names);
    try {
      await realm.#join();
      await test(realm);
    } finally {
      for (const { control } of realm.machines) control.close();
    }
  }

  async #join(): Promise<void> {
    const first = await this.#start(this.names[0]!, "--owner", this.owner);
    await this.apply({ blue: { release: "one" } });
    const { ticket } = succeeded(await this.realm("invite"));
    const others = this.names.slice(1);
    for (const name of others) await this.#start(name, "--ticket", ticket);
    await until(`${others} ask to join`, async () => {
      const waiting = (await first.control.nodes()).filter(({ state }) => state === "pending");
      return waiting.length === others.length;
    }, PATIENCE);
    succeeded(await this.realm("nodes", "approve", ...others));
    await this.untilSpread();
    await this.untilAll("the first release is complete", isComplete);
  }

  async #start(name: string, ...args: string[]): Promise<Machine> {
    const data = path.join(this.sandbox.folder, name);
    await this.sandbox.shareCache(data);
    const at = ["--http", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0"];
    const words = ["agent", "--json", "--data", data, "--name", name, ...at, ...args];
    const running = this.sandbox.start(...words);
    const line = await running.line();
    if (line === null) assert.fail(`${name} did not start: ${(await running.ended).stderr}`);
    const control = connectControl(path.join(data, "control.sock"), { timeoutMs: 60_000 });
    const machine = { name, control, proxy: JSON.parse(line).proxy, running };
    this.machines.push(machine);
    return machine;
  }

  /** A command of the owner, on the first machine. */
  realm(...words: string[]): Promise<Result> {
    const data = path.join(this.sandbox.folder, this.names[0]!);
    return this.sandbox.realm(...words, "--json", "--data", data);
  }

  /** Applies a manifest with these labels; its version. */
  async apply(labels: Readonly<Record<string, Label>>, ...more: string[]): Promise<number> {
    return succeeded(await this.tryApply(labels, ...more)).version;
  }

  /** Applies a manifest with these labels, and says what the command said. */
  async tryApply(labels: Readonly<Record<string, Label>>, ...more: string[]): Promise<Result> {
    const components = Object.entries(labels).map(([label, { release, code = 200, memoryMb }]) =>
      `[components."shop@${label}"]\nsource = "file:./http-counter.wasm"\n` +
      (memoryMb === undefined ? "" : `memory_max_mb = ${memoryMb}\n`) +
      `world = "wasi:http/proxy"\nenv = { RELEASE = "${release}" }\n` +
      `health = { http = "/status?code=${code}", interval_ms = 200, timeout_ms = 5_000, ` +
      `grace_ms = 1_000 }\n`
    );
    const routes = Object.entries(labels).map(([label, { weight = 100 }]) =>
      `{ path = "/...", component = "shop@${label}", replicas = ${REPLICAS}, max_surge = 1, ` +
      `max_unavailable = 0, weight = ${weight} }`
    );
    await Deno.writeTextFile(
      path.join(this.sandbox.folder, "realm.toml"),
      `[owner]\npubkey = "${this.owner}"\n[realm]\nname = "shop"\n` +
        this.names.map((name) => `[nodes.${name}]\ntags = ["t"]\n`).join("") +
        `${components.join("")}[routing]\n"tag:t" = [${routes.join(", ")}]\n`,
    );
    return await this.realm("apply", "realm.toml", "--yes", ...more);
  }

  /** Kills the agent of a machine, and waits until those that are left run all of it. */
  async kill(machine: Machine): Promise<void> {
    const { name, control, running } = machine;
    running.kill("SIGKILL");
    await running.ended;
    control.close();
    this.machines.splice(this.machines.indexOf(machine), 1);
    await until(`nothing is placed on ${name}`, async () => {
      const all = await Promise.all(this.machines.map(({ control }) => control.status()));
      return all.every(({ components }) =>
        components.every(({ placed }) => !placed.some(({ node }) => node === name))
      );
    }, PATIENCE);
    await this.untilAll(
      "those that are left run all of it",
      ({ settled, wanted }) => wanted === REPLICAS && settled === REPLICAS,
    );
  }

  /** Waits until as many machines as there are replicas are given one; their names. */
  untilSpread(): Promise<string[]> {
    return until("each replica is placed on a machine of its own", async () => {
      const { components } = await this.machines[0]!.control.status();
      const placed = components[0]!.placed.filter(({ replicas }) => replicas > 0);
      return placed.length === REPLICAS && placed.map(({ node }) => node);
    }, PATIENCE);
  }

  /** Waits until every machine says so of every rollout; a failure says what they said last. */
  async untilAll(what: string, holds: (rollout: Rollout) => boolean): Promise<void> {
    const said = new Map<string, unknown>();
    try {
      await until(what, async () => {
        for (const { name, control } of this.machines) {
          const { components, replicas } = await control.status();
          const rollouts = components.map(({ rollout }) => rollout);
          said.set(name, { rollouts, replicas: replicas.map(({ state }) => state) });
          if (!rollouts.every((rollout) => rollout !== null && holds(rollout))) return false;
        }
        return true;
      }, PATIENCE);
    } catch (error) {
      assert.fail(`${(error as Error).message}: ${JSON.stringify([...said], null, 1)}`);
    }
  }

  /** Waits until every machine has this version complete. */
  untilComplete(version: number): Promise<void> {
    return this.untilAll(
      `version ${version} is complete`,
      (rollout) => rollout.version === version && isComplete(rollout),
    );
  }

  /** Waits until every machine is back at the release before this version. */
  untilReturned(version: number): Promise<void> {
    return this.untilAll(
      `version ${version} went back`,
      ({ state, failure, settled }) =>
        state === "returned" && failure?.version === version && settled === REPLICAS,
    );
  }

  /** Waits until a machine runs nothing. */
  async untilIdle({ name, control }: Machine): Promise<void> {
    await until(
      `${name} runs nothing`,
      async () => (await control.status()).replicas.length === 0,
      PATIENCE,
    );
  }

  /** Releases that answer, by way of every machine. */
  async releases(): Promise<Set<string>> {
    const seen = new Set<string>();
    for (const { proxy } of this.machines) {
      for (let i = 0; i < 8; i++) {
        seen.add(/RELEASE=(\w+)/.exec(await get(`${proxy}/env`))?.[1] ?? "none");
      }
    }
    return seen;
  }
}

/** Whether all replicas are of what is wanted, and healthy for long enough. */
export function isComplete({ state, settled }: Rollout): boolean {
  return state === "complete" && settled === REPLICAS;
}
