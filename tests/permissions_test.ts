/**
 * What the program may do itself: commands that run guests give up what they do not need, and the
 * Workers in which guests run have nothing but the folders of their mounts.
 *
 * @module
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import { runGuest, withEngine } from "./guest.ts";

const ROOT = path.resolve(import.meta.dirname!, "..");

/** A function that tries every door and tells which are open; the folder is one that a guest may have. */
const OPEN_DOORS = `
  const doors = {
    read: (folder) => Deno.readDirSync(folder).next(),
    write: (folder) => Deno.writeTextFileSync(folder + "/probe", ""),
    readElsewhere: () => Deno.readTextFileSync("/etc/hostname"),
    writeElsewhere: (folder) => Deno.writeTextFileSync(folder + "/../probe", ""),
    net: () => Deno.listen({ hostname: "127.0.0.1", port: 0 }).close(),
    env: () => Deno.env.get("HOME"),
    sys: () => Deno.hostname(),
    run: () => new Deno.Command("true").outputSync(),
    ffi: () => Deno.dlopen("libm.so.6", {}),
  };
  const openDoors = (folder) =>
    Object.keys(doors).filter((name) => {
      try {
        doors[name](folder);
        return true;
      } catch (error) {
        if (error instanceof Deno.errors.NotCapable) return false;
        throw error;
      }
    });
`;
const PROBE = `${OPEN_DOORS} self.onmessage = ({ data }) => self.postMessage(openDoors(data));`;

/** The permissions of every Worker that is started while `act` runs. */
async function permissionsOfWorkers(
  act: () => Promise<unknown>,
): Promise<Map<string, Deno.PermissionOptions[]>> {
  const found = new Map<string, Deno.PermissionOptions[]>();
  const Original = globalThis.Worker;
  globalThis.Worker = class extends Original {
    constructor(url: string | URL, options?: WorkerOptions) {
      super(url, options);
      const { permissions } = (options as { deno: { permissions: Deno.PermissionOptions } }).deno;
      const name = path.basename(String(url));
      found.set(name, [...found.get(name) ?? [], permissions]);
    }
  };
  try {
    await act();
  } finally {
    globalThis.Worker = Original;
  }
  return found;
}

/** The doors that are open in a Worker with these permissions. */
async function openDoors(permissions: Deno.PermissionOptions, folder: string): Promise<string[]> {
  const url = `data:application/javascript,${encodeURIComponent(PROBE)}`;
  const worker = new Worker(url, { type: "module", deno: { permissions } } as WorkerOptions);
  const answer = Promise.withResolvers<string[]>();
  worker.onmessage = ({ data }) => answer.resolve(data);
  worker.onerror = (event) => {
    event.preventDefault();
    answer.reject(new Error(event.message));
  };
  worker.postMessage(folder);
  try {
    return await answer.promise;
  } finally {
    worker.terminate();
  }
}

Deno.test("Workers of guests may touch their mounts, as far as those go, and nothing else", async () => {
  const outside = await Deno.realPath(await Deno.makeTempDir({ prefix: "realm-permissions-" }));
  const folder = path.join(outside, "mount");
  await Deno.mkdir(folder);
  try {
    const mount = (writable: boolean) => [{ hostPath: folder, guestPath: "/data", writable }];
    const cases = [
      { mounts: [], open: [] },
      { mounts: mount(false), open: ["read"] },
      { mounts: mount(true), open: ["read", "write"] },
    ];
    for (const { mounts, open } of cases) {
      const workers = await permissionsOfWorkers(() =>
        withEngine((engine) => runGuest(engine, "hello", { grants: { mounts } }))
      );
      const guests = workers.get("worker.ts") ?? [];
      assert.equal(guests.length, 1);
      assert.deepEqual(await openDoors(guests[0]!, folder), open);
    }
  } finally {
    await Deno.remove(outside, { recursive: true });
  }
});

