/**
 * The app of one topic on this machine: its events applied, and its components run.
 *
 * Lives in a Worker of its own, so that what a component does there holds up nobody else. Events come
 * in as the agent has taken them, in any order that has parents first; what a component proposes goes
 * out to the agent, which alone has keys, store and network. What comes in was checked by the agent.
 *
 * A bundle's components are taken when they come; until the one that applies the events is here, and
 * what it asks for was granted, nothing is applied.
 *
 * @module
 */
import { CID } from "../../kernel/canonical.ts";
import { RealmError } from "../../kernel/error.ts";
import { decodeSigned } from "../../kernel/event.ts";
import type { TopicEvent } from "../../kernel/topic.ts";
import type { VerifySync } from "../../kernel/verify.ts";
import type { Profile } from "../contracts.ts";
import { AppGuest, type GuestCode, guestCode } from "../guest/app_guest.ts";
import type { AppliedEvent, AppSetting } from "../guest/host_imports.ts";
import { type Outcome, StateApply } from "../guest/state_apply.ts";
import {
  type DriftAnswer,
  type DriftAsked,
  type DriftStep,
  StateShelf,
} from "../peering/topic_states.ts";
import { Replay, type ReplayParts, type Resume } from "../replay.ts";
import type { DriftQuestion } from "../state_digest.ts";
import type { State } from "../state.ts";
import { isKernelType } from "../topic/app_event.ts";
import { AppLog } from "../topic/app_log.ts";
import {
  appliedEvent,
  type AppReplayInit,
  checkpointProblem,
  replayParts,
} from "../topic/app_replay.ts";
import type { Opener } from "../topic/payload_keys.ts";
import { NOWHERE } from "./namespace.ts";
import { forkAt } from "../topic/past_state.ts";
import {
  baseSnapshot,
  resumeFrom,
  stateOf,
  takeSnapshot,
  type TopicSnapshot,
} from "../topic/topic_snapshot.ts";
import { BehaviorRunner } from "./behavior_runner.ts";
import {
  type FetchFailure,
  type GuestRequest,
  type GuestResponse,
  hostOf,
  type Result,
  type Surroundings,
} from "./guest_host.ts";
import { type ViewInput, type ViewIntent, type ViewNode, Views } from "./views.ts";

/** A bundle whose components were checked. */
export interface BundleCode {
  /** CID. */
  readonly id: string;
  readonly abi: number;
  readonly components: Readonly<Partial<Record<Profile, Uint8Array>>>;
}

/** What a {@link TopicApp} begins with; it can be cloned. */
export interface TopicAppInit {
  /** CID of the topic. */
  readonly topic: string;
  /** The person's public key, and that of the behavior where it is to run. */
  readonly person: Uint8Array;
  readonly behavior: Uint8Array | undefined;
  /** What payload keys are opened with. */
  readonly openers: readonly Opener[];
  /** What the person granted: `clock`, `network=https://example.com`. */
  readonly grants: readonly string[];
  /** What it had come to before; checked, after a moment, by applying everything again. */
  readonly snapshot?: TopicSnapshot;
  /** The state that a fork begins with. */
  readonly base?: TopicSnapshot;
}

/** How far it is. */
export interface TopicProgress {
  /** Events of the order that were applied. */
  readonly applied: number;
  /** Events that were handed to it. */
  readonly received: number;
  /** Whether everything that counts of those was applied. */
  readonly settled: boolean;
  /** Of the state; undefined before anything can be applied. */
  readonly digest: Uint8Array | undefined;
  readonly abi: number;
  /** The bundle that the events at the end are applied by. */
  readonly bundle: string | undefined;
  /** What is needed to go on and is not here: a bundle by its CID, or the payload key of an epoch. */
  readonly needs: { readonly kind: "bundle" | "key"; readonly name: string } | undefined;
  /** Why nothing is applied any more: the host failed. */
  readonly illness: string | undefined;
  /** What a checkpoint says that is not so here. */
  readonly checkpoint: string | undefined;
  /** Why the behavior does not run, where it should. */
  readonly behavior: string | undefined;
}

