/**
 * What the demo does, step by step. Commands run as their users run them, in this process, on a
 * data folder of the demo's own; each agent is a process of its own. A step says what it saw, and
 * the demo goes on only when that is what was wanted.
 *
 * @module
 */
import * as path from "node:path";
import { connectControl, type ControlClient } from "../../agent/control/client.ts";
import { RealmError } from "../../agent/kernel/error.ts";
import { webCryptoBackend } from "../../agent/kernel/signature_backends.ts";
import { signerOf } from "../../agent/kernel/verify.ts";
import { controlContent } from "../../agent/realm/control_event.ts";
import { parseManifestSignature, signManifest } from "../../agent/realm/manifest_signature.ts";
import { PublishedDigests } from "../../agent/realm/published.ts";
import { Author } from "../author.ts";
import { controlSocketPath } from "../connection.ts";
import type { Context } from "../context.ts";
import { OWNER_KEY_FILE } from "../key.ts";
import { readKeyFile } from "../key_file.ts";
import { ChildAgent, type Ready } from "./child_agent.ts";
import { Load, pause } from "./load.ts";
import { LISTEN, Machines } from "./machines.ts";
import { NotSeen, require, Stage } from "./stage.ts";

type Replica = Awaited<ReturnType<ControlClient["status"]>>["replicas"][number];

/** The components of the demo, by the name of their file. Each file is carried in the program. */
const COMPONENTS = {
  "counter.wasm": new URL("../../fixtures/http-counter.wasm", import.meta.url),
  "hello.wasm": new URL("../../fixtures/http-hello.wasm", import.meta.url),
  "rogue.wasm": new URL("../../fixtures/spin.wasm", import.meta.url),
};

const NODE = "demo";
/** How often the rogue has to be killed and started again to be believed. */
const RESTARTS_SEEN = 2;
/** What is appended to the manifest that `realm init` writes. */
const MANIFEST = `
[nodes."${NODE}"]
tags = ["first"]

[components.counter]                    # counts its requests in a volume
source = "file:./counter.wasm"
world = "wasi:http/proxy"
memory_max_mb = 32
epoch_timeout_ms = 200
mounts = [{ volume = "counter", guest = "/data" }]

[components.hello]
source = "file:./hello.wasm"
world = "wasi:http/proxy"

[components.rogue]                      # computes for ever: its limit kills it, again and again
source = "file:./rogue.wasm"
world = "wasi:cli/command"
epoch_timeout_ms = 100
placement = { tags = ["first"] }

[routing]
"${NODE}" = [
  { path = "/counter/...", component = "counter", strip_prefix = true },
  { path = "/hello", component = "hello", replicas = 2 },
]
`;

/**
 * Runs the demo; whether everything was seen. It lasts `forMs`, or as long as its steps take where
 * that is longer; without it, until it is interrupted.
 */
export async function runDemo(
  context: Context,
  forMs: number | undefined,
  nodes: number,
): Promise<boolean> {
  const endsAt = forMs === undefined ? Infinity : performance.now() + forMs;
  const folder = await Deno.makeTempDir({ prefix: "realm-demo-" });
  const remove = () => Deno.removeSync(folder, { recursive: true });
  globalThis.addEventListener("unload", remove);
  const demo = new Demo(context, folder);
  try {
    return await demo.run(endsAt, nodes);
  } finally {
    await demo.close();
    globalThis.removeEventListener("unload", remove);
    remove();
  }
}

class Demo {
  readonly #stage: Stage;
  #agent: ChildAgent | undefined;
  #ready: Ready | undefined;
  #control: ControlClient | undefined;
  #load: Load | undefined;
  #machines: Machines | undefined;
  /** The greatest number that the counter answered. */
  #counted = 0;

  constructor(readonly context: Context, readonly folder: string) {
    this.#stage = new Stage(context, folder);
  }

  async run(endsAt: number, nodes: number): Promise<boolean> {
    this.#stage.say({ event: "begin", folder: this.folder }, `Everything is in ${this.folder}\n`);
    try {
      const owner = await this.#init();
      await this.#startAgent(owner);
      await this.#apply();
      await this.#ask();
      await this.#tamper();
      await this.#rogue();
      await this.#limits();
      await this.#others(nodes);
      await this.#show();
    } catch (error) {
      if (!(error instanceof NotSeen)) throw error;
      await this.#load?.stop({ forgive: true });
      this.#agentErrors();
      return false;
    }
    this.#invite(endsAt);
    await pause(Math.min(endsAt - performance.now(), 2 ** 31 - 1), this.#stage.interrupted);
    return await this.#end();
  }

  /** Ends the agents. */
  async close(): Promise<void> {
    await this.#machines?.stop({ forgive: true });
    await this.#load?.stop({ forgive: true });
    this.#control?.close();
    await this.#agent?.stop();
  }

  // ---- the steps ----

  async #init(): Promise<string> {
    return await this.#stage.step("realm init makes the keys of a realm", async (see) => {
      const { owner } = JSON.parse(await this.#stage.realm("init", "--name", "demo", "--json"));
      for (const [name, url] of Object.entries(COMPONENTS)) {
        await Deno.writeFile(path.join(this.folder, name), await Deno.readFile(url));
      }
      await Deno.writeTextFile(this.#stage.manifest, MANIFEST, { append: true });
      see(`owner ${owner}`);
      return owner;
    });
  }

