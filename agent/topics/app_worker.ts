/**
 * The Worker in which the app of one topic lives: `apps/arbiter/topic_app.ts`, with what the platform
 * does for it. It has no permission.
 *
 * @module
 */
import { HandedLog, type HandedLogInit } from "../apps/arbiter/handed_log.ts";
import { connect, type Port } from "../apps/arbiter/rpc.ts";
import { TopicApp } from "../apps/arbiter/topic_app.ts";
import type { TopicAppHost, TopicAppInit } from "../apps/arbiter/topic_app_port.ts";
import { APP_CALLS, type AppFunctions } from "./app_runner.ts";
import { nodeBackend } from "../node/crypto_node.ts";
import type { EventBatch } from "../kernel/event_batch.ts";
import { verifierOf } from "../kernel/verify.ts";

let handed: HandedLog | undefined;
let opened: TopicApp | undefined;
const app = () => {
  if (opened === undefined) throw new Error("the app of the topic was not opened");
  return opened;
};

const functions = Object.fromEntries(
  APP_CALLS.map((name) => [name, (...args: never[]) => (app()[name] as Call)(...args)]),
);
type Call = (...args: unknown[]) => unknown;

const { remote } = connect<TopicAppHost>(
  globalThis as unknown as Port,
  {
    ...functions,
    begin(init: HandedLogInit): void {
      handed = new HandedLog(init);
    },
    add(batch: EventBatch): void {
      if (opened === undefined && handed !== undefined) handed.take(batch);
      else app().add(batch);
    },
    open(init: TopicAppInit): void {
      opened = new TopicApp(init, host, {
        verify: verifierOf(nodeBackend()),
        nowMs: () => Date.now(),
        random: (length) => crypto.getRandomValues(new Uint8Array(length)),
        later(ms, act) {
          const timer = setTimeout(act, ms);
          return () => clearTimeout(timer);
        },
      }, handed);
    },
  } satisfies {
    readonly [K in Exclude<keyof AppFunctions, typeof APP_CALLS[number]> | "add"]: unknown;
  },
);

const host: TopicAppHost = {
  progress: (progress) => void remote.progress(progress),
  behaviorEvent: (kind, payload) => remote.behaviorEvent(kind, payload),
  request: (request) => remote.request(request),
  log: (profile, level, message) => void remote.log(profile, level, message),
};
