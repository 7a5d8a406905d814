/**
 * Eight machines, each a process of the executable in a network namespace of its own: what the realm
 * across machines has to do, and how long it takes. Times are printed, not judged: see
 * docs/benchmarks.md.
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import type { Status } from "../../agent/control/api.ts";
import { connectControl, type ControlClient } from "../../agent/control/client.ts";
import { sleep, succeeded, until } from "./agent_process.ts";
import { EXECUTABLE, ROOT, type Running, type Sandbox, start, withSandbox } from "./executable.ts";
import { canSwitch, type Port, type SwitchedLan, withLan } from "./switched_lan.ts";

const NAMES = ["a", "b", "c", "d", "e", "f", "g", "h"];
const NEWCOMER = "i";
const APPLIES = 10;
/** How much longer than it takes to be noticed the machines stay cut off. */
const CUT_MS = Number(Deno.env.get("CUT_SECONDS") ?? 0) * 1000;
const PEERS_PORT = 4001;
const PROXY = "http://127.0.0.1:8080";
/** Machines of continuous integration are slow, and do much else. */
const PATIENCE = { everyMs: 50, atMostMs: 90_000 };

/** A machine: its place in the network, a data folder, and the agent on it while it runs. */
interface Machine {
  readonly name: string;
  readonly port: Port;
  readonly data: string;
  readonly control: ControlClient;
  readonly address: string;
  running: Running;
}

/** What all steps share. */
class Realm {
  readonly machines: Machine[] = [];
  readonly #started: Running[] = [];
  #ports = 0;
  #applied = 0;
  #bytes = "http-hello";

  constructor(readonly sandbox: Sandbox, readonly lan: SwitchedLan) {}

  get first(): Machine {
    return this.machines[0]!;
  }

  named(...names: string[]): Machine[] {
    return this.machines.filter(({ name }) => names.includes(name));
  }

  /** A command on the first machine, or on this one. */
  async realm(words: string[], at: { readonly data: string } = this.first) {
    return await this.sandbox.realm(...words, "--data", at.data);
  }

