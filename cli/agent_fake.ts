/**
 * Commands against an agent for tests: the real control API on a real socket, the real gate of
 * manifests, and nothing that runs.
 *
 * @module
 */
import type {
  ControlApi,
  CurrentManifest,
  EventsAnswer,
  ExecEntry,
  ExecEvent,
  HistoryEntry,
  LogEvent,
  LogOptions,
  LogPlace,
  PeerStatus,
  PlanAnswer,
  PublicationProof,
  Rollout,
  SealedSecret,
  SignedManifest,
} from "../agent/control/api.ts";
import { serveControl } from "../agent/control/server.ts";
import { RealmError } from "../agent/kernel/error.ts";
import {
  decodeSigned,
  type Event,
  type SignedEvent,
  topicOf,
  verifyEvent,
} from "../agent/kernel/event.ts";
import { formatPublicKey } from "../agent/kernel/key.ts";
import { webCryptoBackend } from "../agent/kernel/signature_backends.ts";
import { decodeManifest, parseManifest } from "../agent/realm/manifest.ts";
import { parseManifestSignature, verifyManifest } from "../agent/realm/manifest_signature.ts";
import { planChanges } from "../agent/realm/plan.ts";
import { MemoryBlobs } from "../agent/store/memory_blobs.ts";
import { fakeStatus } from "../tui/status_fake.ts";
import { fakeApps } from "../agent/control/fake_api.ts";
import { main } from "./app.ts";
import { controlSocketPath } from "./connection.ts";
import { readGenesis } from "./key_file.ts";
import { testShell } from "./shell_fake.ts";

/** An agent that remembers what it was asked. */
export class FakeAgent implements ControlApi {
  owner = "";
  current: CurrentManifest | null = null;
  /** Manifests that were in force, by their versions. */
  readonly past = new Map<number, CurrentManifest>();
  /** What `status` says of rollouts, one after the other; the last stays. */
  rollouts: Rollout[] = [];
  /** Worlds that came with events. */
  readonly worlds: (string | undefined)[] = [];
  /** What the realm is like now, as plans name it; the plan that is carried out has to be of it. */
  world = "0".repeat(64);
  /** What plans say of nodes. */
  steps: PlanAnswer["steps"] = [];
  /** The control log. */
  readonly log: SignedEvent[] = [];
  /** Who signed its events. */
  readonly signers: string[] = [];
  versions: HistoryEntry[] = [];
  publication: PublicationProof | null = null;
  sealed: SealedSecret[] = [];
  commands: ExecEntry[] = [];
  known: PeerStatus[] = [];
  readonly blobs = new MemoryBlobs();
  readonly calls: string[] = [];
  violations: string[] = [];
  refusing: NonNullable<PlanAnswer["refusing"]> = [];
  forked = false;
  /** A node that the manifest in force does not name. */
  unwritten = "";
  state = fakeStatus();
  lines: LogEvent[] = [];
  askedLogs: LogOptions | undefined;
  /** What calls about apps answer, and what they were asked with. */
  readonly answers: Record<string, unknown> = {};
  readonly asked: Record<string, unknown> = {};
  readonly apps = fakeApps((name, params) => {
    this.calls.push(name);
    this.asked[name] = params;
    return this.answers[name];
  });
  /** Runs between a plan and what comes next. */
  afterPlan: () => void = () => {};

  status() {
    if (this.rollouts.length === 0 || this.current === null) return this.state;
    const [rollout] = this.rollouts.length > 1 ? this.rollouts.splice(0, 1) : this.rollouts;
    const components = this.state.components.map((c) => ({ ...c, rollout: rollout! }));
    const { version } = this.current;
    const manifest = { version, sha256: "0".repeat(64), appliedAtMs: 0 };
    return { ...this.state, components, manifest };
  }

  manifest(version?: number) {
    return version === undefined ? this.current : this.past.get(version) ?? null;
  }

