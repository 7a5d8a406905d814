/**
 * One machine of a simulated topic: its disk, its clock, its power switch, and on it the topic's log,
 * core and replay, which are the real ones.
 *
 * @module
 */
import { NO_STATES, StateShelf } from "../../../agent/apps/peering/topic_states.ts";
import type { TopicCore } from "../../../agent/apps/peering/topic_core.ts";
import type { Replay } from "../../../agent/apps/replay.ts";
import type { RewindLimits } from "../../../agent/apps/rewind_budget.ts";
import type { AppLog } from "../../../agent/apps/topic/app_log.ts";
import { NO_QUOTA } from "../../../agent/apps/topic/topic_quota.ts";
import { replayParts } from "../../../agent/apps/topic/app_replay.ts";
import { Standing } from "../../../agent/kernel/peering/standing.ts";
import type { SyncSigner } from "../../../agent/kernel/verify.ts";
import { type Player, player, verify } from "../cast.ts";
import { CrashingDisk, PowerCut } from "../crashing_store.ts";
import type { Endpoint } from "../network.ts";
import type { SeededRandom } from "../../../agent/kernel/seeded_random.ts";
import type { AppWorld } from "./world.ts";

/** Small, so that they are felt. */
export const REWIND_LIMITS: RewindLimits = {
  authorEventsMax: 150,
  authorEventsPerSecond: 60,
  eventsMax: 300,
  eventsPerSecond: 120,
};

/** Version of the machine that decides verdicts. */
export const ABI = 1;
/** True wall time at the start. */
const START_OF_TIME_MS = 1_800_000_000_000;

/** What somebody comes with. */
export interface Comer {
  readonly node: Player;
  readonly person: Player;
  readonly name: string;
  /** The key of an invite, and nodes that a ticket names. */
  readonly invite?: SyncSigner;
  readonly named?: readonly string[];
  /** Stores and serves, and applies nothing. */
  readonly isKeeper?: boolean;
  /** Whether the judge holds it to the rules. */
  readonly isHonest?: boolean;
}

/** One start of a machine, until the power goes. */
export interface AppRun {
  readonly log: AppLog;
  readonly core: TopicCore;
  readonly endpoint: Endpoint;
  replay: Replay | undefined;
  /** Events that were applied again, and the most of them that there was at once. */
  rewound: number;
  readonly startedMs: number;
  off(): void;
}

/** See the module. */
export class AppPeerNode {
  readonly disk = new CrashingDisk();
  readonly random: SeededRandom;
  readonly name: string;
  readonly isHonest: boolean;
  readonly isKeeper: boolean;
  /** Signs for the person, and tells the judge. */
  readonly person: SyncSigner;
  readonly personKey: string;
  readonly behavior: SyncSigner;
  readonly behaviorKey: string;
  run: AppRun | undefined;
  readonly #clockOffsetMs: number;
  #armedAtMs = Infinity;
  #armed = 0;
  #enter: (act: () => void) => void = () => {};

  constructor(readonly world: AppWorld, readonly comer: Comer) {
    const { name, person, isHonest = true, isKeeper = false } = comer;
    this.name = name;
    this.isHonest = isHonest;
    this.isKeeper = isKeeper;
    this.personKey = person.key;
    const heard = ({ publicKey, sign }: Player): SyncSigner => ({
      publicKey,
      sign: (message) => {
        world.judge.signed(message);
        return sign(message);
      },
    });
    const behavior = player(`behavior of ${person.key}`);
    this.person = heard(person);
    this.behavior = heard(behavior);
    this.behaviorKey = behavior.key;
    this.random = world.random.fork(`peer ${name}`);
    this.#clockOffsetMs = this.random.between(0, 1_000_000);
  }

  get key(): string {
    return this.comer.node.key;
  }

  nowMs(): number {
    return this.world.timeline.nowMs + this.#clockOffsetMs;
  }

  /** The power comes back. What was written is there, and nothing else. */
  start(make?: (store: ReturnType<CrashingDisk["open"]>) => AppLog): void {
    if (this.run !== undefined) return;
    this.world.note(this.name, "start");
    try {
      this.#start(make);
    } catch (error) {
      this.#caught(error);
    }
  }

