import assert from "node:assert/strict";
import { succeeded } from "./agent_process.ts";
import { type Running, withSandbox } from "./executable.ts";

interface Event {
  readonly event: "begin" | "step" | "output" | "open" | "end";
  readonly [key: string]: unknown;
}

/** The events of a demo as they come. */
async function* eventsOf(running: Running): AsyncGenerator<Event> {
  for (let line = await running.line(); line !== null; line = await running.line()) {
    yield JSON.parse(line);
  }
}

/** What is left in the folders of a sandbox, and of its processes. */
async function leftovers(folder: string, agent: number | undefined): Promise<string[]> {
  const left = [...Deno.readDirSync(`${folder}/tmp`), ...Deno.readDirSync(`${folder}/home`)]
    .map(({ name }) => name);
  const state = agent === undefined
    ? ""
    : await Deno.readTextFile(`/proc/${agent}/status`).catch(() => "");
  return state === "" ? left : [...left, `process ${agent}`];
}

/** Titles of the steps of a demo that ended well, after they were found to be ok. */
async function seen(demo: Running, onOpen?: (event: Event) => Promise<void>) {
  const steps: Event[] = [];
  let last: Event | undefined;
  let agent: number | undefined;
  for await (const event of eventsOf(demo)) {
    last = event;
    if (event.event === "step") steps.push(event);
    agent = processOf(event) ?? agent;
    if (event.event === "open") await onOpen?.(event);
  }
  const { status, stderr } = await demo.ended;
  assert.equal(status, 0, stderr + JSON.stringify(steps.filter(({ ok }) => ok !== true)));
  assert.ok(steps.every(({ ok }) => ok === true));
  assert.deepEqual([last?.event, last?.ok], ["end", true]);
  return { titles: steps.map(({ title }) => title), agent };
}

/** The agent's process, from the event that tells of it. */
function processOf({ detail }: Event): number | undefined {
  const digits = /^process (\d+)/.exec(String(detail))?.[1];
  return digits === undefined ? undefined : Number(digits);
}

const STEPS = [
  "realm init makes the keys of a realm",
  "realm agent runs in a process of its own",
  "realm apply signs the manifest, the agent obeys it",
  "requests reach the components through the proxy",
  "a manifest changed after it was signed is refused",
  "a component that computes for ever is killed by its limit and started again",
  "a request that takes too much time or memory ends alone",
  "no request was lost from the first to the last",
  "the agent ends when it is told to",
];

Deno.test("demo with --for sees all of it, says so, and ends by itself", async () => {
  await withSandbox(async ({ folder, start }) => {
    const { titles, agent } = await seen(start("demo", "--nodes", "1", "--for", "1", "--json"));
    assert.deepEqual(titles, STEPS);
    assert.deepEqual(await leftovers(folder, agent), []);
  });
});

Deno.test("demo of three machines: they join, agree, are cut off and come back", async () => {
  await withSandbox(async ({ folder, start }) => {
    const { titles, agent } = await seen(start("demo", "--for", "1", "--json"));
    assert.deepEqual(titles, [
      ...STEPS.slice(0, -2),
      "other machines join with a ticket, and wait until the owner approves them",
      "realm apply on one machine reaches all of them",
      "requests reach the components through every machine",
      "a machine that is cut off from the others goes on with what it runs",
      "what was applied while a machine was cut off reaches it when it is back",
      "no request was lost from the first to the last",
      "the agents end when they are told to",
    ]);
    assert.deepEqual(await leftovers(folder, agent), []);
  });
});

Deno.test("demo stays until it is interrupted, and its addresses and commands work", async () => {
  await withSandbox(async ({ folder, start, realm }) => {
    const demo = start("demo", "--nodes", "1", "--json");
    const { titles, agent } = await seen(demo, async ({ open, commands }) => {
      const [address] = open as string[];
      assert.equal(await (await fetch(address!)).text(), "hello\n");
      const words = (commands as string[])[0]!.split(" ").slice(1);
      const { components } = succeeded(await realm(...words, "--json"));
      assert.equal(components.length, 3);
      demo.kill("SIGINT");
    });
    assert.deepEqual(titles, STEPS);
    assert.deepEqual(await leftovers(folder, agent), []);
  });
});

Deno.test("demo leaves nothing when it is interrupted, and does not say that it saw all", async () => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    await withSandbox(async ({ folder, start }) => {
      const demo = start("demo", "--nodes", "1", "--json");
      let agent: number | undefined;
      for await (const event of eventsOf(demo)) {
        const found = processOf(event);
        if (found === undefined) continue;
        agent = found;
        demo.kill(signal);
      }
      assert.ok(agent !== undefined);
      assert.equal((await demo.ended).status, 1);
      assert.deepEqual(await leftovers(folder, agent), []);
    });
  }
});

Deno.test("demo fails when its agent dies", async () => {
  await withSandbox(async ({ folder, start }) => {
    const demo = start("demo", "--nodes", "1", "--json");
    let agent: number | undefined;
    let failed: Event | undefined;
    for await (const event of eventsOf(demo)) {
      agent = processOf(event) ?? agent;
      if (String(event.title).startsWith("requests reach")) Deno.kill(agent!, "SIGKILL");
      if (event.ok === false) failed = event;
    }
    assert.equal((await demo.ended).status, 1);
    assert.notEqual(failed, undefined);
    assert.deepEqual(await leftovers(folder, agent), []);
  });
});
