/**
 * The app of one topic on this machine: its events applied, and its components run.
 *
 * Lives in a Worker of its own, so that what a component does there holds up nobody else. Events come
 * in as the agent has taken them, in any order that has parents first; what a component proposes goes
 * out to the agent, which alone has keys, store and network. What comes in was checked by the agent.
 *
 * A bundle's components are taken when they come; until the one that applies the events is here, and
 * what it asks for was granted, nothing is applied. Who joined by a ticket that names a state sees that
 * until the events of it are here.
 *
 * Events are applied for a moment at a time, so that who asks something in between is answered, and for
 * no more than a part of all time (`cpu_budget.ts`).
 *
 * @module
 */
import { RealmError } from "../../kernel/error.ts";
import type { EventBatch } from "../../kernel/event_batch.ts";
import type { TopicEvent } from "../../kernel/topic.ts";
import type { Profile } from "../contracts.ts";
import { AppGuest, type GuestCode, guestCode } from "../guest/app_guest.ts";
import type { AppSetting } from "../guest/host_imports.ts";
import { StateApply } from "../guest/state_apply.ts";
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
import type { AppLog } from "../topic/app_log.ts";
import { type AppReplayInit, checkpointProblem, replayParts } from "../topic/app_replay.ts";
import { forkAt } from "../topic/past_state.ts";
import {
  baseSnapshot,
  resumeFrom,
  stateOf,
  takeSnapshot,
  type TopicSnapshot,
} from "../topic/topic_snapshot.ts";
import { BehaviorRunner } from "./behavior_runner.ts";
import { CpuBudget } from "./cpu_budget.ts";
import { hostOf, type Result, type Surroundings } from "./guest_host.ts";
import { HandedLog } from "./handed_log.ts";
import type {
  BundleCode,
  EventOutcome,
  OrderedEvent,
  Proposal,
  TopicAppHost,
  TopicAppInit,
  TopicAppPlatform,
  TopicProgress,
} from "./topic_app_port.ts";
import { type EntriesAsked, outcomeOf, TopicReader } from "./topic_reader.ts";
import { type ViewInput, type ViewIntent, type ViewNode, Views } from "./views.ts";

/** Units of fuel for one call of a component for a person. */
const CALL_FUEL = 100_000_000;
/** An event that is not made yet has no name. */
const NO_ID = new Uint8Array(32);
const ABI = 1;
/** What is applied again in the background: events at a time, the pause between, and the first one. */
const RECALLED_AT_ONCE = 64;
const RECALL_PAUSE_MS = 20;
const RECALL_AFTER_MS = 2_000;
/** How long events are applied before anything else may happen. */
const SLICE_MS = 50;
/** How long it tells nothing while it goes on applying. */
const TELL_PAUSE_MS = 250;
/** How long an answer about an event waits for it to be applied. */
const OUTCOME_WAIT_MS = 10_000;
/** No event came for so long: those of the ticket's state are waited for no more. */
const JOIN_PATIENCE_MS = 10_000;
/** And no longer than this, however they come: until then a state is shown that a ticket only says. */
const JOIN_MS_MAX = 60_000;

/** The state of a ticket, of so many events. */
interface Joining {
  readonly state: State;
  readonly bundle: string;
  readonly count: number;
}

