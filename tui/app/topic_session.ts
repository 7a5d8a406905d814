/**
 * The user interface of an app in a topic, as the agent of this machine draws it: asks again when the
 * person did something, and now and then, since others do things too.
 *
 * @module
 */
import type { ControlClient } from "../../agent/control/client.ts";
import type { Clock } from "../../agent/kernel/ports.ts";
import type { AppSession, AppSnapshot } from "./app_screen.tsx";
import type { ViewInput } from "./focus.ts";

/** What a session asks of an agent. */
export type ViewAgent = Pick<ControlClient["apps"], "view" | "closeView">;

type ViewAnswer = Awaited<ReturnType<ViewAgent["view"]>>;

export interface TopicSessionOptions {
  readonly agent: ViewAgent;
  readonly topic: string;
  readonly clock: Clock;
  /** What stands above. */
  readonly title: string;
  /** Between two looks at what others did. */
  readonly lookMs?: number;
}

/** Inputs that wait for their turn; of more the last are dropped. */
const INPUTS_MAX = 16;

/** See the module. */
export class TopicSession implements AppSession {
  readonly #options: TopicSessionOptions;
  /** Of the user interface, at the agent. */
  readonly #name: ReturnType<typeof crypto.randomUUID>;
  readonly #listeners = new Set<() => void>();
  readonly #end = new AbortController();
  #snapshot: AppSnapshot;
  #asked: Promise<void> = Promise.resolve();
  #waiting = 0;
  #looking: Promise<void> | undefined;

  private constructor(
    options: TopicSessionOptions,
    name: ReturnType<typeof crypto.randomUUID>,
    first: ViewAnswer,
  ) {
    this.#options = options;
    this.#name = name;
    this.#snapshot = { title: options.title, nodes: first.nodes };
  }

  /** Opens the user interface. Throws what the agent says where there is none. */
  static async open(options: TopicSessionOptions): Promise<TopicSession> {
    const { agent, topic } = options;
    const name = crypto.randomUUID();
    const first = await agent.view({ topic, session: name });
    const session = new TopicSession(options, name, first);
    session.#looking = session.#look();
    return session;
  }

  snapshot = (): AppSnapshot => this.#snapshot;

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  input(input: ViewInput): void {
    if (this.#waiting < INPUTS_MAX) void this.#ask(input);
  }

  /** Resolves when everything that was asked is answered and the view is closed. */
  async close(): Promise<void> {
    this.#end.abort();
    await this.#looking;
    await this.#asked;
    await this.#options.agent.closeView({ session: this.#name }).catch(() => {});
  }

  async #look(): Promise<void> {
    const { clock, lookMs = 500 } = this.#options;
    while (!this.#end.signal.aborted) {
      // Rejects when it is closed.
      await clock.sleep(lookMs, this.#end.signal).catch(() => {});
      if (!this.#end.signal.aborted && this.#waiting === 0) await this.#ask(undefined);
    }
  }

  /** One question after another: each is about what the one before has shown. */
  #ask(input: ViewInput | undefined): Promise<void> {
    this.#waiting++;
    return this.#asked = this.#asked.then(async () => {
      const { agent, topic } = this.#options;
      try {
        const asked = { topic, session: this.#name, ...(input === undefined ? {} : { input }) };
        const { nodes, calls } = await agent.view(asked);
        this.#show({ nodes, ...messageOf(calls, input !== undefined) });
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error);
        this.#show({ message: { text, tone: "bad" } });
      } finally {
        this.#waiting--;
      }
    });
  }

  #show(changes: Partial<AppSnapshot>): void {
    const next = { ...this.#snapshot, ...changes };
    if (JSON.stringify(next) === JSON.stringify(this.#snapshot)) return;
    this.#snapshot = next;
    for (const listener of this.#listeners) listener();
  }
}

/** What came of what the person did; what they were told before stays while they do nothing. */
function messageOf(
  calls: ViewAnswer["calls"],
  hasActed: boolean,
): Pick<AppSnapshot, "message"> | undefined {
  if (!hasActed) return undefined;
  const refused = calls.find((each) => each.refused !== null)?.refused;
  if (refused !== undefined && refused !== null) return { message: { text: refused, tone: "bad" } };
  const events = calls.flatMap((each) => each.events);
  const bad = events.find(({ verdict }) => verdict !== "accepted");
  if (bad !== undefined) {
    return { message: { text: bad.reason ?? bad.verdict, tone: "bad" } };
  }
  if (events.length === 0) return { message: { text: "", tone: "dim" } };
  const isFinal = events.every(({ final }) => final);
  return { message: { text: isFinal ? "done" : "done (not final yet)", tone: "good" } };
}