  /** Starts an agent, the next in the network unless it was there before. */
  async start(name: string, ...args: string[]): Promise<Machine> {
    const there = this.machines.find((machine) => machine.name === name);
    const data = path.join(this.sandbox.folder, name);
    if (there === undefined) await this.sandbox.shareCache(data);
    const port = there?.port ?? this.lan.ports[this.#ports++]!;
    // deno-fmt-ignore
    const words = ["agent", "--json", "--data", data, "--name", name, "--http", "127.0.0.1:8080",
      "--listen", `/ip4/${port.address}/tcp/${PEERS_PORT}`, ...args];
    const control = there?.control ??
      connectControl(path.join(data, "control.sock"), { timeoutMs: 60_000 });
    const machine: Machine = there ?? { name, port, data, control, address: "", running: null! };
    if (there === undefined) this.machines.push(machine);
    machine.running = this.at(port, EXECUTABLE, words);
    const line = await machine.running.line();
    if (line === null) {
      assert.fail(`${name} did not start: ${(await machine.running.ended).stderr}`);
    }
    return Object.assign(machine, { address: JSON.parse(line).addresses[0] });
  }

  /** Starts a program on a machine. */
  at(port: Port, program: string, words: string[], more: Record<string, string> = {}): Running {
    const [ip, ...rest] = port.prefix;
    const home = path.join(this.sandbox.folder, "home");
    const env = { HOME: home, TMPDIR: this.sandbox.folder, ...more };
    const running = start(ip!, [...rest, program, ...words], { cwd: this.sandbox.folder, env });
    this.#started.push(running);
    return running;
  }

  /** Starts a script of these tests on a machine. */
  deno(port: Port, script: string, ...words: string[]): Running {
    // There is no network there to fetch packages from: those of the test are used.
    const kept = ["HOME", "DENO_DIR"].flatMap((name) => {
      const value = Deno.env.get(name);
      return value === undefined ? [] : [[name, value]];
    });
    // deno-fmt-ignore
    const options = ["--allow-all", "--no-check", "--quiet", "--cached-only",
      `--config=${ROOT}/deno.json`];
    return this.at(port, Deno.execPath(), [
      "run",
      ...options,
      path.join(ROOT, "tests", "e2e", script),
      ...words,
    ], Object.fromEntries(kept));
  }

  async kill(machine: Machine): Promise<void> {
    machine.running.kill("SIGKILL");
    await machine.running.ended;
  }

  /** Writes another manifest: each machine runs its own hello, and `spread` is divided over all. */
  async write(bytes = this.#bytes): Promise<void> {
    this.#bytes = bytes;
    const { owner } = succeeded(await this.realm(["key", "show", "--json"]));
    const names = [...NAMES, NEWCOMER];
    const mark = `{ MARK = "${++this.#applied}" }`;
    await Deno.writeTextFile(
      path.join(this.sandbox.folder, "realm.toml"),
      `[owner]\npubkey = "${owner}"\n[realm]\nname = "eight"\n` +
        names.map((name) => `[nodes.${name}]\ntags = ["all"]\n`).join("") +
        component("hello", this.#bytes, mark) + component("spread", "http-hello", mark) +
        component("far", "http-counter", "{}") + "[routing]\n" +
        names.filter((name) => name !== "a").map((name) =>
          `${name} = [{ path = "/hello", component = "hello" }]\n`
        ).join("") +
        'a = [{ path = "/hello", component = "hello" }, { path = "/far", component = "far" }]\n' +
        `"tag:all" = [{ path = "/spread", component = "spread", replicas = ${NAMES.length} }]\n`,
    );
  }

  /** Starts to apply what was written. */
  apply() {
    return this.realm(["apply", "realm.toml", "--yes", "--json"]);
  }

  /** What ended by itself, with the end of what it said: where a step fails, that says more. */
  async ended(): Promise<string> {
    await new Promise((resolve) => setTimeout(resolve, 1_000)); // for what is just ending
    const told = this.#started.map(async ({ ended, pid }) => {
      const over = await Promise.race([ended, Promise.resolve(undefined)]);
      if (over === undefined || over.status === 128 + 9) return [];
      return [`process ${pid} ended with ${over.status}: ${over.stderr.slice(-2_000)}`];
    });
    return (await Promise.all(told)).flat().join("\n");
  }