  async #startAgent(owner: string): Promise<void> {
    await this.#stage.step("realm agent runs in a process of its own", async (see) => {
      const { agent, ready } = await ChildAgent.start(
        // deno-fmt-ignore
        ["--data", this.#stage.data, "--name", NODE, "--owner", owner, "--http", "127.0.0.1:0",
          "--listen", LISTEN],
        this.#stage.interrupted,
      );
      this.#agent = agent;
      this.#ready = ready;
      this.#control = connectControl(controlSocketPath(this.#stage.data));
      require(ready.owner === owner, `its owner is ${ready.owner}, wanted ${owner}`);
      see(`process ${agent.pid}, proxy ${ready.proxy}`);
    });
  }

  async #apply(): Promise<void> {
    await this.#stage.step("realm apply signs the manifest, the agent obeys it", async (see) => {
      await this.#stage.realm("apply", this.#stage.manifest, "--yes");
      const { version } = parseManifestSignature(
        await Deno.readTextFile(`${this.#stage.manifest}.sig`),
      );
      const status = await this.#control!.status();
      const { manifest, components } = status;
      require(
        manifest?.version === version,
        `version ${manifest?.version} is in force, wanted ${version}`,
      );
      require(components.length === 3, `${components.length} components, wanted 3`);
      await this.#stage.wait("its request handlers run", async () => {
        const replicas = await this.#replicas((r) => r.component !== "rogue");
        return replicas.length === 3 && replicas.every(({ state }) => state === "running");
      });
      see(`version ${version}: ${components.map(({ name }) => name).join(", ")}`);
    });
  }

  async #ask(): Promise<void> {
    await this.#stage.step("requests reach the components through the proxy", async (see) => {
      const asked = await Promise.all(["/hello", "/counter/"].map((each) => this.#get(each)));
      require(asked[0] === "200 hello", `/hello answered ${asked[0]}`);
      require(asked[1] === "200 1", `/counter/ answered ${asked[1]}`);
      see("/hello answers hello, /counter/ answers 1; more come all the time");
      this.#counted = 1;
      this.#load = new Load([
        {
          name: "hello",
          url: `${this.#ready!.proxy}/hello`,
          check: (body) => body === "hello\n" ? undefined : `body ${JSON.stringify(body)}`,
        },
        { name: "counter", url: `${this.#ready!.proxy}/counter/`, check: (b) => this.#count(b) },
      ]);
    });
  }

  /** The counter only ever goes up; others may ask it, too. */
  #count(body: string): string | undefined {
    const number = Number(body);
    if (!(number > this.#counted)) return `counted ${body.trim()} after ${this.#counted}`;
    this.#counted = number;
  }

  async #tamper(): Promise<void> {
    await this.#stage.step("a manifest changed after it was signed is refused", async (see) => {
      const before = await this.#control!.manifest();
      const bytes = await Deno.readFile(this.#stage.manifest);
      const { digests } = parseManifestSignature(before!.signature);
      const keys = await readKeyFile(path.join(this.#stage.data, OWNER_KEY_FILE));
      const signed = await signManifest(bytes, {
        version: before!.version + 1,
        digests,
        signer: signerOf(keys, webCryptoBackend()),
      });
      const changed = new TextDecoder().decode(bytes)
        .replace("memory_max_mb = 32", "memory_max_mb = 64");
      const author = new Author(keys, "the demo's key");
      const content = controlContent({
        kind: "manifest",
        manifestBytes: new TextEncoder().encode(changed),
        signature: signed,
        tree: new PublishedDigests(digests.values()).head,
      });
      const error = await author.append(this.#control!, [content])
        .then(() => undefined, (error) => error);
      require(error instanceof RealmError, "the agent took it");
      require(error.code === "digest-mismatch", `the agent said ${error.code}: ${error.message}`);
      const after = await this.#control!.status();
      require(
        after.manifest?.version === before!.version,
        `version ${after.manifest?.version} is in force, wanted ${before!.version}`,
      );
      require(after.refused[0]?.code === error.code, "the status does not tell of it");
      see(error.message);
    });
  }

  async #rogue(): Promise<void> {
    const title = "a component that computes for ever is killed by its limit and started again";
    await this.#stage.step(title, async (see) => {
      const answered = this.#load!.answered;
      let rogue: Replica | undefined;
      await this.#stage.wait("it was killed and started again", async () => {
        rogue = (await this.#replicas((r) => r.component === "rogue"))[0];
        return (rogue?.restarts ?? 0) >= RESTARTS_SEEN;
      });
      const exit = rogue!.lastExit?.exit;
      const code = exit?.kind === "trap" ? exit.code : exit?.kind;
      require(code === "epoch-timeout", `it ended with ${code}, wanted epoch-timeout`);
      const more = this.#load!.answered - answered;
      require(more > 0, "its neighbours answered nothing meanwhile");
      this.#requireNoneLost();
      see(
        `${code}, ${rogue!.restarts} restarts; meanwhile its neighbours answered ${more} ` +
          "requests and lost none",
      );
    });
    const said = await this.#stage.realm("logs", "rogue");
    const withoutFrames = said.split("\n").filter((line) => !/ realm +at /.test(line));
    this.#stage.quote("realm logs rogue", withoutFrames.join("\n"));
  }

  async #limits(): Promise<void> {
    const title = "a request that takes too much time or memory ends alone";
    await this.#stage.step(title, async (see) => {
      const [spin, grow] = [await this.#get("/counter/spin"), await this.#get("/counter/grow")];
      for (const answer of [spin, grow]) {
        require(answer.startsWith("502 "), `the proxy answered ${answer}`);
      }
      const counted = this.#counted;
      await this.#stage.wait("the counter goes on", () => this.#counted > counted);
      this.#requireNoneLost();
      const [counter] = await this.#replicas((r) => r.component === "counter");
      const { traps = 0, memoryBytesPeak = 0 } = counter?.usage ?? {};
      require(traps === 2, `${traps} instances trapped, wanted 2`);
      const bound = counter!.limits!.memoryBytesMax;
      require(memoryBytesPeak <= bound, `${memoryBytesPeak} bytes at most, wanted ${bound}`);
      see(`${spin}; ${grow}`);
    });
  }

  async #others(nodes: number): Promise<void> {
    if (nodes === 1) return;
    const first = { name: NODE, agent: this.#agent!, ready: this.#ready!, control: this.#control! };
    this.#machines = new Machines(this.#stage, first);
    await this.#machines.run(nodes);
    this.#requireNoneLost();
  }

  async #show(): Promise<void> {
    this.#stage.quote("realm status", await this.#stage.realm("status"));
  }

  #invite(endsAt: number): void {
    const { proxy } = this.#ready!;
    const open = [`${proxy}/hello`, `${proxy}/counter/`];
    const realm = Deno.build.standalone ? "realm" : "./dev dev";
    const data = `--data ${this.#stage.data}`;
    const commands = [
      "status",
      "nodes ls",
      "logs rogue --follow",
      "restart hello",
      "scale hello 4",
      "tui",
    ]
      .map((words) => `${realm} ${words} ${data}`);
    this.#stage.say(
      { event: "open", open, commands },
      [`Open ${open.join(" or ")}`, "Try", ...commands.map((each) => `    ${each}`), ""].join("\n"),
    );
    if (endsAt === Infinity) this.context.note("Ctrl-C ends it");
  }

  async #end(): Promise<boolean> {
    // When it was interrupted the agent may have been, too.
    const forgive = this.#stage.interrupted.aborted;
    await this.#load!.stop({ forgive });
    await this.#machines?.load?.stop({ forgive });
    const answered = this.#load!.answered + (this.#machines?.load?.answered ?? 0);
    try {
      await this.#stage.step("no request was lost from the first to the last", async (see) => {
        this.#requireNoneLost();
        if (!forgive) {
          const count = await this.#get("/counter/count");
          require(count === `200 ${this.#counted}`, `the volume has ${count}`);
        }
        see(`${answered} answered; the counter's volume says ${this.#counted}`);
      }, { always: true });
      const title = this.#machines === undefined
        ? "the agent ends when it is told to"
        : "the agents end when they are told to";
      await this.#stage.step(title, async (see) => {
        const others = await this.#machines?.stop({ forgive }) ?? true;
        require(await this.#agent!.stop() && others, "one had to be killed");
        see("");
      }, { always: true });
    } catch (error) {
      if (!(error instanceof NotSeen)) throw error;
      this.#agentErrors();
      return false;
    }
    this.#stage.say({ event: "end", ok: true, answered }, "All of it was seen");
    return true;
  }

  #agentErrors(): void {
    const errors = ((this.#agent?.errors ?? "") + (this.#machines?.errors ?? "")).trim();
    if (errors) this.context.note(`The agent said:\n${errors}`);
  }

  /** One request through the first proxy: status and body of its answer. */
  #get(where: string): Promise<string> {
    return this.#stage.get(`${this.#ready!.proxy}${where}`);
  }

  async #replicas(which: (replica: Replica) => boolean): Promise<Replica[]> {
    return (await this.#control!.status()).replicas.filter(which);
  }

  #requireNoneLost(): void {
    const lost = [...this.#load!.lost, ...this.#machines?.load?.lost ?? []];
    require(lost.length === 0, `${lost.length} requests were lost: ${lost.slice(0, 5).join("; ")}`);
  }
}
