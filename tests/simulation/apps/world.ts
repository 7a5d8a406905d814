/**
 * One simulated topic of an app: its peers, the network between them, the people behind them, and the
 * record of everything that happened. Two worlds of one seed have one history.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { TopicCore, type TopicCoreInit } from "../../../agent/apps/peering/topic_core.ts";
import { type Guest, Replay, type ReplayParts } from "../../../agent/apps/replay.ts";
import { AppLog, type AppLogInit } from "../../../agent/apps/topic/app_log.ts";
import type { TopicQuota } from "../../../agent/apps/topic/topic_quota.ts";
import { CID, cidOf } from "../../../agent/kernel/canonical.ts";
import { bytesOf } from "../../../agent/kernel/byte_string.ts";
import { player, verify } from "../cast.ts";
import type { CrashingDisk } from "../crashing_store.ts";
import { SimulatedNetwork } from "../network.ts";
import { SeededRandom } from "../../../agent/kernel/seeded_random.ts";
import { Timeline } from "../timeline.ts";
import { MemoryStore } from "../../../agent/store/memory_store.ts";
import { type AppName, APPS, creator, GUESTS } from "./guests.ts";
import { AppJudge } from "./judge.ts";
import { type AppPeerNode, REWIND_LIMITS } from "./peer.ts";
import type { AppKind } from "./scenario.ts";

/** What differs from the real thing: for tests that break a rule on purpose. */
export interface AppWorldOptions {
  readonly makeCore?: (init: TopicCoreInit) => TopicCore;
  readonly openLog?: (init: AppLogInit) => AppLog;
  readonly openStore?: (disk: CrashingDisk) => ReturnType<CrashingDisk["open"]>;
  readonly makeReplay?: (parts: ReplayParts) => Replay;
  readonly guest?: (real: Guest) => Guest;
  /** The kinds of trouble there are, in place of those that the seed picks. */
  readonly kinds?: readonly AppKind[];
  /** Sees a line for everything that happens. */
  readonly trace?: (line: string) => void;
}

/** See the module. */
export class AppWorld {
  readonly random: SeededRandom;
  readonly timeline = new Timeline();
  readonly network: SimulatedNetwork;
  readonly judge: AppJudge;
  readonly peers: AppPeerNode[] = [];
  readonly app: AppName;
  readonly guest: Guest;
  readonly topic: CID;
  /** The genesis, as the creator's disk has it from the start. */
  readonly founded: MemoryStore;
  /** What is final may change by these, and everything be applied again. */
  hasRevocations = false;
  hasForks = false;
  /** What honest peers store; `TOPIC_QUOTA` where nobody floods them. */
  quota: TopicQuota | undefined;
  /** Who wrote more than others store, once there is one. */
  flooder: AppPeerNode | undefined;
  frames = 0;
  readonly #byNode = new Map<string, AppPeerNode>();
  readonly #byPerson = new Map<string, AppPeerNode>();
  readonly #history = createHash("sha256");

  constructor(readonly seed: string, readonly options: AppWorldOptions = {}) {
    this.random = new SeededRandom(seed);
    this.network = new SimulatedNetwork(this.timeline, this.random.fork("network"));
    this.network.onDelivery = (from, to, frame) => {
      this.frames += 1;
      this.#history.update(`${this.timeline.nowMs} ${from} ${to}\n`).update(frame);
    };
    this.judge = new AppJudge(this);
    this.app = this.random.pick(APPS);
    this.guest = options.guest?.(GUESTS[this.app]) ?? GUESTS[this.app];
    this.founded = new MemoryStore();
    const bundle = cidOf(bytesOf(this.app));
    const log = AppLog.create(
      { store: this.founded, verify },
      { app: bundle, bundle, params: new Map(), isEncrypted: false, fork: undefined },
      {
        signer: {
          publicKey: creator.publicKey,
          sign: (message) => {
            this.judge.signed(message);
            return creator.sign(message);
          },
        },
        random: this.random,
      },
    );
    log.flush(0);
    this.topic = log.topicId;
    this.judge.invited.add(creator.key);
  }

  add(peer: AppPeerNode): void {
    this.peers.push(peer);
    this.#byNode.set(peer.key, peer);
    for (const key of [peer.personKey, peer.behaviorKey]) this.#byPerson.set(key, peer);
    this.judge.watch(peer);
  }

  peerOf(node: string): AppPeerNode | undefined {
    return this.#byNode.get(node);
  }

  /** Of a person, or of its behavior. */
  personOf(person: string): AppPeerNode | undefined {
    return this.#byPerson.get(person);
  }

  nameOf(node: string): string {
    return this.#byNode.get(node)?.name ?? node.slice(0, 16);
  }

  idOf(text: string): CID {
    return CID.parse(text);
  }

  makeCore(init: TopicCoreInit): TopicCore {
    return this.options.makeCore?.(init) ?? new TopicCore(init);
  }

  openLog(init: AppLogInit): AppLog {
    return this.options.openLog?.(init) ?? AppLog.open(init);
  }

  openStore(disk: CrashingDisk): ReturnType<CrashingDisk["open"]> {
    return this.options.openStore?.(disk) ?? disk.open();
  }

  makeReplay(parts: ReplayParts): Replay {
    const limited = { ...parts, rewindLimits: REWIND_LIMITS };
    return this.options.makeReplay?.(limited) ?? new Replay(limited);
  }

  /** Something happened that the trace shows. */
  note(who: string, what: string): void {
    this.#history.update(`${this.timeline.nowMs} ${who} ${what}\n`);
    this.options.trace?.(`${(this.timeline.nowMs / 1000).toFixed(3).padStart(9)} ${who} ${what}`);
  }

  /** Names everything that happened. Ends the record. */
  historyHash(): string {
    return this.#history.digest("hex");
  }
}

/** Somebody who was never invited. */
export const outsider = player("outsider of topics");