  async close(): Promise<void> {
    for (const { control } of this.machines) control.close();
    for (const running of this.#started) {
      try {
        running.kill("SIGKILL");
      } catch { /* it ended */ }
    }
    const all = await Promise.all(this.#started.map(({ ended }) => ended));
    const lines = all.flatMap(({ stderr }) => stderr.split("\n"));
    for (const line of lines) if (line.includes("internal error")) console.log(line);
  }
}

/** Asks a machine for hello until it is stopped. */
function asker(realm: Realm, port: Port) {
  const running = realm.deno(port, "asker.ts", `${PROXY}/hello`, "hello");
  return {
    async stop(): Promise<{ readonly asked: number; readonly lost: readonly string[] }> {
      running.kill("SIGTERM");
      return JSON.parse((await running.ended).stdout);
    },
  };
}

function component(name: string, file: string, env: string): string {
  return `[components.${name}]\nsource = "file:./${file}.wasm"\nworld = "wasi:http/proxy"\n` +
    `env = ${env}\n` +
    (file === "http-counter" ? '[[components.far.mounts]]\nvolume = "far"\nguest = "/data"\n' : "");
}

/** Status of each; of none when one does not answer. */
async function statuses(machines: readonly Machine[]): Promise<Status[] | undefined> {
  const all = await Promise.allSettled(machines.map(({ control }) => control.status()));
  if (all.some(({ status }) => status === "rejected")) return undefined;
  return all.map((each) => (each as PromiseFulfilledResult<Status>).value);
}

/** What has to be the same everywhere: log, manifest, and what the log comes to. */
function stateOf({ topic, manifest, nodes: [self] }: Status): string {
  return JSON.stringify([topic, manifest?.version, manifest?.sha256, self!.heads, self!.view]);
}

function areEqual(all: readonly Status[]): boolean {
  return all.every((each) => stateOf(each) === stateOf(all[0]!));
}

/** Whether it sees all of these live and like itself, and runs all that it wants in this version. */
function isWhole({ manifest, nodes, components, replicas, majority }: Status, count: number) {
  const approved = nodes.filter(({ state }) => state === "approved");
  const well = approved.filter(({ live, drift, version }) =>
    live && !drift && version === manifest?.version
  );
  const running = replicas.filter(({ state, startedAtMs }) =>
    state === "running" && startedAtMs !== null
  );
  return majority && well.length === count &&
    replicas.length === running.length &&
    components.reduce((sum, { replicas }) => sum + replicas, 0) === running.length;
}

/** Waits until all are equal; what they say, and milliseconds since `beganMs`. */
async function untilEqual(machines: readonly Machine[], beganMs: number, version = 0) {
  return await until(`${machines.map(({ name }) => name)} are equal`, async () => {
    const all = await statuses(machines);
    if (all === undefined || !areEqual(all) || (all[0]!.manifest?.version ?? 0) < version) return;
    return { all, ms: performance.now() - beganMs };
  }, PATIENCE);
}

/** Waits until all of them are equal, see one another, and run what they want. */
async function untilWhole(machines: readonly Machine[], beganMs = 0): Promise<number> {
  return await until(`${machines.map(({ name }) => name)} are whole`, async () => {
    const all = await statuses(machines);
    return all !== undefined && areEqual(all) &&
      all.every((each) => isWhole(each, machines.length)) && performance.now() - beganMs;
  }, PATIENCE);
}

/** `report("apply", …)` prints one line of figures. */
function report(what: string, figures: Record<string, number>): void {
  const text = Object.entries(figures).map(([name, ms]) => `${name} ${Math.round(ms)} ms`);
  console.log(`eight: ${what}: ${text.join(", ")}`);
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

Deno.test({
  name: "eight machines agree, whatever is cut, killed, added and revoked",
  ignore: !await canSwitch(),
  async fn(t) {
    await withSandbox((sandbox) =>
      withLan(NAMES.length + 1, async (lan) => {
        const realm = new Realm(sandbox, lan);
        try {
          await steps(t, realm);
        } finally {
          await realm.close();
        }
      })
    );
  },
});

async function steps(t: Deno.TestContext, realm: Realm): Promise<void> {
  const { sandbox, lan } = realm;
  const step = async (name: string, run: () => Promise<void>) => {
    if (await t.step(name, run)) return;
    throw new Error(`Each step follows on those before it: ${name}\n${await realm.ended()}`);
  };
  const approve = async (...names: string[]) =>
    succeeded(await realm.realm(["nodes", "approve", ...names, "--json"]));
  const arePending = (names: readonly string[]) =>
    until(`${names} ask to join`, async () => {
      const waiting = (await realm.first.control.nodes()).filter(({ state }) =>
        state === "pending"
      );
      return names.every((name) => waiting.some((node) => node.name === name));
    }, PATIENCE);
  const ticket = async () => succeeded(await realm.realm(["invite", "--json"])).ticket as string;

  await step("seven join the first at once", async () => {
    await sandbox.fixtures("http-hello", "http-counter");
    const hello = await Deno.readFile(path.join(sandbox.folder, "http-hello.wasm"));
    const other = new Uint8Array([...hello, 0, 5, 4, ...new TextEncoder().encode("mark")]);
    await Deno.writeFile(path.join(sandbox.folder, "http-hello-other.wasm"), other);
    const a = { data: path.join(sandbox.folder, "a") };
    const made = await realm.realm(["init", "--name", "eight", "--json"], a);
    await realm.start("a", "--owner", succeeded(made).owner);
    await realm.write();
    succeeded(await realm.apply());
    const invited = await ticket();
    const beganMs = performance.now();
    await Promise.all(NAMES.slice(1).map((name) => realm.start(name, "--ticket", invited)));
    await arePending(NAMES.slice(1));
    const pendingMs = performance.now() - beganMs;
    await approve(...NAMES.slice(1));
    report("seven join", { pending: pendingMs, whole: await untilWhole(realm.machines, beganMs) });
  });

  await step("apply on one reaches all", async () => {
    const [reached, running]: number[][] = [[], []];
    for (let n = 0; n < APPLIES; n++) {
      await realm.write();
      const beganAtMs = Date.now();
      const { version } = succeeded(await realm.apply());
      await untilEqual(realm.machines, 0, version);
      await untilWhole(realm.machines);
      // What ran before goes on until what follows it is ready.
      const { all, starts } = await until("every replica is of the new version", async () => {
        const all = await statuses(realm.machines);
        const starts = all?.flatMap(({ replicas }) =>
          replicas.filter(({ component }) => component !== "far").map((r) => r.startedAtMs!)
        );
        const isNew = starts?.length === 2 * NAMES.length && Math.min(...starts) >= beganAtMs;
        return isNew && { all: all!, starts };
      }, PATIENCE);
      reached!.push(Math.max(...all.map(({ manifest }) => manifest!.appliedAtMs)) - beganAtMs);
      running!.push(Math.max(...starts) - beganAtMs);
    }
    for (const [what, values] of [["in force", reached!], ["running", running!]] as const) {
      report(`${APPLIES} applies, ${what} on all`, {
        median: median(values),
        worst: Math.max(...values),
      });
    }
  });

  await step("partition 5/3 during an apply, heal, all equal", async () => {
    const [most, few] = [realm.machines.slice(0, 5), realm.machines.slice(5)];
    const askers = few.map(({ port }) => asker(realm, port));
    await realm.write();
    const applying = realm.apply();
    await lan.pull(few.map(({ port }) => port));
    const cutMs = performance.now();
    const { version } = succeeded(await applying);
    await until("each side knows what it is", async () => {
      const [many, rest] = [await statuses(most), await statuses(few)];
      return many?.every(({ majority, nodes }) =>
        majority && nodes.filter(({ live }) => !live).length === few.length
      ) && rest?.every(({ majority, nodes }) =>
        !majority && nodes.filter(({ live }) =>
            !live
          ).length === most.length
      );
    }, PATIENCE);
    report("partition", { noticed: performance.now() - cutMs });
    const before = await until("the three run what they began to", async () => {
      const all = await statuses(few);
      return all?.every(({ replicas }) => replicas.every(({ state }) => state === "running")) &&
        all;
    }, PATIENCE);
    await sleep(CUT_MS);
    await realm.write("http-hello-other");
    const next = succeeded(await realm.apply()).version;
    assert.equal(next, version + 1);
    // The five run the share of the three, too.
    await until("the five took over", async () => {
      const all = await statuses(most);
      return all?.every(({ manifest }) => manifest?.version === next) &&
        all.flatMap(({ replicas }) =>
            replicas.filter(({ component, state }) => component === "spread" && state === "running")
          ).length === NAMES.length;
    }, PATIENCE);
    await until(
      "each of the five shows who is silent, and who has the new version",
      async () =>
        (await statuses(most))?.every(({ nodes }) =>
          nodes.every(({ name, live, silentSinceMs, version }) => {
            const isFew = few.some((machine) => machine.name === name);
            return [live, silentSinceMs === null, version === next].every((is) => is === !isFew);
          })
        ),
      PATIENCE,
    );
    // What the three ran before they knew, they run still, and nothing else.
    const runs = (all: readonly Status[]) =>
      all.map(({ manifest, replicas }) => [
        manifest!.version,
        replicas.map(({ component, index, startedAtMs }) => [component, index, startedAtMs]),
      ]);
    assert.deepEqual(runs((await statuses(few))!), runs(before));
    const healMs = performance.now();
    await lan.join();
    const { ms } = await untilEqual(realm.machines, healMs, next);
    report("heal", { equal: ms, whole: await untilWhole(realm.machines, healMs) });
    for (const each of askers) {
      const { asked, lost } = await each.stop();
      assert.ok(asked > 10, `asked ${asked} times`);
      assert.deepEqual(lost, []);
    }
  });

  await step("kill -9 of any during an apply, restart, equal", async () => {
    for (const [index, machine] of realm.named("h", "c", "a").entries()) {
      await realm.write();
      const applying = realm.apply();
      await sleep(60 + 90 * index);
      await realm.kill(machine);
      const { status, stderr } = await applying;
      // Where it was asked of the very machine it may have failed, and may be in the log.
      if (machine !== realm.first) assert.equal(status, 0, stderr);
      const beganMs = performance.now();
      await realm.start(machine.name);
      const startedMs = performance.now() - beganMs;
      const whole = await untilWhole(realm.machines, beganMs);
      report(`kill -9 of ${machine.name}, restart`, { started: startedMs, whole });
    }
    await realm.write();
    const { version } = succeeded(await realm.apply());
    await untilEqual(realm.machines, 0, version);
  });

  await step("status of any shows all", async () => {
    const view = (all: readonly Status[]) =>
      all.map(({ nodes }) =>
        nodes.map((
          { name, state, live, drift, version, heads, view, health, latencyMs },
        ) => [name, state, live, drift, version, heads, view, health !== null, latencyMs === null])
          .map((each) => each.slice(0, -1).join()).sort()
      );
    await untilWhole(realm.machines);
    const seen = view((await statuses(realm.machines))!);
    assert.equal(seen[0]!.length, NAMES.length);
    for (const each of seen) assert.deepEqual(each, seen[0]);
    const text = await sandbox.realm("status", "--data", realm.machines[5]!.data);
    for (const name of NAMES) assert.match(text.stdout, new RegExp(`^${name} .*live`, "m"));
  });

  await step("who is revoked gets nothing, by nobody", async () => {
    const others = realm.machines.filter(({ name }) => name !== "h");
    const [h] = realm.named("h") as [Machine];
    realm.machines.splice(realm.machines.indexOf(h), 1);
    const before = (await h.control.status()).manifest!.version;
    const beganMs = performance.now();
    succeeded(await realm.realm(["nodes", "revoke", "h", "--json"]));
    const key = (await h.control.status()).node.key;
    await until("nobody is connected with h", async () => {
      const seen = await Promise.all(
        [...others, h].map(async (machine) =>
          (await machine.control.peers()).filter((peer) =>
            peer.connected && (machine === h || peer.key === key)
          )
        ),
      );
      return seen.flat().length === 0;
    }, PATIENCE);
    report("revoke", { "cut everywhere": performance.now() - beganMs });
    await realm.write("http-hello");
    const { version } = succeeded(await realm.apply());
    await untilEqual(others, 0, version);
    // It was not even told that it was revoked: to itself it is cut off from all others.
    const { manifest, majority } = await until("h hears nobody", async () => {
      const status = await h.control.status();
      return status.nodes.every(({ self, live }) => self || !live) && status;
    }, PATIENCE);
    assert.equal(manifest?.version ?? before, before);
    assert.equal(majority, false);
    await realm.kill(h);
    h.control.close();
    // The agent knew that it was revoked. This one has its key, and does not care.
    const { stdout } = await realm.deno(
      h.port,
      "revoked_peer.ts",
      path.join(h.data, "node.key"),
      ...others.map(({ address }) => address),
    ).ended;
    const got = JSON.parse(stdout);
    assert.equal(got.tries, others.length * 2, stdout);
    assert.equal(got.answering, others.length * 2, stdout);
    assert.deepEqual([got.connected, got.opened], [[], []]);
  });

  await step("a newcomer with an empty disk is complete, and runs its share", async () => {
    const invited = await ticket();
    const beganMs = performance.now();
    const newcomer = await realm.start(NEWCOMER, "--ticket", invited);
    const startedMs = performance.now() - beganMs;
    await arePending([NEWCOMER]);
    const approvedMs = performance.now();
    await approve(NEWCOMER);
    const whole = await untilWhole(realm.machines, approvedMs);
    report("newcomer", {
      started: startedMs,
      "whole after approval": whole,
      "whole after start": performance.now() - beganMs,
    });
    const { replicas } = await newcomer.control.status();
    assert.deepEqual([...new Set(replicas.map((each) => each.component))], ["hello", "spread"]);
    const versions = async (of: Machine) =>
      (await of.control.history()).map(({ version, sha256, event }) => [version, sha256, event]);
    assert.deepEqual(await versions(newcomer), await versions(realm.first));
  });
}
