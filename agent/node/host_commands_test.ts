import assert from "node:assert/strict";
import { nodeBackend } from "./crypto_node.ts";
import { eventually } from "../../tests/peer_network.ts";
import { RealmError } from "../kernel/error.ts";
import { eventAt, type SignedEvent, signEvent } from "../kernel/event.ts";
import { formatPublicKey } from "../kernel/key.ts";
import { verifierOf } from "../kernel/verify.ts";
import { HostCommands, type HostCommandsInit } from "./host_commands.ts";
import { FakeOwner, newSigner } from "../owner_fake.ts";
import { controlContent, type ControlEvent } from "../realm/control_event.ts";
import { signManifest } from "../realm/manifest_signature.ts";
import { PublishedDigests } from "../realm/published.ts";
import { DEFAULT_POLICY } from "../realm/policy.ts";
import { RealmState } from "./realm_state.ts";
import { MemoryStore } from "../store/memory_store.ts";

const NOW_MS = 1_000_000;

interface Subject {
  readonly state: RealmState;
  readonly owner: FakeOwner;
  readonly written: ControlEvent[];
  /** Signs a command of the owner, or of somebody else, for the node. */
  sign(command: readonly string[], but?: Partial<Exec>, by?: FakeOwner): Promise<SignedEvent>;
  /** Runs it: text of both streams, and the status. */
  run(event: SignedEvent, init?: Partial<HostCommandsInit>, timeoutMs?: number): Promise<Ran>;
}

type Exec = Extract<ControlEvent, { kind: "exec" }>;
interface Ran {
  readonly stdout: string;
  readonly stderr: string;
  readonly status: number | undefined;
}

/** The commands of node a, which its policy allows. */
function commandsOn(state: RealmState, init: Partial<HostCommandsInit> = {}): HostCommands {
  return new HostCommands({
    isAllowed: true,
    nodeName: () => "a",
    policy: () => Promise.resolve({ ...DEFAULT_POLICY, exec: true }),
    state,
    clock: { wallMs: () => NOW_MS, monotonicMs: () => 0, sleep: () => Promise.resolve() },
    append: (signed) => {
      const { refused } = state.log.offer([signed]);
      if (refused[0]) throw new RealmError("refused", refused[0].problem);
    },
    write: () => {},
    ...init,
  });
}

/** A realm whose manifest lets its one node run commands, or not. */
async function withNode(exec: string, test: (subject: Subject) => Promise<void>): Promise<void> {
  const owner = new FakeOwner(await newSigner());
  const state = RealmState.open(new MemoryStore(), verifierOf(nodeBackend()), { owner: owner.key });
  const take = async (content: ReturnType<typeof controlContent>, by = owner) => {
    const place = state.log.placeFor(by.signer.publicKey);
    const event = await signEvent(eventAt(by.signer.publicKey, place, content), by.signer);
    state.log.offer([event]);
  };
  state.log.offer([await owner.genesis()]);
  const node = formatPublicKey((await newSigner()).publicKey);
  await take(controlContent({ kind: "approve", key: node, name: "a" }));
  const manifestBytes = new TextEncoder().encode(
    `[owner]\npubkey = "${owner.key}"\n[realm]\nexec = [${exec}]\n[nodes.a]\n`,
  );
  const signature = await signManifest(manifestBytes, {
    version: 1,
    digests: [],
    signer: owner.signer,
  });
  const tree = new PublishedDigests().head;
  await take(controlContent({ kind: "manifest", manifestBytes, signature, tree }));
  state.takeOver(state.candidate!, NOW_MS);
  const written: ControlEvent[] = [];
  await test({
    state,
    owner,
    written,
    sign(command, but = {}, by = owner) {
      const said: Exec = {
        kind: "exec",
        node: "a",
        command,
        nonce: new Uint8Array(16),
        expiresAtMs: NOW_MS + 1_000,
        ...but,
      };
      const place = state.log.placeFor(by.signer.publicKey);
      return signEvent(eventAt(by.signer.publicKey, place, controlContent(said)), by.signer);
    },
    async run(event, init = {}, timeoutMs = 60_000) {
      const commands = commandsOn(state, { write: (said) => written.push(said), ...init });
      const text = { stdout: "", stderr: "" };
      let status: number | undefined;
      for await (const each of commands.run(event, timeoutMs, new AbortController().signal)) {
        if (each.kind === "exit") status = each.status;
        else text[each.stream] += new TextDecoder().decode(Uint8Array.fromBase64(each.data));
      }
      return { ...text, status };
    },
  });
}

const code = (expected: string, message = /./) => (error: unknown) =>
  error instanceof RealmError && error.code === expected && message.test(error.message);

Deno.test("a command runs without a shell, input or the agent's environment, and is told of", () =>
  withNode('"a"', async ({ sign, run, written, state }) => {
    const event = await sign([
      "sh",
      "-c",
      "echo $HOME-$#-$1; cat; echo no >&2; exit 5",
      "x",
      "$(id)",
    ]);
    assert.deepEqual(await run(event), { stdout: "-1-$(id)\n", stderr: "no\n", status: 5 });
    assert.deepEqual(written, [{ kind: "executed", exec: event.id, status: 5 }]);
    assert.deepEqual(state.view?.execs.map(({ command }) => command[0]), ["sh"]);
  }));

