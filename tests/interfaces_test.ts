/**
 * Every function of the stable WASI 0.2 interfaces is called by a guest, and the errors of files
 * are met: what is not is listed here, so that a gap is seen and none is added unseen.
 *
 * The interfaces are read from the WIT in `wit/`; what guests called is told by the trace.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type GuestOptions, runGuest, withEngine } from "./guest.ts";
import { componentScript, prepareFolder } from "./wasmtime/scripts.ts";

const WIT = new URL("../wit/wasi-0.2.12/", import.meta.url);

interface Interfaces {
  /** `wasi:io/poll#[method]pollable.block`. */
  readonly functions: Set<string>;
  /** Cases of the enums and variants that functions give as errors, by interface. */
  readonly errors: Map<string, Set<string>>;
}

/** Reads what is needed of WIT as its authors write it: a member a line, comments in front. */
function readWit(text: string, found: Interfaces): void {
  const package_ = /^package (wasi:[a-z-]+)@/m.exec(text)![1]!;
  let iface = "", resource = "", errors: Set<string> | undefined;
  for (const raw of text.split("\n")) {
    const line = raw.replace(/\/\/.*/, "").trim();
    let m: RegExpExecArray | null;
    if ((m = /^interface ([a-z0-9-]+) \{/.exec(line))) iface = `${package_}/${m[1]}`;
    else if (/^world /.test(line)) iface = "";
    if (iface === "") continue;
    if ((m = /^resource ([a-z0-9-]+) \{/.exec(line))) resource = m[1]!;
    else if ((m = /^(?:enum|variant) (error-code) \{/.exec(line))) {
      found.errors.set(iface, errors = new Set());
    } else if (line === "}") {
      if (errors) errors = undefined;
      else resource = "";
    } else if (errors && (m = /^([A-Za-z][A-Za-z0-9-]*)/.exec(line))) errors.add(m[1]!);
    else if (/^constructor\(/.test(line)) found.functions.add(`${iface}#[constructor]${resource}`);
    else if ((m = /^%?([a-z0-9-]+): (static )?func\(/.exec(line))) {
      const kind = m[2] ? "static" : "method";
      found.functions.add(
        resource ? `${iface}#[${kind}]${resource}.${m[1]}` : `${iface}#${m[1]}`,
      );
    }
  }
}

const found: Interfaces = { functions: new Set(), errors: new Map() };
for (const { name } of Deno.readDirSync(WIT)) {
  if (name.endsWith(".wit")) readWit(Deno.readTextFileSync(new URL(name, WIT)), found);
}

/** Functions that std calls in no fixture, and why nobody else does. */
const GAPS: Readonly<Record<string, string>> = {
  "wasi:cli/exit#exit-with-code": "unstable",
  "wasi:clocks/timezone#display": "unstable",
  "wasi:clocks/timezone#utc-offset": "unstable",
};

/** Errors that no call here is answered with: this machine does not give them to order. */
const ERROR_GAPS = new Set(
  ("access already cross-device deadlock file-too-large illegal-byte-sequence in-progress " +
    "insufficient-memory insufficient-space interrupted invalid-seek io message-size no-device " +
    "no-lock no-such-device no-tty not-recoverable overflow pipe quota read-only text-file-busy " +
    "too-many-links would-block").split(" "),
);

/** Packages whose functions are called by script elsewhere: tests of sockets and outbound HTTP. */
const ELSEWHERE = /^wasi:(sockets|http)\//;

interface Called {
  readonly functions: Set<string>;
  /** `interface code`, of errors that are one word. */
  readonly errors: Set<string>;
}

async function callsOfFixtures(folder: string): Promise<Called> {
  const called: Called = { functions: new Set(), errors: new Set() };
  await withEngine(async (engine) => {
    const run = async (name: string, options: GuestOptions = {}) => {
      const { traces } = await runGuest(engine, name, {
        trace: true,
        grants: { mounts: [{ hostPath: folder, guestPath: "/data", writable: true }] },
        ...options,
      });
      for (const line of traces) {
        const [, call, error] = /^([^(]+)\(.*\) = (?:err ([a-z-]+))?/.exec(line) ?? [];
        called.functions.add(call!);
        if (error) called.errors.add(`${call!.split("#")[0]} ${error}`);
      }
    };
    for (let seed = 0; seed < 8; seed++) {
      await run("descriptors", { stdin: componentScript(seed, 400) });
    }
    for (const name of ["interfaces", "files", "env"]) await run(name);
    await run("exit", { args: ["7"] });
    await run("worker", { args: ["2", "1"] });
    await run("cat", { stdin: "some text" });
  });
  return called;
}

Deno.test("the WIT of the worlds is read", () => {
  assert.equal(found.functions.size, 181);
  assert.equal(found.errors.get("wasi:filesystem/types")!.size, 37);
  assert.ok(found.functions.has("wasi:io/streams#[method]output-stream.blocking-write-and-flush"));
  assert.ok(found.functions.has("wasi:http/types#[static]fields.from-list"));
  assert.ok(found.functions.has("wasi:http/types#[constructor]fields"));
  assert.ok(found.functions.has("wasi:sockets/tcp#[method]tcp-socket.accept"));
});

Deno.test("guests call every function of cli, clocks, filesystem, io and random", async () => {
  const folder = await Deno.realPath(await Deno.makeTempDir());
  try {
    prepareFolder(folder);
    const called = await callsOfFixtures(folder);
    // What the guest exports is not called by it.
    const wanted = [...found.functions].filter((call) =>
      !ELSEWHERE.test(call) && call !== "wasi:cli/run#run"
    );
    assert.deepEqual(
      wanted.filter((call) => !called.functions.has(call)).sort(),
      Object.keys(GAPS).sort(),
    );
    if (Deno.build.os !== "linux") return; // codes are those of Linux
    const codes = [...found.errors.get("wasi:filesystem/types")!];
    assert.deepEqual(
      codes.filter((code) => !called.errors.has(`wasi:filesystem/types ${code}`)).sort(),
      [...ERROR_GAPS].sort(),
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