  /** The real plan, with the digests of what is signed. */
  plan({ manifest, signature }: SignedManifest): PlanAnswer {
    this.calls.push(signature === undefined ? "plan unsigned" : "plan");
    const release = (bytes: Uint8Array, line: string | undefined) => ({
      manifest: parseManifest(decodeManifest(bytes)),
      digests: line === undefined
        ? new Map<string, string>()
        : parseManifestSignature(line).digests,
    });
    const { current } = this;
    const after = release(manifest, signature);
    const changes = planChanges(
      current ? release(current.manifest, current.signature) : undefined,
      after,
    );
    const answer = {
      currentVersion: this.current?.version ?? null,
      changes,
      steps: this.steps,
      unplaced: [],
      world: this.world,
      violations: this.violations,
      refusing: this.refusing,
      missing: [...after.digests.values()],
    };
    this.afterPlan();
    return answer;
  }

  place(author: string): LogPlace | null {
    const last = this.log.at(-1);
    if (last === undefined) return null;
    const previous = this.log.findLast(({ event }) => formatPublicKey(event.author) === author);
    return {
      topic: topicOf(last).toString(),
      heads: [{ id: last.id.toString(), lamport: last.event.lamport }],
      previous: previous === undefined
        ? null
        : { id: previous.id.toString(), seq: previous.event.seq },
      versionMax: this.current?.version ?? 0,
      published: [],
      forked: this.forked,
    };
  }

  async append(events: readonly Uint8Array[], world?: string): Promise<EventsAnswer> {
    this.worlds.push(world);
    if (world !== undefined && world !== this.world) {
      throw new RealmError("stale", "Cannot apply the manifest: nodes would do something else now");
    }
    const signed = events.map(decodeSigned);
    for (const each of signed) await verifyEvent(each, webCryptoBackend());
    for (const { event } of signed) await this.#take(event);
    this.log.push(...signed);
    const accepted = signed.map(({ id }) => id.toString());
    return { accepted, version: this.current?.version ?? null, changes: [] };
  }

  async #take({ type, payload, author }: Event): Promise<void> {
    // deno-lint-ignore no-explicit-any
    const said = payload as any; // what the real command line made, which other tests check
    if (type === "control/manifest") {
      await this.#apply(said.manifest, said.signature);
    } else if (type === "control/approve") {
      const key = formatPublicKey(said.key);
      this.calls.push(`approve ${said.name} ${key}`);
      this.state = {
        ...this.state,
        nodes: this.state.nodes.map((node) =>
          node.key === key ? { ...node, name: said.name, state: "approved" } : node
        ),
      };
    } else if (type === "control/revoke") {
      this.calls.push(`revoke ${formatPublicKey(said.key)} after ${said.last}`);
    } else if (type === "control/restart") {
      this.calls.push([`restart ${said.component}`, ...said.nodes].join(" "));
    } else if (type === "control/scale") {
      const { component, replicas, node } = said;
      this.calls.push([`scale ${component} ${replicas}`, ...(node ? [node] : [])].join(" "));
      const placed = [{ node: "bm-01", replicas: replicas ?? 1, running: 1 }];
      this.state = {
        ...this.state,
        components: this.state.components.map((c) => c.name === component ? { ...c, placed } : c),
      };
    } else if (type === "control/drain") {
      this.calls.push(`drain ${said.node} ${said.drained}`);
      if (said.node === this.unwritten) return;
      this.state = {
        ...this.state,
        nodes: this.state.nodes.map((node) =>
          node.name === said.node ? { ...node, drained: said.drained } : node
        ),
      };
    } else if (type === "control/succession") {
      this.calls.push(`succession ${formatPublicKey(said.owner)} after ${said.last}`);
      this.state = {
        ...this.state,
        node: { ...this.state.node, owner: formatPublicKey(said.owner) },
      };
    } else if (type === "control/genesis") {
      if (formatPublicKey(author) !== this.owner && this.owner !== "") {
        throw new RealmError("wrong-owner", "Cannot begin the log: not the owner's");
      }
      this.calls.push("genesis");
    }
    this.signers.push(formatPublicKey(author));
  }

  async #apply(manifest: Uint8Array, signature: string): Promise<void> {
    const signed = parseManifestSignature(signature);
    await verifyManifest({
      manifestBytes: manifest,
      signature: signed,
      owner: this.owner,
      lastVersion: this.current?.version ?? 0,
      backend: webCryptoBackend(),
    });
    for (const digest of signed.digests.values()) {
      if (!await this.blobs.has(digest)) throw new RealmError("not-found", `Cannot find ${digest}`);
    }
    this.calls.push(`apply ${signed.version}`);
    this.current = { version: signed.version, manifest, signature };
    this.past.set(signed.version, this.current);
  }

  async *exec(encoded: Uint8Array, timeoutMs: number): AsyncGenerator<ExecEvent> {
    const { event } = decodeSigned(encoded);
    const { node, command } = event.payload as { node: string; command: string[] };
    this.calls.push(`exec ${node} ${command.join(" ")} ${timeoutMs}`);
    yield { kind: "output", stream: "stdout", data: new TextEncoder().encode("out\n").toBase64() };
    yield { kind: "output", stream: "stderr", data: new TextEncoder().encode("err\n").toBase64() };
    yield { kind: "exit", status: 7 };
  }

  nodes() {
    return this.state.nodes;
  }

  history() {
    return this.versions;
  }

  proof() {
    return this.publication;
  }

  secrets() {
    return this.sealed;
  }

  execs() {
    return this.commands;
  }

  samples() {
    return { atMs: [1_000], values: { cpu: [1] } };
  }

  peers() {
    return this.known;
  }

  addPeer(address: string) {
    this.calls.push(`peer ${address}`);
    return { key: "ed25519:peer" };
  }

  async *logs(options: LogOptions) {
    this.#known(options.component);
    this.askedLogs = options;
    yield* this.lines;
  }

  metrics() {
    return "";
  }

  #known(component: string): void {
    if (this.state.components.some(({ name }) => name === component)) return;
    throw new RealmError("not-found", `Cannot find component ${component}: not in the manifest`);
  }
}