/** What the agent does for it. */
export interface TopicAppHost {
  progress(progress: TopicProgress): void;
  /** Signs by the behavior's key and appends. */
  behaviorEvent(kind: Uint8Array, payload: Uint8Array): Promise<Result<Uint8Array, Uint8Array>>;
  request(request: GuestRequest): Promise<Result<GuestResponse, FetchFailure>>;
  log(profile: Profile, level: number, message: Uint8Array): void;
}

/** What the platform does for it. */
export interface TopicAppPlatform {
  readonly verify: VerifySync;
  nowMs(): number;
  random(length: number): Uint8Array;
  /** Calls after a time; what it returns takes that back. */
  later(ms: number, act: () => void): () => void;
}

/** What became of an event. */
export interface EventOutcome {
  /** CID. */
  readonly event: string;
  readonly verdict: "accepted" | "rejected" | "trapped" | "out-of-fuel" | "pending" | "none";
  /** UTF-8 where it is the app's. */
  readonly reason: string | undefined;
  readonly fuel: number | undefined;
  readonly isFinal: boolean;
}

/** An event of the order. */
export interface OrderedEvent extends EventOutcome {
  readonly type: string;
  readonly author: Uint8Array;
  readonly seq: number;
  readonly lamport: number;
  readonly parents: readonly string[];
  /** As the app sees it. */
  readonly payload: Uint8Array | undefined;
}

/** An event that somebody wants to write. */
export interface Proposal {
  readonly kind: Uint8Array;
  readonly payload: Uint8Array;
}

/** Units of fuel for one call of a component for a person. */
const CALL_FUEL = 100_000_000;
/** An event that is not made yet has no name. */
const NO_ID = new Uint8Array(32);
const ABI = 1;
/** What is applied again in the background: events at a time, the pause between, and the first one. */
const RECALLED_AT_ONCE = 64;
const RECALL_PAUSE_MS = 20;
const RECALL_AFTER_MS = 2_000;

/** See the module. */
export class TopicApp {
  readonly #init: TopicAppInit;
  readonly #host: TopicAppHost;
  readonly #platform: TopicAppPlatform;
  readonly #log: AppLog;
  readonly #bundles = new Map<string, BundleCode>();
  /** What applies the events of each. */
  readonly #guests = new Map<string, StateApply>();
  readonly #codes = new Map<string, Promise<GuestCode>>();
  readonly #views: Views;
  readonly #shelf = new StateShelf();
  #grants: ReadonlySet<string>;
  #replay: Replay | undefined;
  #parts: ReplayParts | undefined;
  #behavior: BehaviorRunner | undefined;
  /** The bundle that it is of; undefined where it is to be started. */
  #behaviorOf: BundleCode | undefined;
  #bundleBefore: BundleCode | undefined;
  #behaviorProblem: string | undefined;
  #received = 0;
  /** Events that came since the last update. */
  #fresh: TopicEvent[] = [];
  #cancelUpdate: (() => void) | undefined;
  #unfollow: (() => void) | undefined;
  #baseState: State | undefined;
  /** The checkpoint that was compared last, and what is wrong with it. */
  #compared:
    | { readonly event: string | undefined; readonly problem: string | undefined }
    | undefined;
  #isClosed = false;
  /** One change of components after another. */
  #changing: Promise<void> = Promise.resolve();