Deno.test("the Worker that transpiles may read and see the environment, no more", async () => {
  const { WorkerEngine } = await import("../agent/runtime/engine.ts");
  const none = { get: () => Promise.resolve(undefined), put: () => Promise.resolve() };
  const workers = await permissionsOfWorkers(async () => {
    const engine = new WorkerEngine({ cache: none });
    await engine.prepare(await Deno.readFile(path.join(ROOT, "fixtures/hello-p1.wasm")));
    await engine.close();
  });
  const [transpiler, ...more] = workers.get("transpile_worker.ts") ?? [];
  assert.deepEqual(more, []);
  const doors = await openDoors(transpiler!, ROOT);
  assert.deepEqual(doors, ["read", "readElsewhere", "env"]);
});

Deno.test("keepPermissions() gives up all but the kinds it is told, for good", async () => {
  const script = `
    import { systemShell } from "./cli/context.ts";
    const left = systemShell().keepPermissions(["read", "net"]);
    const tried = [
      () => Deno.readTextFileSync("deno.json"),
      () => Deno.listen({ hostname: "127.0.0.1", port: 0 }).close(),
      () => new Deno.Command("true").outputSync(),
      () => Deno.env.get("HOME"),
    ].map((door) => {
      try {
        return door() !== null;
      } catch (error) {
        return error.name;
      }
    });
    console.log(JSON.stringify({ left, tried }));
  `;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--quiet", "--ext=ts", script],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  }).output();
  assert.deepEqual(JSON.parse(new TextDecoder().decode(stdout)), {
    left: ["read", "net"],
    tried: [true, true, "NotCapable", "NotCapable"],
  }, new TextDecoder().decode(stderr));
});

Deno.test("a guest in the first thread finds every door of the thread shut", async () => {
  const folder = await Deno.makeTempDir({ prefix: "realm-permissions-" });
  const mount = path.join(folder, "mount");
  await Deno.mkdir(mount);
  const script = `${OPEN_DOORS}
    import { hostInThisThread } from "./agent/first_thread.ts";
    import { createEngine } from "./agent/local_engine.ts";
    import { systemShell } from "./cli/context.ts";
    import { fixture, NO_GRANTS } from "./tests/guest.ts";
    const left = [];
    const engine = createEngine(${JSON.stringify(folder)}, {
      host: () =>
        hostInThisThread((kinds) => {
          left.push(...systemShell().keepPermissions(kinds));
          return left;
        }, () => {}),
    });
    const prepared = await engine.prepare(await fixture("cat"));
    const before = openDoors(${JSON.stringify(mount)});
    const seen = [];
    let input = new Uint8Array(1);
    const look = () => void seen.push(openDoors(${JSON.stringify(mount)}));
    const replica = await engine.start(prepared, {
      world: "wasi:cli/command",
      grants: NO_GRANTS,
      limits: { memoryBytesMax: 2 ** 26 },
      stdio: {
        terminal: { stdin: false, stdout: false, stderr: false },
        // The guest has called, and waits for the answer.
        read: () => {
          look();
          const given = input;
          input = null;
          return Promise.resolve(given);
        },
        write: look,
      },
      notice: () => {},
    });
    const exit = await replica.exited;
    const calls = seen.length >= 3; // input, its end, and output
    const found = [...new Set(seen.flat())];
    console.log(JSON.stringify({ before, left, calls, found, exit }));
  `;
  try {
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", "--quiet", "--ext=ts", "--unstable-worker-options", script],
      cwd: ROOT,
      env: { NO_COLOR: "1" },
    }).output();
    const doors = ["read", "write", "readElsewhere", "writeElsewhere", "net", "env", "sys", "run"];
    assert.deepEqual(JSON.parse(new TextDecoder().decode(stdout)), {
      before: [...doors, "ffi"],
      left: ["read"],
      calls: true,
      found: ["read", "readElsewhere"], // from source, where code is read from files
      exit: { kind: "exit", status: 0 },
    }, new TextDecoder().decode(stderr));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