Deno.test("a command is good for one run, before its time is out, on its node, by its owner", () =>
  withNode('"a"', async ({ sign, run, written, state }) => {
    const event = await sign(["true"]);
    assert.equal((await run(await sign(["true"]))).status, 0);
    await assert.rejects(run(event), code("refused", /used before/));
    const late = await sign(["true"], { expiresAtMs: NOW_MS });
    await assert.rejects(run(late), code("refused", /time has run out/));
    const early = await sign(["true"], { expiresAtMs: NOW_MS + 3_600_000 });
    await assert.rejects(run(early), code("refused", /too late/));
    await assert.rejects(run(await sign(["true"], { node: "b" })), code("refused", /it is for b/));
    const stranger = new FakeOwner(await newSigner());
    await assert.rejects(run(await sign(["true"], {}, stranger)), code("refused", /not the owner/));
    assert.equal(written.length, 1);
    assert.equal(state.view?.execs.length, 1, "what was refused is not in the log");
  }));

Deno.test("a command needs the flag, the policy and the manifest", async () => {
  await withNode('"a"', async ({ sign, run, written }) => {
    const event = await sign(["true"]);
    await assert.rejects(run(event, { isAllowed: false }), code("refused", /does not allow/));
    const policy = () => Promise.resolve(DEFAULT_POLICY);
    await assert.rejects(run(event, { policy }), code("policy"));
    assert.deepEqual(written, []);
    assert.equal((await run(event)).status, 0, "nothing of it was used up");
  });
  await withNode("", async ({ sign, run }) => {
    await assert.rejects(run(await sign(["true"])), code("refused", /the manifest does not/));
  });
});

Deno.test("a command that takes too long is killed; one that is not there says so", () =>
  withNode('"a"', async ({ sign, run, written }) => {
    const slow = await run(await sign(["sleep", "600"]), {}, 50);
    assert.equal(slow.status, 128 + 9);
    const none = await run(await sign(["/no/such/program"]));
    assert.equal(none.status, 127);
    assert.equal(none.stderr, "Cannot run /no/such/program: there is no such program\n");
    assert.deepEqual(written.map((said) => said.kind === "executed" && said.status), [137, 127]);
  }));

Deno.test("a command whose reader leaves is killed, and told of", () =>
  withNode('"a"', async ({ sign, state }) => {
    const written: ControlEvent[] = [];
    const commands = commandsOn(state, { write: (said) => written.push(said) });
    const event = await sign(["yes"]);
    for await (const each of commands.run(event, 60_000, new AbortController().signal)) {
      assert.equal(each.kind, "output");
      break;
    }
    const leaving = new AbortController();
    const silent = commands.run(await sign(["sleep", "600"]), 60_000, leaving.signal);
    const next = silent.next();
    setTimeout(() => leaving.abort(), 20);
    assert.deepEqual((await next).value, { kind: "exit", status: 137 });
    // The first one may have met its closed pipe before it was killed.
    const statuses = written.map((said) => said.kind === "executed" && said.status);
    assert.ok([137, 141].includes(Number(statuses[0])), `${statuses}`);
    assert.equal(statuses[1], 137);
  }));

Deno.test("a command that takes too long ends with all that it started, also what left its group", () =>
  withNode('"a"', async ({ sign, run }) => {
    // The shell is gone at once; what it started keeps its output open.
    const script = "sleep 600 & echo $!; setsid sleep 600 & echo $!; exit 3";
    // A shell that is killed before it has come so far is given more time.
    for (let timeoutMs = 200, status: number | undefined; status !== 3; timeoutMs *= 2) {
      assert.ok(timeoutMs < 60_000, `it ended with ${status}`);
      const ran = await run(await sign(["sh", "-c", script]), {}, timeoutMs);
      const [child, stray] = ran.stdout.trim().split("\n").map(Number);
      try {
        status = ran.status;
        if (status === 3) await eventually(() => !runs(child!), "it was killed with its group");
      } finally {
        if (stray && runs(stray)) Deno.kill(stray, "SIGKILL"); // nobody can know of it
      }
    }
  }));

/** Whether a process runs: not as a zombie that nobody has waited for. */
function runs(pid: number): boolean {
  try {
    const [, state] = /\) (\w)/.exec(Deno.readTextFileSync(`/proc/${pid}/stat`)) ?? [];
    return state !== "Z";
  } catch {
    return false;
  }
}

Deno.test("no more commands run at once than may, however they come", () =>
  withNode('"a"', async ({ sign, run, state, owner }) => {
    const commands = commandsOn(state);
    const over = new AbortController();
    const { signer } = owner;
    const events: SignedEvent[] = [];
    for (let place = state.log.placeFor(signer.publicKey); events.length < 6;) {
      const said: Exec = {
        kind: "exec",
        node: "a",
        command: ["sleep", "600"],
        nonce: new Uint8Array(16),
        expiresAtMs: NOW_MS + 1_000,
      };
      const signed = await signEvent(
        eventAt(signer.publicKey, place, controlContent(said)),
        signer,
      );
      const { id, event: { lamport, seq } } = signed;
      place = { ...place, heads: [{ id, lamport }], previous: { id, seq } };
      events.push(signed);
    }
    const ends = events.map((event) => commands.run(event, 60_000, over.signal).next());
    const all = Promise.allSettled(ends);
    await eventually(() => state.view!.execs.length >= 4, "they have begun");
    over.abort();
    const codes = (await all).map((end) =>
      end.status === "rejected" ? (end.reason as RealmError).code : end.value.value?.kind
    );
    assert.deepEqual(codes.filter((code) => code === "limit-exceeded").length, 2, codes.join());
    assert.equal((await run(await sign(["true"]))).status, 0);
  }));
