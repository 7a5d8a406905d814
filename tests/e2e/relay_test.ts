/**
 * Two machines that cannot reach each other and one that both reach: they meet by way of it, ask one
 * another's replicas, and go on directly once there is a way.
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import { connectControl, type ControlClient } from "../../agent/control/client.ts";
import { succeeded, until } from "./agent_process.ts";
import { EXECUTABLE, run, type Running, start, withSandbox } from "./executable.ts";
import { canSwitch, type Port, withLan } from "./switched_lan.ts";

const PATIENCE = { everyMs: 50, atMostMs: 90_000 };
const PEERS_PORT = 4001;

interface Machine {
  readonly name: string;
  readonly port: Port;
  readonly control: ControlClient;
  readonly running: Running;
}

Deno.test({
  name: "machines that cannot reach each other meet by way of one that both reach",
  ignore: !await canSwitch(),
  fn: () =>
    withSandbox((sandbox) =>
      withLan(3, async (lan) => {
        const { folder } = sandbox;
        await sandbox.fixtures("http-hello");
        const machines: Machine[] = [];
        const begin = async (name: string, ...args: string[]): Promise<Machine> => {
          const port = lan.ports[machines.length]!;
          const data = path.join(folder, name);
          await sandbox.shareCache(data);
          // deno-fmt-ignore
          const words = [EXECUTABLE, "agent", "--json", "--data", data, "--name", name,
            "--http", "127.0.0.1:8080", "--no-mdns", ...args];
          const [program, ...rest] = [...port.prefix, ...words];
          const env = { HOME: path.join(folder, "home"), TMPDIR: folder };
          const running = start(program!, rest, { cwd: folder, env });
          const control = connectControl(path.join(data, "control.sock"), { timeoutMs: 60_000 });
          const machine = { name, port, control, running };
          machines.push(machine);
          const line = await running.line();
          if (line === null) assert.fail(`${name} did not start: ${(await running.ended).stderr}`);
          return machine;
        };
        const realm = (...words: string[]) =>
          sandbox.realm(...words, "--data", path.join(folder, "hub"));
        const listen = (port: Port) => ["--listen", `/ip4/${port.address}/tcp/${PEERS_PORT}`];
        try {
          const [hub, left, right] = lan.ports as [Port, Port, Port];
          await lan.isolate([left, right]);
          const { owner } = succeeded(
            await realm("init", "--name", "apart", "--json"),
          );
          const a = await begin("hub", "--owner", owner, ...listen(hub));
          await Deno.writeTextFile(
            path.join(folder, "realm.toml"),
            `[owner]\npubkey = "${owner}"\n[nodes.hub]\n[nodes.left]\n[nodes.right]\n` +
              `[components.hello]\nsource = "file:./http-hello.wasm"\nworld = "wasi:http/proxy"\n` +
              `[routing]\nright = [{ path = "/", component = "hello" }]\n`,
          );
          succeeded(await realm("apply", "realm.toml", "--yes", "--json"));
          const { ticket } = succeeded(await realm("invite", "--json"));
          const byRelay = ["--ticket", ticket, "--listen", "/p2p-circuit"];
          const b = await begin("left", ...byRelay, ...listen(left));
          const c = await begin("right", ...byRelay, ...listen(right));
          await until("both ask to join", async () => {
            const nodes = await a.control.nodes();
            return nodes.filter(({ state }) => state === "pending").length === 2;
          }, PATIENCE);
          succeeded(await realm("nodes", "approve", "left", "right", "--json"));

          const link = async (from: Machine, to: string) =>
            (await from.control.peers()).find((peer) => peer.name === to);
          await until("left and right are connected by way of the hub", async () => {
            const there = await link(b, "right");
            return there?.connected && there.relayed;
          }, PATIENCE);
          const ask = async (from: Machine) => {
            const [program, ...rest] = [...from.port.prefix, "curl", "-sS", "--max-time", "20"];
            return (await run(program!, [...rest, "http://127.0.0.1:8080/"])).stdout.trim();
          };
          await until(
            "left answers with the replica of right",
            async () => await ask(b) === "hello",
            PATIENCE,
          );

          await lan.isolate([left, right], false);
          await until("they are connected directly", async () => {
            const there = await link(b, "right");
            return there?.connected && !there.relayed;
          }, PATIENCE);
          await until("right still answers", async () => await ask(b) === "hello", PATIENCE);
          assert.equal((await link(c, "hub"))?.connected, true);
        } finally {
          for (const { control } of machines) control.close();
          for (const { running } of machines) running.kill("SIGKILL");
          await Promise.all(machines.map(({ running }) => running.ended));
        }
      })
    ),
});
