import assert from "node:assert/strict";
import { systemClock } from "../../agent/node/system_clock.ts";
import { TopicSession, type ViewAgent } from "./topic_session.ts";
import { until } from "../../tests/until.ts";

type View = Parameters<ViewAgent["view"]>[0];
type Answer = Awaited<ReturnType<ViewAgent["view"]>>;

const text = (text: string) => ({ parent: 0, kind: "text" as const, text, id: "" });
const event = { event: "e", type: "add", reason: null, fuel: 1, final: false };

/** An agent that draws how often it was asked what. */
class FakeAgent implements ViewAgent {
  readonly asked: View[] = [];
  readonly closed: string[] = [];
  shown = "0";
  calls: Answer["calls"] = [];
  failure: Error | undefined;

  view = async (asked: View): Promise<Answer> => {
    this.asked.push(asked);
    await Promise.resolve();
    if (this.failure !== undefined) throw this.failure;
    return { nodes: [text(this.shown)], calls: asked.input === undefined ? [] : this.calls };
  };

  closeView = ({ session }: { session: string }) => {
    this.closed.push(session);
    return Promise.resolve({});
  };
}

async function opened(
  test: (session: TopicSession, agent: FakeAgent) => Promise<void>,
  lookMs = 60_000,
): Promise<FakeAgent> {
  const agent = new FakeAgent();
  const options = { agent, topic: "lunch", title: "poll: lunch", clock: systemClock, lookMs };
  const session = await TopicSession.open(options);
  await test(session, agent);
  await session.close();
  return agent;
}

Deno.test("a session shows what the agent draws, and says what came of an input", async () => {
  const agent = await opened(async (session, agent) => {
    assert.equal(session.snapshot().nodes[0]!.text, "0");
    let changes = 0;
    const leave = session.subscribe(() => changes++);
    agent.shown = "1";
    agent.calls = [{ refused: null, events: [{ ...event, verdict: "accepted" }] }];
    session.input({ tag: "press", val: "go" });
    await until("the state", () => session.snapshot().nodes[0]!.text === "1");
    assert.equal(session.snapshot().message!.text, "done (not final yet)");
    agent.calls = [{ refused: "closed", events: [] }];
    session.input({ tag: "press", val: "go" });
    await until("that it is closed", () => session.snapshot().message!.text === "closed");
    agent.calls = [{ refused: null, events: [{ ...event, verdict: "rejected", reason: "late" }] }];
    session.input({ tag: "press", val: "go" });
    await until("that it came too late", () => session.snapshot().message!.text === "late");
    assert.equal(session.snapshot().message!.tone, "bad");
    assert.equal(changes, 3);
    leave();
  });
  const sessions = new Set(agent.asked.slice(1).map(({ session }) => session));
  assert.equal(sessions.size, 1);
  assert.ok(sessions.has(agent.closed.at(-1)!));
});

Deno.test("what others do is seen without an input, and what was said before stays", async () => {
  await opened(async (session, agent) => {
    agent.calls = [{ refused: "closed", events: [] }];
    session.input({ tag: "press", val: "go" });
    await until("that it is closed", () => session.snapshot().message?.text === "closed");
    agent.shown = "theirs";
    await until("what the other wrote", () => session.snapshot().nodes[0]!.text === "theirs");
    assert.equal(session.snapshot().message!.text, "closed");
  }, 5);
});

Deno.test("an agent that fails is told of, and asked again", async () => {
  await opened(async (session, agent) => {
    agent.failure = new Error("no agent is running");
    session.input({ tag: "key", val: "x" });
    await until(
      "that no agent runs",
      () => session.snapshot().message?.text === "no agent is running",
    );
    agent.failure = undefined;
    agent.shown = "back";
    await until("the state again", () => session.snapshot().nodes[0]!.text === "back");
  }, 5);
});
