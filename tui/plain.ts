/**
 * The dashboard as a conversation: lines that are typed, lines that answer, and lines that say what
 * changed meanwhile. Nothing is drawn over, so that a screen reader reads each line once.
 *
 * @module
 */
import { type Action, questionOf } from "./interaction.ts";
import {
  alarmTexts,
  changeLines,
  componentLines,
  linkTexts,
  logText,
  nodeLines,
  rolloutLines,
  summaryLines,
  topicLines,
} from "./plain_text.ts";
import { singleLine } from "./quantity.ts";
import { rowsAfter } from "./plain_log.ts";
import { type DashboardAgent, type LogRow, Session, type SessionOptions } from "./session.ts";
import type { Sample } from "./view_model.ts";
import { hasText } from "./views/view.ts";

/** What {@link talk} is given. */
export interface PlainOptions extends SessionOptions {
  readonly signal: AbortSignal;
  /** The next line; `null` at the end. */
  readonly readLine: () => Promise<string | null>;
  readonly print: (text: string) => void;
}

/** Changes are told so often, together. */
const TELL_MS = 1_000;
/** Lines of a log that are told at once. */
const LOG_LINES = 20;

const HELP = `status                     the realm in a few lines
nodes                      every node, how it fares and how far it is
links NODE                 how far a node is from the others
components                 every component
component NAME             one, with its replicas
log NAME [TEXT]            the last lines of its log, those that have TEXT in them
follow NAME, stop          its log as it comes
rollouts                   releases that are under way or went back
apps                       topics of apps, with digest and sync
secrets                    names of secrets, and who can open them
history                    manifests; plan VERSION: what going back to one would do
alarms                     what you should see to
restart NAME               restart its replicas, on every node
scale NAME N               set the number of its replicas; scale NAME manifest gives it back
drain NODE, undrain NODE   let a node run nothing, or its share again
look NODE                  look from another node
quiet, loud                say nothing, or all that changes
quit`.split("\n");

/** Talks until `quit`, the end of what is typed, or the signal. */
export async function talk(agent: DashboardAgent, options: PlainOptions): Promise<void> {
  const { clock, signal, readLine } = options;
  const session = new Session(agent, { pollMs: TELL_MS, ...options });
  const conversation = new Conversation(session, options);
  const leave = Promise.withResolvers<null>();
  signal.addEventListener("abort", () => leave.resolve(null), { once: true });
  if (signal.aborted) leave.resolve(null);
  try {
    await conversation.until(({ current }) => current !== undefined, leave.promise);
    conversation.begin();
    const telling = new AbortController();
    const told = (async () => {
      while (!telling.signal.aborted) {
        await clock.sleep(TELL_MS, telling.signal).catch(() => {}); // rejects when it ends
        if (!telling.signal.aborted) conversation.tell();
      }
    })();
    while (true) {
      const line = await Promise.race([readLine(), leave.promise]);
      if (line === null || !await conversation.hear(line)) break;
    }
    telling.abort();
    await told;
  } finally {
    await session.close();
  }
}

class Conversation {
  readonly #session: Session;
  readonly #options: PlainOptions;
  #told;
  #isQuiet = false;
  /** Waits for a yes. */
  #action: Action | undefined;
  /** The lines of the log that is followed, as they were when they were told. */
  #followed: { readonly component: string; told: readonly LogRow[] } | undefined;

  constructor(session: Session, options: PlainOptions) {
    this.#session = session;
    this.#options = options;
    this.#told = session.snapshot();
  }

