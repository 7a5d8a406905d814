/**
 * The app of one topic in a Worker of its own, as the agent sees it.
 *
 * @module
 */
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
  & { open(init: TopicAppInit): void };

/** An app that runs. */
export interface AppRunner {
  readonly app: Remote<AppFunctions>;
  /** Ends it; what was not answered fails. */
  close(): void;
}

// In the bundle of a compiled program the entry files stand beside this one, as JavaScript.
const WORKER = new URL(`./app_worker.${FROM_SOURCE ? "ts" : "js"}`, import.meta.url);

/** Starts the Worker; `failed` hears why it ended by itself. */
export function startApp(
  init: TopicAppInit,
  host: TopicAppHost,
  failed: (why: string) => void,
): AppRunner {
  const worker = spawn(WORKER, NOTHING);
  const { remote, close } = connect<AppFunctions>(worker, { ...host });
  const end = (why: string) => {
    close(new RealmError("failed", `Cannot run the app: its Worker ended: ${why}`));
    worker.terminate();
  };
  onFailure(worker, (why) => {
    end(why);
    failed(why);
  });
  remote.open(init).catch((error) => {
    end(String(error));
    failed(error instanceof Error ? error.message : String(error));
  });
  return { app: remote, close: () => end("it was stopped") };
}
