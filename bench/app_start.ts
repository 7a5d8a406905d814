/**
 * What the agent does at its start with the stored events of a topic (`apps_host.ts`): opens the log,
 * hands its events to the app in its Worker meanwhile, and is told the digest when all are applied.
 *
 * @module
 */
import type { TopicProgress } from "../agent/apps/arbiter/topic_app_port.ts";
import { AppLog } from "../agent/apps/topic/app_log.ts";
import type { CID } from "../agent/kernel/canonical.ts";
import { SqliteStore } from "../agent/store/sqlite_store.ts";
import { AppFeed, openHandingOn } from "../agent/topics/app_feed.ts";
import { AppRunner } from "../agent/topics/app_runner.ts";
import { bundle, componentOfApp, verify } from "./apps.ts";

/** The digest of the topic in a file, applied without a snapshot to go on from. */
export async function startTopic(file: string, topic: CID): Promise<string> {
  const component = await componentOfApp();
  const store = new SqliteStore(file);
  const opening = AppLog.opening({ store, verify, topic });
  const { log } = opening;
  const init = { topic: topic.toString(), openers: [] };
  let runner: AppRunner | undefined;
  const handed = await openHandingOn(opening, () => {
    const { app } = runner = new AppRunner(init);
    return (events) => app.add(events);
  });
  const { app } = runner ??= new AppRunner(init);
  const settled = Promise.withResolvers<string>();
  const progressed = ({ settled: isSettled, received, digest }: TopicProgress) => {
    if (isSettled && received === feed.handed) settled.resolve(digest!.toHex());
  };
  runner.open(
    {
      ...init,
      person: log.topic!.genesis.author,
      behavior: undefined,
      grants: [],
    },
    {
      progress: progressed,
      behaviorEvent: () => Promise.reject(new Error("there is no behavior")),
      request: () => Promise.reject(new Error("there is no network")),
      log() {},
    },
    (why) => settled.reject(new Error(`the Worker ended: ${why}`)),
  );
  const feed = new AppFeed({ log, take: (events) => app.add(events), handed, failed() {} });
  try {
    await feed.start();
    const components = { "state-apply": component };
    // The bundle comes last, as in `app_topic.ts`: a snapshot is gone on from when its events are here.
    await app.addBundle({ id: bundle.toString(), abi: 1, components });
    return await settled.promise;
  } finally {
    feed.close();
    runner.close();
    store.close();
  }
}