  #start(make?: (store: ReturnType<CrashingDisk["open"]>) => AppLog): void {
    const { world, random } = this;
    const { node, invite, named = [] } = this.comer;
    const store = world.openStore(this.disk);
    const log = make?.(store) ??
      world.openLog({
        store,
        verify,
        topic: world.topic,
        quota: this.isHonest ? world.quota : NO_QUOTA,
      });
    let isChanged = true;
    const standing = new Standing();
    const states = this.isKeeper ? NO_STATES : StateShelf.of(() => {
      const { replay } = run;
      return replay?.isSettled ? { tree: replay.state.tree, abi: ABI } : undefined;
    });
    const core = world.makeCore({
      topic: world.topic,
      self: node.key,
      person: this.person,
      log,
      invite,
      isNew: log.topic === undefined,
      named,
      standing,
      ports: {
        send: (peer, frame) => {
          world.judge.sent(this, peer, frame);
          return world.network.send(endpoint, peer, frame);
        },
        cut: (peer, reason) => {
          world.note(this.name, `cuts ${world.nameOf(peer)}: ${reason}`);
          world.judge.cut(this, peer, reason);
          world.network.hangUp(endpoint, peer);
        },
        nowMs: () => this.nowMs(),
        wallMs: () => START_OF_TIME_MS + world.timeline.nowMs,
        notice: (line) => world.note(this.name, line),
        changed: () => isChanged = true,
        joined: () => {},
        learnt: () => {},
        addressesOf: () => [],
        secret: () => random.bytes(16),
        verify,
        random: () => random.fraction(),
        states,
      },
    });
    /** Every way into the core: afterwards what changed is applied and judged. */
    const enter = (act: () => void) => {
      if (this.run !== run) return;
      try {
        act();
        if (isChanged || this.#isDue(run)) {
          isChanged = false;
          this.#apply(run);
        }
        this.#arm(run);
      } catch (error) {
        return this.#caught(error);
      }
      world.judge.look(this, run);
    };
    const endpoint: Endpoint = {
      key: node.key,
      mayConnect: (peer) => !standing.isBanned(peer, this.nowMs()),
      connected: (peer, isDialler) => enter(() => core.connected(peer, isDialler)),
      disconnected: (peer) => enter(() => core.disconnected(peer)),
      received: (peer, frame) => enter(() => core.received(peer, frame)),
      sent: (peer) => enter(() => core.sent(peer)),
    };
    const run: AppRun = {
      log,
      core,
      endpoint,
      replay: undefined,
      rewound: 0,
      startedMs: world.timeline.nowMs,
      off: () => store.off(),
    };
    log.follow({
      added: (event) => run.replay?.added(event),
      judged: () => run.replay?.judged(),
    });
    this.run = run;
    this.#enter = enter;
    this.#armedAtMs = Infinity;
    world.judge.started(this, run);
    world.network.attach(endpoint);
    enter(() => core.tick());
  }

  /** Does something with the running core; false when the power went over it, or is off. */
  act(what: (run: AppRun) => void): boolean {
    const { run } = this;
    if (run === undefined) return false;
    let isDone = false;
    this.#enter(() => {
      what(run);
      isDone = true;
    });
    return isDone && this.run === run;
  }

  /** The power goes: what was not written is lost. */
  crash(why = "power cut"): void {
    const { run } = this;
    if (run === undefined) return;
    this.world.note(this.name, why);
    this.run = undefined;
    run.off();
    this.world.network.detach(run.endpoint);
  }

  #isDue({ replay }: AppRun): boolean {
    const dueMs = replay?.dueMs(this.nowMs());
    return dueMs !== undefined && dueMs <= this.nowMs();
  }

  #apply(run: AppRun): void {
    if (this.isKeeper || run.log.topic === undefined) return;
    run.replay ??= this.world.makeReplay(
      replayParts(run.log, { guestOf: () => this.world.guest })!,
    );
    const { rewound } = run.replay.update(this.nowMs());
    run.rewound += rewound;
    run.core.stateChanged();
  }

  /** Plans the next tick: when the core or events that wait want it. */
  #arm(run: AppRun): void {
    const nowMs = this.nowMs();
    const due = Math.min(run.core.dueMs(), run.replay?.dueMs(nowMs) ?? Infinity);
    const atMs = this.world.timeline.nowMs + Math.max(1, Math.ceil(due - nowMs));
    if (atMs >= this.#armedAtMs) return;
    this.#armedAtMs = atMs;
    const token = ++this.#armed;
    this.world.timeline.at(atMs, () => {
      if (token !== this.#armed || this.run !== run) return;
      this.#armedAtMs = Infinity;
      this.#enter(() => run.core.tick());
    });
  }

  #caught(error: unknown): void {
    if (!(error instanceof PowerCut)) throw error;
    if (this.run === undefined) this.world.note(this.name, error.message);
    else this.crash(error.message);
    this.world.timeline.after(this.random.between(100, 5_000), () => this.start());
  }
}