/** See the module. */
export class TopicApp {
  readonly #init: TopicAppInit;
  readonly #host: TopicAppHost;
  readonly #platform: TopicAppPlatform;
  readonly #handed: HandedLog;
  readonly #log: AppLog;
  readonly #bundles = new Map<string, BundleCode>();
  /** What applies the events of each. */
  readonly #guests = new Map<string, StateApply>();
  readonly #codes = new Map<string, Promise<GuestCode>>();
  readonly #views: Views;
  readonly #shelf = new StateShelf();
  readonly #reader: TopicReader;
  readonly #budget: CpuBudget;
  #grants: ReadonlySet<string>;
  #replay: Replay | undefined;
  #parts: ReplayParts | undefined;
  #behavior: BehaviorRunner | undefined;
  /** The bundle that it is of; undefined where it is to be started. */
  #behaviorOf: BundleCode | undefined;
  #bundleBefore: BundleCode | undefined;
  #behaviorProblem: string | undefined;
  /** Events of the app that came and were not applied yet. */
  readonly #fresh = new Set<TopicEvent>();
  /** Of those that were, the ones that were accepted since the last update. */
  #news: TopicEvent[] = [];
  #cancelUpdate: (() => void) | undefined;
  #updateAtMs = Infinity;
  #toldAtMs = -Infinity;
  /** Events wait because those before took too long. */
  #isSlowed = false;
  /** Who waits for the next update. */
  #updated: (() => void)[] = [];
  /** What is shown until its events are here. */
  #joining: Joining | undefined;
  #joinUntilMs: number | undefined;
  #cancelPatience: (() => void) | undefined;
  #ticketProblem: string | undefined;
  #unfollow: (() => void) | undefined;
  #baseState: State | undefined;
  /** The checkpoint that was compared last, and what is wrong with it. */
  #compared:
    | { readonly event: string | undefined; readonly problem: string | undefined }
    | undefined;
  #isClosed = false;
  /** One change of components after another. */
  #changing: Promise<void> = Promise.resolve();

