/**
 * `isolation = "process"` of the executable: what it starts has nothing, and does not outlive it.
 */
import assert from "node:assert/strict";
import {
  get,
  initRealm,
  NODE,
  startAgent,
  statusOf,
  succeeded,
  until,
  untilRunning,
} from "./agent_process.ts";
import { withSandbox } from "./executable.ts";

const MANIFEST = `
[components.counter]
source = "file:./http-counter.wasm"
world = "wasi:http/proxy"
isolation = "process"
[routing]
"${NODE}" = [{ path = "/...", component = "counter" }]
`;

/** Whether a process with this id runs. */
async function runs(pid: number): Promise<boolean> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`).catch(() => "");
  return /^State:\s+[^\sZ]/m.test(status);
}

Deno.test("the process of a component has no permission and nothing of its agent, and dies with it", async () => {
  await withSandbox(async (sandbox) => {
    await sandbox.fixtures("http-counter");
    const owner = await initRealm(sandbox, MANIFEST);
    const agent = await startAgent(sandbox, "--owner", owner);
    succeeded(await sandbox.realm("apply", "realm.toml", "--yes", "--json"));
    await untilRunning(sandbox, "counter");
    assert.equal(await get(`${agent.proxy}/healthz`), "200 ok");
    const { isolation, process } = (await statusOf(sandbox)).replicas[0]!;
    assert.equal(isolation, "process");
    const { pid, permissions, dataBytesMax } = process!;
    assert.deepEqual(permissions, []);
    assert.notEqual(pid, agent.pid);
    assert.ok(dataBytesMax! > 0);
    // What the shell that sets its limits adds is nothing of the agent's, which has HOME and PATH.
    const environment = await Deno.readTextFile(`/proc/${pid}/environ`);
    assert.match(environment, /^((PWD|OLDPWD|SHLVL|_)=[^\0]*\0)*$/);
    assert.match(await Deno.readTextFile(`/proc/${pid}/limits`), /^Max core file size +0 /m);
    agent.kill("SIGKILL");
    await agent.ended;
    await until("its process is gone", async () => !await runs(pid));
  });
});

Deno.test("a trap in a process ends the command as one in a Worker does, with its backtrace", async () => {
  await withSandbox(async ({ realm, fixtures }) => {
    await fixtures("crash");
    const [worker, process] = [
      await realm("run", "crash.wasm", "bounds"),
      await realm("run", "--isolation", "process", "crash.wasm", "bounds"),
    ];
    assert.equal(process.status, 101);
    assert.match(process.stderr, /^error\[trap\]: /m);
    assert.match(process.stderr, /^ +at .*crash.*lib\.rs:\d+/m);
    assert.deepEqual(process, worker);
  });
});
