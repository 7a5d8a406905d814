/**
 * Commands against an agent for tests: the real control API on a real socket, the real gate of
 * manifests, and nothing that runs.
 *
 * @module
 */
import type {
  ApplyAnswer,
  ControlApi,
  CurrentManifest,
  LogEvent,
  LogOptions,
  PlanAnswer,
  SignedManifest,
} from "../agent/control/api.ts";
import { serveControl } from "../agent/control/server.ts";
import { RealmError } from "../agent/kernel/error.ts";
import { webCryptoBackend } from "../agent/kernel/signature_backends.ts";
import { decodeManifest, parseManifest } from "../agent/realm/manifest.ts";
import { parseManifestSignature, verifyManifest } from "../agent/realm/manifest_signature.ts";
import { planChanges } from "../agent/realm/plan.ts";
import { MemoryBlobs } from "../agent/store/memory_blobs.ts";
import { fakeStatus } from "../tui/status_fake.ts";
import { main } from "./app.ts";
import { controlSocketPath } from "./connection.ts";
import { testShell } from "./shell_fake.ts";

/** An agent that remembers what it was asked. */
export class FakeAgent implements ControlApi {
  owner = "";
  current: CurrentManifest | null = null;
  readonly blobs = new MemoryBlobs();
  readonly calls: string[] = [];
  violations: string[] = [];
  state = fakeStatus();
  lines: LogEvent[] = [];
  askedLogs: LogOptions | undefined;
  /** Runs between a plan and what comes next. */
  afterPlan: () => void = () => {};

  status() {
    return this.state;
  }

  manifest() {
    return this.current;
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
      violations: this.violations,
      missing: [...after.digests.values()],
    };
    this.afterPlan();
    return answer;
  }

  async apply(
    { manifest, signature }: SignedManifest & { signature: string },
  ): Promise<ApplyAnswer> {
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
    return { version: signed.version, changes: [] };
  }

  async *logs(options: LogOptions) {
    this.#known(options.component);
    this.askedLogs = options;
    yield* this.lines;
  }

  restart(component: string) {
    this.#known(component);
    this.calls.push(`restart ${component}`);
    return { restarted: 2 };
  }

  scale(component: string, replicas: number | null) {
    this.#known(component);
    this.calls.push(`scale ${component} ${replicas}`);
    return { replicas: replicas ?? 1, scaledTo: replicas };
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
  /** The current folder, empty; the data folder is elsewhere. */
  readonly folder: string;
  /** Runs `realm` with these words. */
  realm(...argv: string[]): Promise<CommandResult>;
  /** The same on a terminal on which these lines are typed. */
  terminal(input: readonly string[], ...argv: string[]): Promise<CommandResult>;
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
  const run = async (input: readonly string[] | undefined, argv: string[]) => {
    const shell = testShell({
      cwd: folder,
      env: { REALM_HOME: `${root}/home`, NO_COLOR: "1" },
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
      realm: (...argv) => run(undefined, argv),
      terminal: (input, ...argv) => run(input, argv),
      stop: () => server.close(),
    });
  } finally {
    await server.close();
    await Deno.remove(root, { recursive: true });
  }
}