  /** `handed` has what of the topic came before. */
  constructor(
    init: TopicAppInit,
    host: TopicAppHost,
    platform: TopicAppPlatform,
    handed = new HandedLog(init),
  ) {
    this.#init = init;
    this.#host = host;
    this.#platform = platform;
    this.#grants = new Set(init.grants);
    this.#budget = new CpuBudget(platform.nowMs(), init.cpu);
    this.#views = new Views(() => this.#guest("interaction"));
    this.#handed = handed;
    this.#log = handed.log;
    this.#reader = new TopicReader({
      log: this.#log,
      abi: ABI,
      replay: () => this.#running(),
      state: () => this.#state,
    });
    this.#joining = this.#joined();
    if (this.#log.topic !== undefined) this.#came(this.#log.topic.order());
  }

  /** The state of the ticket, where there is one that is whole. */
  #joined(): Joining | undefined {
    const { snapshot, joining } = this.#init;
    if (snapshot === undefined || joining === undefined) return undefined;
    try {
      return { state: stateOf(snapshot), bundle: snapshot.record.bundle, count: joining };
    } catch (error) {
      if (error instanceof RealmError) return undefined; // it is damaged
      throw error;
    }
  }

  /** Takes signed events, parents first and its own now; they are applied in a moment. */
  add(batch: EventBatch): void {
    const accepted = this.#handed.take(batch);
    this.#came(accepted.map(({ id }) => this.#log.topic!.get(id)!));
  }

  /** These are in the log now. */
  #came(events: readonly TopicEvent[]): void {
    for (const event of events) if (!isKernelType(event.type)) this.#fresh.add(event);
    if (this.#joining !== undefined) this.#wait();
    if (this.#replay === undefined) void this.changed();
    else this.#soon(0);
  }

  /** Waits for events of the ticket's state, as long as some come. */
  #wait(): void {
    this.#cancelPatience?.();
    this.#cancelPatience = undefined;
    if (this.#log.topic === undefined || this.#log.topic.size < this.#joining!.count) {
      const nowMs = this.#platform.nowMs();
      const leftMs = (this.#joinUntilMs ??= nowMs + JOIN_MS_MAX) - nowMs;
      const patienceMs = Math.max(0, Math.min(JOIN_PATIENCE_MS, leftMs));
      this.#cancelPatience = this.#platform.later(patienceMs, () => {
        this.#joining = undefined;
        void this.changed();
      });
    } else this.#joining = undefined;
  }

  /** Takes a bundle, verified. */
  async addBundle(bundle: BundleCode): Promise<void> {
    this.#bundles.set(bundle.id, bundle);
    await this.changed();
  }

  /** What the person grants from now on. What is no news stops no behavior in the middle of a request. */
  async setGrants(grants: readonly string[]): Promise<void> {
    const before = this.#grants;
    this.#grants = new Set(grants);
    if (this.#grants.symmetricDifference(before).size > 0) this.#behaviorOf = undefined;
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
    if (this.#replay !== undefined || this.#joining !== undefined) return;
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
    const { past, genesis } = forkAt(this.#log, this.#reader.event(at), ABI, this.#reading());
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
    this.#apply(replay);
    if (replay.skipped === 0) return;
    // Nobody waits for what becomes of these.
    for (const event of replay.log.slice(0, replay.skipped)) this.#fresh.delete(event);
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
        if (!step.value) {
          if (this.#init.joining !== undefined) {
            this.#ticketProblem = "the state of the ticket is not the one that its events come to";
          }
          this.#begin(parts, undefined);
          this.#soon(0);
        }
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
    // Nothing is done on the word of a ticket.
    if (key === undefined || this.#behaviorOf === bundle || this.#joining !== undefined) return;
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
      isCurrent: () => this.#isCurrent,
      failed: (problem) => {
        this.#behaviorProblem = problem;
        this.#tell();
      },
    });
  }

  /** Whether the state is that after all events: not where an upgrade waits for its bundle. */
  get #isCurrent(): boolean {
    const replay = this.#replay;
    return replay !== undefined && !replay.isBehind && replay.needs === undefined;
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
    const isHere = this.#log.topic !== undefined;
    return isHere && this.#joining !== undefined ? this.#joining.state : this.#running().state;
  }

  /** The bundle that is in force after what was applied. */
  get #bundle(): BundleCode | undefined {
    const id = this.#replay?.bundle ?? this.#joining?.bundle;
    return id === undefined ? undefined : this.#bundles.get(id);
  }

  #running(): Replay {
    if (this.#replay !== undefined) return this.#replay;
    if (this.#joining !== undefined) {
      throw new RealmError(
        "not-found",
        `Cannot apply events yet: ${this.#log.topic?.size ?? 0} of ${this.#joining.count} are here`,
        { hint: "Wait until the others have come: realm app topics" },
      );
    }
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
    void this.#state; // or why there is none
    const code = await this.#code(profile);
    if (code === undefined) {
      throw new RealmError("not-found", `Cannot run the app: it has no ${profile} component`);
    }
    const host = hostOf(profile, this.#around(profile, this.#init.person));
    return new AppGuest(code, host, { fuelMax: CALL_FUEL });
  }

  /** Updates after a time, unless it does before. */
  #soon(ms: number): void {
    const atMs = this.#platform.nowMs() + ms;
    if (this.#cancelUpdate !== undefined && this.#updateAtMs <= atMs) return;
    this.#cancelUpdate?.();
    this.#updateAtMs = atMs;
    this.#cancelUpdate = this.#platform.later(ms, () => {
      this.#cancelUpdate = undefined;
      this.#update();
      if (!this.#isMidway()) this.#tell();
    });
  }

  /** Whether it goes on at once, and has told not long ago: a digest costs as much as many events. */
  #isMidway(): boolean {
    const passedMs = this.#platform.nowMs() - this.#toldAtMs;
    return this.#replay?.isBehind === true && !this.#isSlowed && passedMs >= 0 &&
      passedMs < TELL_PAUSE_MS;
  }

  #update(): void {
    const replay = this.#replay;
    if (replay === undefined || this.#isClosed) return;
    this.#cancelUpdate?.();
    this.#cancelUpdate = undefined;
    this.#apply(replay);
    if (this.#bundle !== this.#bundleBefore) {
      this.#bundleBefore = this.#bundle;
      this.#views.clear();
      if (this.#init.behavior !== undefined) void this.changed();
    }
    for (const event of this.#news.splice(0)) {
      const applied = this.#behavior && this.#reader.read(event);
      if (applied !== undefined) this.#behavior!.event(applied);
    }
    if (this.#isCurrent) this.#behavior?.goOn();
    for (const resume of this.#updated.splice(0)) resume();
  }

  /** Applies for a moment, if there is something to apply and time to do it. */
  #apply(replay: Replay): void {
    const startMs = this.#platform.nowMs();
    const waitMs = this.#budget.waitMs(startMs);
    const isDue = replay.isBehind || (replay.dueMs(startMs) ?? Infinity) <= startMs;
    this.#isSlowed = waitMs > 0 && isDue;
    if (waitMs > 0) return this.#soon(waitMs);
    const isOver = () => this.#platform.nowMs() - startMs >= SLICE_MS;
    const { applied } = replay.update(startMs, isOver);
    for (const event of replay.last(applied)) {
      const isNews = this.#fresh.delete(event) &&
        replay.outcomeOf(event)?.verdict.kind === "accepted";
      if (isNews) this.#news.push(event);
    }
    const nowMs = this.#platform.nowMs();
    this.#budget.pay(nowMs - startMs, nowMs);
    const dueMs = replay.dueMs(nowMs);
    if (dueMs !== undefined) this.#soon(replay.isBehind ? 0 : Math.max(1, dueMs - nowMs));
  }

  #progress(): TopicProgress {
    const replay = this.#replay;
    // Peers are told of it, and may ask.
    if (replay?.isSettled) this.#shelf.keep(replay.state.tree, ABI);
    const { view } = this.#log;
    const illness = replay?.illness;
    return {
      applied: replay?.length ?? 0,
      received: this.#handed.received,
      settled: replay?.isSettled ?? false,
      digest: (replay ?? this.#joining)?.state.digest(ABI),
      abi: ABI,
      bundle: replay?.bundle ?? this.#joining?.bundle ?? view?.bundle,
      needs: replay !== undefined
        ? replay.needs && { kind: replay.needs.kind, name: replay.needs.name }
        : view && this.#joining === undefined
        ? { kind: "bundle", name: view.bundle }
        : undefined,
      final: replay?.finalLength ?? 0,
      joining: this.#joining !== undefined,
      slowed: this.#isSlowed,
      illness: illness && messageOf(illness.cause),
      checkpoint: this.#checkpointProblem(),
      ticket: this.#ticketProblem,
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
    if (this.#isClosed) return;
    this.#toldAtMs = this.#platform.nowMs();
    this.#host.progress(this.#progress());
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

  /** What became of events: when they were applied, or could not be for a while. */
  async outcomes(events: readonly string[]): Promise<EventOutcome[]> {
    this.#update();
    this.#tell();
    const endMs = this.#platform.nowMs() + OUTCOME_WAIT_MS;
    for (;;) {
      const outcomes = events.map((id) => this.#reader.outcome(id));
      const isLate = (this.#isSlowed || this.#running().isBehind) &&
        outcomes.some(({ verdict }) => verdict === "pending");
      if (!isLate || this.#isClosed || this.#platform.nowMs() >= endMs) return outcomes;
      await new Promise<void>((resolve) => this.#updated.push(resolve));
    }
  }

  /** See {@link TopicReader.entries}. */
  entries(asked: EntriesAsked): ReturnType<TopicReader["entries"]> {
    return this.#reader.entries(asked);
  }

  digest(at: string | undefined): { digest: Uint8Array; abi: number; settled: boolean } {
    return { ...this.#reader.digest(at), settled: this.#replay?.isSettled ?? false };
  }

  /** What a peer asks about a state that it was told of. */
  answerDrift(digest: Uint8Array, question: DriftQuestion): DriftAnswer {
    return this.#shelf.answer(digest, question);
  }

  /** What to ask a peer next whose state is another. */
  stepDrift(search: DriftAsked): DriftStep {
    return this.#shelf.step(search);
  }

  /** See {@link TopicReader.ordered}. */
  ordered(from: number, limit: number): { events: OrderedEvent[]; total: number } {
    return this.#reader.ordered(from, limit);
  }

  /** See {@link TopicReader.verify}. */
  verify(at: string | undefined): ReturnType<TopicReader["verify"]> {
    this.#running();
    return this.#reader.verify(this.#parts!, at, this.#platform.nowMs());
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
    this.#cancelPatience?.();
    this.#behavior?.stop();
    for (const resume of this.#updated.splice(0)) resume();
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
