import assert from "node:assert/strict";
import { RealmError } from "../../agent/kernel/error.ts";
import { askAgent } from "./ask_agent.ts";

/** Gives the test the socket of an agent that answers so. */
async function withAgent(
  answer: (request: Request) => Response | Promise<Response>,
  test: (path: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "realm-ask-" });
  const path = `${folder}/control.sock`;
  const server = Deno.serve({ path, onListen: () => {} }, answer);
  try {
    await test(path);
  } finally {
    await server.shutdown();
    await Deno.remove(folder, { recursive: true });
  }
}

const hasCode = (code: string) => (error: unknown) =>
  error instanceof RealmError && error.code === code;

const NOT_UNIX = { ignore: Deno.build.os === "windows" };

Deno.test("askAgent() gives nothing where nobody listens", NOT_UNIX, async () => {
  const folder = await Deno.makeTempDir({ prefix: "realm-ask-" });
  try {
    assert.equal(await askAgent(`${folder}/none/control.sock`), undefined, "no folder");
    assert.equal(await askAgent(`${folder}/control.sock`), undefined, "no socket");
    await Deno.writeTextFile(`${folder}/control.sock`, "");
    assert.equal(await askAgent(`${folder}/control.sock`), undefined, "what a killed one left");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("askAgent() understands an agent of another version", NOT_UNIX, async () => {
  const node = { program: "9.0.0", startedAtMs: 7, pid: 8 };
  const status = { node: { ...node, more: true }, rollouts: [{ state: "unheard of" }] };
  await withAgent(() => Response.json(status), async (path) => {
    assert.deepEqual(await askAgent(path), node);
  });
});

Deno.test("askAgent() takes an agent in trouble for one", NOT_UNIX, async () => {
  await withAgent(() => new Response("no JSON"), async (path) => {
    await assert.rejects(askAgent(path), hasCode("failed"), "of another version");
  });
  await withAgent(
    () => Response.json({ error: { code: "corrupt", message: "its store" } }, { status: 500 }),
    async (path) => await assert.rejects(askAgent(path), hasCode("corrupt"), "it says so"),
  );
  const over = Promise.withResolvers<Response>();
  await withAgent(() => over.promise, async (path) => {
    await assert.rejects(askAgent(path, { timeoutMs: 50 }), hasCode("unreachable"), "overloaded");
    over.resolve(new Response());
  });
});