/** How a command ended. */
export interface CommandResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a test of commands gets. */
export interface CommandTest {
  readonly agent: FakeAgent;
  /** The current folder, empty; `data`, the data folder, is elsewhere. */
  readonly folder: string;
  readonly data: string;
  /** Runs `realm` with these words. */
  realm(...argv: string[]): Promise<CommandResult>;
  /** The same on a terminal on which these lines are typed. */
  terminal(input: readonly string[], ...argv: string[]): Promise<CommandResult>;
  /** {@link CommandTest.realm} with these variables. */
  withEnv(env: Readonly<Record<string, string>>): (...argv: string[]) => Promise<CommandResult>;
  /** Takes the agent away. */
  stop(): Promise<void>;
}

/** Runs a test with an agent and folders of its own. */
export async function withFakeAgent(test: (parts: CommandTest) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "realm-cli-" });
  const folder = `${root}/work`;
  await Deno.mkdir(folder);
  const agent = new FakeAgent();
  const server = await serveControl({
    path: controlSocketPath(`${root}/home`),
    api: agent,
    closeTimeoutMs: 50,
  });
  const run = async (
    input: readonly string[] | undefined,
    argv: string[],
    env: Readonly<Record<string, string>> = {},
  ) => {
    const shell = testShell({
      cwd: folder,
      env: { REALM_HOME: `${root}/home`, NO_COLOR: "1", ...env },
      ...(input === undefined
        ? {}
        : { input, terminal: { stdin: true, stdout: true, stderr: true } }),
    });
    const status = await main(argv, shell);
    return { status, stdout: shell.text("stdout"), stderr: shell.text("stderr") };
  };
  try {
    await test({
      agent,
      folder,
      data: `${root}/home`,
      realm: (...argv) => run(undefined, argv),
      terminal: (input, ...argv) => run(input, argv),
      withEnv: (env) => (...argv) => run(undefined, argv, env),
      stop: () => server.close(),
    });
  } finally {
    await server.close();
    await Deno.remove(root, { recursive: true });
  }
}

/** The same for the owner of a realm that has begun. */
export function withOwner(
  test: (parts: CommandTest & { readonly owner: string }) => Promise<void>,
): Promise<void> {
  return withFakeAgent(async (parts) => {
    const made = await parts.realm("init", "--name", "shop", "--json");
    const { owner } = JSON.parse(made.stdout);
    parts.agent.owner = owner;
    parts.agent.log.push(await readGenesis(`${parts.data}/control.genesis`));
    await test({ ...parts, owner });
  });
}
