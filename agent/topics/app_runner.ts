/**
 * The app of one topic in a Worker of its own, as the agent sees it.
 *
 * @module
 */
import type { HandedLogInit } from "../apps/arbiter/handed_log.ts";
import { connect, type Remote } from "../apps/arbiter/rpc.ts";
import type { TopicApp } from "../apps/arbiter/topic_app.ts";
import type { TopicAppHost, TopicAppInit } from "../apps/arbiter/topic_app_port.ts";
import { RealmError } from "../kernel/error.ts";
import { FROM_SOURCE, NOTHING, onFailure, spawn } from "../runtime/spawn.ts";

/** What of a {@link TopicApp} may be called from outside its Worker. */
export const APP_CALLS = [
  "add",
  "addBundle",
  "setGrants",
  "propose",
  "dryRun",
  "dryUpgrade",
  "outcomes",
  "entries",
  "digest",
  "fork",
  "answerDrift",
  "stepDrift",
  "ordered",
  "snapshot",
  "verify",
  "view",
  "closeView",
  "close",
] as const satisfies readonly (keyof TopicApp)[];

/** The functions of the Worker. */
export type AppFunctions =
  & Pick<TopicApp, typeof APP_CALLS[number]>
  & {
    /** From now on it takes events of a topic, of which the app may be opened later. */
    begin(init: HandedLogInit): void;
    open(init: TopicAppInit): void;
  };

/** What an app does not work with before it is opened. */
const OPENED_ONLY: TopicAppHost = {
  progress() {},
  behaviorEvent: () => Promise.reject(new Error("the app was not opened")),
  request: () => Promise.reject(new Error("the app was not opened")),
  log() {},
};

// In the bundle of a compiled program the entry files stand beside this one, as JavaScript.
const WORKER = new URL(`./app_worker.${FROM_SOURCE ? "ts" : "js"}`, import.meta.url);

/** The Worker of an app: it takes the events of its topic at once, and runs the app once that is opened. */
export class AppRunner {
  readonly app: Remote<AppFunctions>;
  readonly #worker: Worker;
  readonly #disconnect: (reason: RealmError) => void;
  #host = OPENED_ONLY;
  #failed: (why: string) => void = () => {};
  #hasEnded = false;

  constructor(init: HandedLogInit) {
    this.#worker = spawn(WORKER, NOTHING);
    const { remote, close } = connect<AppFunctions>(
      this.#worker,
      {
        progress: (progress) => this.#host.progress(progress),
        behaviorEvent: (kind, payload) => this.#host.behaviorEvent(kind, payload),
        request: (request) => this.#host.request(request),
        log: (profile, level, message) => this.#host.log(profile, level, message),
      } satisfies TopicAppHost,
    );
    this.app = remote;
    this.#disconnect = close;
    onFailure(this.#worker, (why) => this.#fail(why));
    remote.begin(init).catch((error) => this.#fail(messageOf(error)));
  }

  /** Whether it ended, by itself or not. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Opens the app, with what came so far; `failed` hears why it ended by itself. */
  open(init: TopicAppInit, host: TopicAppHost, failed: (why: string) => void): void {
    this.#host = host;
    this.#failed = failed;
    this.app.open(init).catch((error) => this.#fail(messageOf(error)));
  }

  /** Ends it; what was not answered fails. */
  close(): void {
    this.#end("it was stopped");
  }

  #end(why: string): void {
    this.#hasEnded = true;
    this.#disconnect(new RealmError("failed", `Cannot run the app: its Worker ended: ${why}`));
    this.#worker.terminate();
  }

  #fail(why: string): void {
    if (this.#hasEnded) return;
    this.#end(why);
    this.#failed(why);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