  constructor(init: TopicAppInit, host: TopicAppHost, platform: TopicAppPlatform) {
    this.#init = init;
    this.#host = host;
    this.#platform = platform;
    this.#grants = new Set(init.grants);
    this.#views = new Views(() => this.#guest("interaction"));
    this.#log = AppLog.open({
      // The agent stores; here events are in memory.
      store: NOWHERE,
      // The agent has verified what it hands on.
      verify: () => true,
      topic: CID.parse(init.topic),
      openers: init.openers,
    });
  }

  /** Takes signed events, encoded, parents first; they are applied in a moment. */
  add(events: readonly Uint8Array[]): void {
    const { accepted, refused } = this.#log.offer(events.map(decodeSigned));
    // Who has no say now may have one later: such an event is set aside.
    const problem = refused.find(({ code }) => code === "corrupt")?.problem;
    if (problem !== undefined) throw new Error(`an event was refused: ${problem}`);
    this.#received += events.length;
    const { topic } = this.#log;
    for (const { id } of accepted) this.#fresh.push(topic!.get(id)!);
    if (this.#replay === undefined) void this.changed();
    else this.#soon(0);
  }

  /** Takes a bundle, verified. */
  async addBundle(bundle: BundleCode): Promise<void> {
    this.#bundles.set(bundle.id, bundle);
    await this.changed();
  }

  /** What the person grants from now on. */
  async setGrants(grants: readonly string[]): Promise<void> {
    this.#grants = new Set(grants);
    this.#behaviorOf = undefined;
    await this.changed();
  }

  /** Starts what can be started now. */
  changed(): Promise<void> {
    return this.#changing = this.#changing.then(async () => {
      if (this.#isClosed) return;
      await this.#startReplay();
      this.#update();
      await this.#startBehavior();
      this.#tell();
    });
  }

  async #startReplay(): Promise<void> {
    if (this.#log.topic === undefined) return;
    for (const [id, { components }] of this.#bundles) {
      const component = components["state-apply"];
      if (component === undefined || this.#guests.has(id)) continue;
      this.#guests.set(
        id,
        await StateApply.load(component, this.#setting(), this.#platform.verify),
      );
    }
    if (this.#replay !== undefined) return;
    if (this.#log.view!.fork !== undefined && this.#base === undefined) return;
    this.#parts = replayParts(this.#log, this.#reading());
    if (this.#parts === undefined) return;
    this.#begin(this.#parts, this.#resume());
  }

  /** What events are read by. */
  #reading(): AppReplayInit {
    const state = this.#base;
    return { guestOf: (bundle) => this.#guests.get(bundle), ...state && { state } };
  }

  /** The state that a fork begins with, if it is the one that the genesis says. */
  get #base(): State | undefined {
    const { base } = this.#init;
    const fork = this.#log.view?.fork;
    if (fork === undefined || base === undefined) return undefined;
    return this.#baseState ??= stateOf({
      ...base,
      record: { ...base.record, digest: fork.digest },
    });
  }

  /** What a fork of the topic at an event is made of: the state of that event and its past alone. */
  fork(at: string): { bundle: string; base: TopicSnapshot } {
    const { past, genesis } = forkAt(this.#log, this.#event(at), ABI, this.#reading());
    return { bundle: past.bundle, base: baseSnapshot(past, genesis.fork!, ABI) };
  }

  #resume(): Resume | undefined {
    const { snapshot } = this.#init;
    try {
      return snapshot && resumeFrom(snapshot, (bundle) => this.#guests.get(bundle));
    } catch (error) {
      if (error instanceof RealmError) return undefined; // it is damaged
      throw error;
    }
  }

  #begin(parts: ReplayParts, resume: Resume | undefined): void {
    const replay = new Replay(resume === undefined ? parts : { ...parts, resume });
    this.#unfollow?.();
    this.#replay = replay;
    this.#unfollow = this.#log.follow(replay);
    replay.update(this.#platform.nowMs());
    if (replay.skipped === 0) return;
    // Nobody waits for what becomes of these.
    const skipped = new Set(replay.log.slice(0, replay.skipped));
    this.#fresh = this.#fresh.filter((event) => !skipped.has(event));
    this.#recall(replay, parts);
  }

  /** Applies what the snapshot stands for, a little at a time; without it where it is wrong. */
  #recall(replay: Replay, parts: ReplayParts): void {
    const steps = replay.recall(ABI);
    const go = () => {
      if (this.#isClosed || this.#replay !== replay) return;
      for (let i = 0; i < RECALLED_AT_ONCE; i++) {
        const step = steps.next();
        if (step.done !== true) continue;
        if (!step.value) this.#begin(parts, undefined);
        return this.#tell();
      }
      this.#platform.later(RECALL_PAUSE_MS, go);
    };
    this.#platform.later(RECALL_AFTER_MS, go);
  }

  /** What it has come to, to go on from; undefined while it is not settled, or nothing to build on. */
  snapshot(known: readonly string[]): TopicSnapshot | undefined {
    const replay = this.#replay;
    if (replay === undefined || !replay.isSettled || replay.skipped > 0) return undefined;
    return takeSnapshot(this.#log.topic!, replay, ABI, new Set(known));
  }

  async #startBehavior(): Promise<void> {
    const key = this.#init.behavior;
    const bundle = this.#bundle;
    if (key === undefined || this.#behaviorOf === bundle) return;
    this.#behavior?.stop();
    this.#behavior = undefined;
    this.#behaviorOf = bundle;
    this.#behaviorProblem = undefined;
    let code: GuestCode | undefined;
    try {
      code = await this.#code("behavior");
    } catch (error) {
      this.#behaviorProblem = messageOf(error);
    }
    if (code === undefined) return;
    const host = this.#host;
    this.#behavior = new BehaviorRunner({
      code,
      around: {
        ...this.#around("behavior", key),
        propose: (kind, payload) => host.behaviorEvent(kind, payload),
        request: (request) => host.request(request),
      },
      nowMs: () => this.#platform.nowMs(),
      later: (ms, act) => this.#platform.later(ms, act),
      failed: (problem) => {
        this.#behaviorProblem = problem;
        this.#tell();
      },
    });
  }

  #setting(): AppSetting {
    const { topic, view } = this.#log;
    return { creator: topic!.genesis.author, params: view!.params };
  }

  #around(profile: Profile, key: Uint8Array): Surroundings {
    return {
      setting: this.#setting(),
      verify: this.#platform.verify,
      key,
      state: () => this.#state,
      isGranted: (name) => this.#grants.has(name),
      log: (level, message) => this.#host.log(profile, level, message),
      nowMs: () => this.#platform.nowMs(),
      random: (length) => this.#platform.random(length),
    };
  }

  get #state(): State {
    return this.#running().state;
  }

  /** The bundle that is in force after what was applied. */
  get #bundle(): BundleCode | undefined {
    return this.#replay && this.#bundles.get(this.#replay.bundle);
  }

  #running(): Replay {
    if (this.#replay !== undefined) return this.#replay;
    throw new RealmError("not-found", "Cannot run the app: its bundle or its topic is not here", {
      hint: "realm app status shows what it waits for",
    });
  }

  async #code(profile: Profile): Promise<GuestCode | undefined> {
    const bundle = this.#bundle;
    const component = bundle?.components[profile];
    if (component === undefined) return undefined;
    const name = `${bundle!.id} ${profile}`;
    let code = this.#codes.get(name);
    if (code === undefined) this.#codes.set(name, code = guestCode(component, profile));
    return await code;
  }

  /** A fresh instance of a component for the person. */
  async #guest(profile: Profile): Promise<AppGuest> {
    this.#running();
    const code = await this.#code(profile);
    if (code === undefined) {
      throw new RealmError("not-found", `Cannot run the app: it has no ${profile} component`);
    }
    const host = hostOf(profile, this.#around(profile, this.#init.person));
    return new AppGuest(code, host, { fuelMax: CALL_FUEL });
  }

  /** An event as the app sees it; undefined for one that is not for it, or cannot be read here. */
  #read(event: TopicEvent): AppliedEvent | undefined {
    const read = isKernelType(event.type) ? undefined : appliedEvent(this.#log, event);
    return read === undefined || "needed" in read ? undefined : read;
  }

  #soon(ms: number): void {
    this.#cancelUpdate?.();
    this.#cancelUpdate = this.#platform.later(ms, () => {
      this.#cancelUpdate = undefined;
      this.#update();
      this.#tell();
    });
  }

  #update(): void {
    const replay = this.#replay;
    if (replay === undefined || this.#isClosed) return;
    this.#cancelUpdate?.();
    this.#cancelUpdate = undefined;
    const nowMs = this.#platform.nowMs();
    replay.update(nowMs);
    const dueMs = replay.dueMs(nowMs);
    if (dueMs !== undefined) this.#soon(Math.max(1, dueMs - nowMs));
    if (this.#bundle !== this.#bundleBefore) {
      this.#bundleBefore = this.#bundle;
      this.#views.clear();
      if (this.#init.behavior !== undefined) void this.changed();
    }
    const fresh = this.#fresh;
    this.#fresh = fresh.filter((event) =>
      !isKernelType(event.type) && replay.outcomeOf(event) === undefined
    );
    for (const event of fresh) {
      if (replay.outcomeOf(event)?.verdict.kind !== "accepted") continue;
      const applied = this.#read(event);
      if (applied !== undefined) this.#behavior?.event(applied);
    }
  }

  #progress(): TopicProgress {
    const replay = this.#replay;
    // Peers are told of it, and may ask.
    if (replay?.isSettled) this.#shelf.keep(replay.state.tree, ABI);
    const { view } = this.#log;
    const illness = replay?.illness;
    return {
      applied: replay?.log.length ?? 0,
      received: this.#received,
      settled: replay?.isSettled ?? false,
      digest: replay?.state.digest(ABI),
      abi: ABI,
      bundle: replay?.bundle ?? view?.bundle,
      needs: replay === undefined
        ? view && { kind: "bundle", name: view.bundle }
        : replay.needs && { kind: replay.needs.kind, name: replay.needs.name },
      illness: illness && messageOf(illness.cause),
      checkpoint: this.#checkpointProblem(),
      behavior: this.#behaviorProblem,
    };
  }

  /** Compares the newest checkpoint, once. */
  #checkpointProblem(): string | undefined {
    const newest = this.#log.view?.checkpoints.at(-1)?.event;
    if (this.#replay?.isSettled && newest !== this.#compared?.event) {
      this.#compared = { event: newest, problem: checkpointProblem(this.#log, this.#replay, ABI) };
    }
    return this.#compared?.problem;
  }

  #tell(): void {
    if (!this.#isClosed) this.#host.progress(this.#progress());
  }

  /** The events that an intent of the person makes, or why it makes none. */
  async propose(intent: Uint8Array, input: Uint8Array): Promise<Result<Proposal[], Uint8Array>> {
    const guest = await this.#guest("state-propose");
    return guest.call("propose", intent, input) as Result<Proposal[], Uint8Array>;
  }

  /** What would become of an event of `author` if it came next. */
  dryRun(
    { kind, payload }: Proposal,
    place: { readonly author: Uint8Array; readonly seq: number; readonly lamport: number },
  ): EventOutcome {
    const outcome = this.#running().dryRun({ id: NO_ID, kind, payload, ...place });
    return outcomeOf("", outcome, false);
  }

  /** What would become of an upgrade to a bundle if it came next: of its migration. */
  dryUpgrade(
    bundle: string,
    place: { readonly author: Uint8Array; readonly seq: number; readonly lamport: number },
  ): EventOutcome {
    const guest = this.#guests.get(bundle);
    if (guest === undefined) throw new RealmError("not-found", `Cannot find bundle ${bundle} here`);
    const upgrade = { id: NO_ID, kind: new Uint8Array(), ...place };
    return outcomeOf("", this.#running().dryRun({ bundle, guest, upgrade }), false);
  }

  /** What became of events; they are applied now, as far as they can be. */
  outcomes(events: readonly string[]): EventOutcome[] {
    this.#update();
    this.#tell();
    const replay = this.#running();
    return events.map((id) => {
      const event = this.#event(id);
      const pending = this.#isSkipped(event) ||
        (this.#read(event) !== undefined && !replay.log.includes(event));
      return outcomeOf(id, replay.outcomeOf(event), replay.isFinal(event), pending);
    });
  }

  /** Whether the outcome of an event is not known yet, since a snapshot stands for it. */
  #isSkipped({ type }: TopicEvent): boolean {
    return this.#running().skipped > 0 && !isKernelType(type);
  }

  #event(id: string): TopicEvent {
    let event: TopicEvent | undefined;
    try {
      event = this.#log.topic?.get(CID.parse(id));
    } catch {
      // No CID at all.
    }
    if (event !== undefined) return event;
    throw new RealmError("not-found", `Cannot find event ${JSON.stringify(id)} in the topic`, {
      hint: "Run realm app log",
    });
  }

  /** The state after an event, or after all. */
  #stateAt(at: string | undefined): State {
    const replay = this.#running();
    if (at === undefined) return replay.state;
    const event = this.#event(at);
    if (event === this.#log.topic!.genesis) return replay.stateAfter(0);
    const state = replay.stateAt(event);
    if (state !== undefined) return state;
    throw new RealmError("not-found", `Cannot read the state at ${at}: it was not applied`, {
      hint: "Run realm app log",
    });
  }

  /** Entries whose keys begin with `prefix`, after the key `after`; one more than `limit` is told. */
  entries({ prefix, after, at, limit }: {
    readonly prefix: Uint8Array;
    readonly after: Uint8Array | undefined;
    readonly at: string | undefined;
    readonly limit: number;
  }): { entries: { key: Uint8Array; value: Uint8Array }[]; more: boolean; digest: Uint8Array } {
    const state = this.#stateAt(at);
    const end = endOf(prefix);
    const entries: { key: Uint8Array; value: Uint8Array }[] = [];
    let start = after === undefined ? prefix : Uint8Array.of(...after, 0);
    let more = true;
    while (more && entries.length < limit) {
      const found = state.scan(start, end, limit - entries.length);
      more = found.length > 0;
      entries.push(...found);
      if (more) start = Uint8Array.of(...found.at(-1)!.key, 0);
    }
    more &&= state.scan(start, end, 1).length > 0;
    return { entries, more, digest: state.digest(ABI) };
  }

  digest(at: string | undefined): { digest: Uint8Array; abi: number; settled: boolean } {
    const state = this.#stateAt(at);
    return { digest: state.digest(ABI), abi: ABI, settled: this.#running().isSettled };
  }

  /** What a peer asks about a state that it was told of. */
  answerDrift(digest: Uint8Array, question: DriftQuestion): DriftAnswer {
    return this.#shelf.answer(digest, question);
  }

  /** What to ask a peer next whose state is another. */
  stepDrift(search: DriftAsked): DriftStep {
    return this.#shelf.step(search);
  }

  /** Events in the order in which they are applied. */
  ordered(from: number, limit: number): { events: OrderedEvent[]; total: number } {
    const replay = this.#running();
    const { log } = replay;
    const events = log.slice(from, from + limit).map((event): OrderedEvent => {
      const id = event.id.toString();
      return {
        ...outcomeOf(id, replay.outcomeOf(event), replay.isFinal(event), this.#isSkipped(event)),
        type: event.type,
        author: event.author,
        seq: event.seq,
        lamport: event.lamport,
        parents: event.parents.map((parent) => parent.id.toString()),
        payload: this.#read(event)?.payload,
      };
    });
    return { events, total: log.length };
  }

  /** Applies everything anew from the beginning. */
  verify(at: string | undefined): {
    digest: Uint8Array;
    again: Uint8Array;
    events: number;
    fuel: number;
  } {
    const state = this.#stateAt(at);
    const replay = new Replay(this.#parts!);
    replay.update(this.#platform.nowMs());
    if (replay.illness !== undefined) throw replay.illness.cause;
    const event = at === undefined ? undefined : this.#event(at);
    const length = event === undefined ? replay.log.length : replay.log.indexOf(event) + 1;
    const fuel = replay.log.slice(0, length)
      .reduce((sum, each) => sum + (replay.outcomeOf(each)?.fuel ?? 0), 0);
    return {
      digest: state.digest(ABI),
      again: replay.stateAfter(length).digest(ABI),
      events: length,
      fuel,
    };
  }

  /** What a user interface shows, after an input where there is one, and what the person wants by it. */
  async view(
    session: string,
    input: ViewInput | undefined,
  ): Promise<{ nodes: readonly ViewNode[]; intents: readonly ViewIntent[] }> {
    return await this.#views.show(session, input);
  }

  closeView(session: string): void {
    this.#views.close(session);
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelUpdate?.();
    this.#behavior?.stop();
  }
}

const utf8 = new TextDecoder();

function outcomeOf(
  event: string,
  outcome: Outcome | undefined,
  isFinal: boolean,
  isPending = false,
): EventOutcome {
  const verdict = outcome?.verdict;
  return {
    event,
    verdict: verdict?.kind ?? (isPending ? "pending" : "none"),
    reason: verdict?.kind === "rejected"
      ? utf8.decode(verdict.reason)
      : verdict?.kind === "trapped"
      ? verdict.why
      : undefined,
    fuel: outcome?.fuel,
    isFinal,
  };
}

/** The first key behind all that begin with a prefix; empty where there is none. */
function endOf(prefix: Uint8Array): Uint8Array {
  const last = prefix.findLastIndex((byte) => byte < 0xff);
  const end = prefix.slice(0, last + 1);
  if (last >= 0) end[last]!++;
  return end;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