  /** Resolves when a snapshot is as wanted, or with the second promise. */
  async until(
    holds: (snapshot: ReturnType<Session["snapshot"]>) => boolean,
    end?: Promise<unknown>,
  ): Promise<void> {
    const done = Promise.withResolvers<void>();
    const look = () => {
      if (holds(this.#session.snapshot())) done.resolve();
    };
    const leave = this.#session.subscribe(look);
    look();
    await Promise.race([done.promise, ...end === undefined ? [] : [end]]);
    leave();
  }

  /** Says where one is. */
  begin(): void {
    this.#told = this.#session.snapshot();
    if (this.#told.current === undefined) return;
    this.#say(summaryLines(this.#told.current.status));
    this.#say(["type help for what you can ask, quit to leave"]);
  }

  /** Says what changed since the last time, and the lines of the log that is followed. */
  tell(): void {
    const now = this.#session.snapshot();
    const lines = changeLines(this.#told, now, this.#options.clock.wallMs());
    if (now.current !== undefined || now.link.kind === "reconnecting") this.#told = now;
    if (!this.#isQuiet) this.#say(lines);
    const followed = this.#followed;
    if (followed === undefined || now.logs.component !== followed.component) return;
    const { rows } = now.logs;
    const fresh = rowsAfter(followed.told, rows);
    if (fresh.length > 0) followed.told = rows;
    if (fresh.length > LOG_LINES) this.#say([`${fresh.length - LOG_LINES} lines are left out`]);
    this.#say(fresh.slice(-LOG_LINES).map(logText));
  }

  /** Answers a line; resolves with whether there may be another. */
  async hear(line: string): Promise<boolean> {
    const [verb = "", ...rest] = line.trim().split(/\s+/);
    const { current, previous } = this.#session.snapshot();
    const action = this.#action;
    this.#action = undefined;
    if (action !== undefined) {
      if (/^y(es)?$/i.test(verb)) this.#say([await this.#do(action)]);
      else this.#say(["nothing was done"]);
      return true;
    }
    if (verb === "quit" || verb === "q" || verb === "exit") return false;
    if (verb === "") return true;
    if (verb === "help" || verb === "?") this.#say(HELP);
    else if (current === undefined) this.#say(["nothing is known yet"]);
    else await this.#answer(verb.toLowerCase(), rest, current, previous);
    return true;
  }

  async #answer(
    verb: string,
    [name = "", ...rest]: readonly string[],
    current: Sample,
    previous: Sample | undefined,
  ): Promise<void> {
    const { status } = current;
    const nowMs = this.#options.clock.wallMs();
    const isComponent = status.components.some((each) => each.name === name);
    const node = status.nodes.find((each) => each.name === name);
    switch (verb) {
      case "status":
        return this.#say(summaryLines(status));
      case "nodes":
        return this.#say(nodeLines(status, nowMs));
      case "components":
        return this.#say(componentLines(current, previous, nowMs));
      case "rollouts":
        return this.#say(rolloutLines(status));
      case "apps":
        return this.#say(topicLines(status));
      case "alarms":
        return this.#say(alarmTexts(status));
      case "quiet":
      case "loud":
        this.#isQuiet = verb === "quiet";
        return this.#say([this.#isQuiet ? "changes are not told" : "changes are told"]);
      case "stop":
        this.#followed = undefined;
        return this.#say(["no log is followed"]);
      case "secrets":
      case "history":
        return await this.#list(verb);
      case "plan":
        return await this.#plan(Number(name));
    }
    if (["links", "drain", "undrain", "look"].includes(verb)) {
      if (node === undefined) return this.#say([`no node ${name}: type nodes`]);
      if (verb === "links") return this.#say(linkTexts(status, name) ?? []);
      if (verb === "look") return await this.#look(node);
      return this.#confirm({ kind: "drain", node: name, drained: verb === "drain" });
    }
    if (!["component", "log", "follow", "restart", "scale"].includes(verb)) {
      return this.#say([`${verb} means nothing: type help`]);
    }
    if (!isComponent) return this.#say([`no component ${name}: type components`]);
    if (verb === "component") return this.#say(componentLines(current, previous, nowMs, name));
    if (verb === "restart") return this.#confirm({ kind: "restart", component: name });
    if (verb === "log") return await this.#log(name, rest.join(" "));
    if (verb === "follow") {
      this.#followed = { component: name, told: [] };
      this.#session.follow(name);
      return this.#say([`the log of ${name} follows; type stop to end it`]);
    }
    const [count = ""] = rest;
    if (!/^(\d{1,4}|manifest)$/.test(count)) {
      return this.#say([`how many? scale ${name} 2, or scale ${name} manifest`]);
    }
    const replicas = count === "manifest" ? null : Number(count);
    this.#confirm({ kind: "scale", component: name, replicas });
  }

  #confirm(action: Action): void {
    this.#action = action;
    this.#say([`${questionOf(action)} Type yes.`]);
  }

  async #do(action: Action): Promise<string> {
    if (action.kind === "restart") return await this.#session.restart(action.component);
    if (action.kind === "drain") return await this.#session.drain(action.node, action.drained);
    return await this.#session.scale(action.component, action.replicas);
  }

  async #look(node: { readonly key: string; readonly name: string }): Promise<void> {
    this.#say([await this.#session.ask(node)]);
    await this.until(({ current, link }) => current !== undefined || link.kind === "reconnecting");
    this.begin();
  }

  async #log(component: string, text: string): Promise<void> {
    this.#session.follow(component);
    // What is there comes at once; a log without lines says nothing.
    const waiting = new AbortController();
    await this.until(
      ({ logs }) => logs.component === component && logs.rows.length > 0,
      this.#options.clock.sleep(TELL_MS, waiting.signal).catch(() => {}), // rejects when it ends
    );
    waiting.abort();
    const rows = this.#session.snapshot().logs.rows.filter((row) => hasText(logText(row), text));
    this.#say(rows.length === 0 ? ["no lines"] : rows.slice(-LOG_LINES).map(logText));
  }

  async #list(kind: "secrets" | "history"): Promise<void> {
    this.#session.want(undefined);
    this.#session.want({ kind });
    const before = this.#session.snapshot()[kind];
    await this.until((snapshot) => snapshot[kind] !== before);
    const { secrets, history } = this.#session.snapshot();
    this.#session.want(undefined);
    const { problem } = kind === "secrets" ? secrets : history;
    if (problem !== undefined) return this.#say([problem]);
    const lines = kind === "secrets"
      ? (secrets.value ?? []).map(({ name, state, nodes }) =>
        `${name}: ${state}, sealed to ${nodes.join(" ") || "the owner alone"}`
      )
      : (history.value ?? []).map(({ version, state, author }) =>
        `version ${version}: ${state === "in-force" ? "in force" : state}, signed by ${author}`
      );
    this.#say(lines.length === 0 ? ["none"] : lines);
  }

  async #plan(version: number): Promise<void> {
    if (!Number.isSafeInteger(version) || version < 1) {
      return this.#say(["which version? type history, then plan VERSION"]);
    }
    this.#session.want(undefined);
    this.#session.want({ kind: "plan", version });
    await this.until(({ plan }) =>
      plan?.version === version && (plan.lines ?? plan.problem) !== undefined
    );
    const { plan } = this.#session.snapshot();
    this.#session.want(undefined);
    this.#say(plan?.lines ?? [plan?.problem ?? ""]);
  }

  #say(lines: readonly string[]): void {
    if (lines.length > 0) {
      this.#options.print(lines.map((line) => `${singleLine(line)}\n`).join(""));
    }
  }
}
