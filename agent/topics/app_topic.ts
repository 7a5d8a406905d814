/**
 * One topic of an app on this machine: its log, its app in a Worker, and the keys that write in it.
 *
 * Whatever is taken into the log goes to the Worker as well. What a component proposes comes back, is
 * tried there as the next event, signed here, made durable and handed on. A topic that is only kept has
 * no Worker.
 *
 * @module
 */
import type { RunnableBundle } from "./app_bundles.ts";
import { AppFeed } from "./app_feed.ts";
import { AppRunner } from "./app_runner.ts";
import type {
  FetchFailure,
  GuestRequest,
  GuestResponse,
  Result,
} from "../apps/arbiter/guest_host.ts";
import type { EventOutcome, TopicProgress } from "../apps/arbiter/topic_app_port.ts";
import type { Profile } from "../apps/contracts.ts";
import type { TicketState } from "../apps/topic/app_ticket.ts";
import { type ForkOrigin, isKernelType } from "../apps/topic/app_event.ts";
import type { AppLog } from "../apps/topic/app_log.ts";
import { isCheckpointDue } from "../apps/topic/authoring.ts";
import { type Opener, openerOf } from "../apps/topic/payload_keys.ts";
import type { TopicSnapshot } from "../apps/topic/topic_snapshot.ts";
import { BehaviorAuthor } from "./behavior_author.ts";
import { lastOf } from "./left_topics.ts";
import type { CallAnswer, EventVerdict, TopicStatus } from "../control/apps_api.ts";
import { nodeBackend } from "../node/crypto_node.ts";
import type { CID } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import { isEventType } from "../kernel/event.ts";
import { formatPublicKey, type KeyPair } from "../kernel/key.ts";
import type { Clock } from "../kernel/ports.ts";
import type { TopicEvent } from "../kernel/topic.ts";
import { signerOf, type SyncSigner } from "../kernel/verify.ts";
import { TopicSnapshots } from "./topic_snapshots.ts";

/** What is remembered of a topic beside its events; the invite is a secret. */
export interface TopicRecord {
  /** What it is called on this machine. */
  readonly name: string;
  /** Its events are stored and served, and not applied. */
  readonly isKept: boolean;
  /** The seed of the invite by which the person joins, in base64. */
  readonly invite?: string;
  /** The person was asked to join, and has not yet: also one who left the topic before. */
  readonly isNew?: true;
  /** CIDs of its own last events, where it deleted the topic before: `left_topics.ts`. */
  readonly wrote?: readonly string[];
  /** Nodes that a ticket named, with their addresses. */
  readonly nodes: readonly { readonly key: string; readonly addresses: readonly string[] }[];
  /** The state that it named: as `TicketState`, digests in hexadecimal digits. */
  readonly state?: { readonly heads: string; readonly count: number; readonly digest: string };
}

/** How a topic is shared with peers; without peers it is written to directly. */
export interface TopicSharing {
  /** Writes to the log, durably, and hands on what was written. */
  writing<T>(act: (log: AppLog) => T): T;
  /** The state is another one, or is one now. */
  stateChanged(): void;
  /** Whether a link with some peer is open. */
  isLinked(): boolean;
  /** Why the first events are not here, as far as that can be known. */
  whyNothing(): string | undefined;
  /** Text forms of the keys of people that are connected. */
  people(): readonly string[];
  /** How many people have it that the person left, which was written just before. */
  told(): Promise<number>;
  alarms(): readonly string[];
}

/** A Worker that was handed all that is stored while the log was opened. */
export interface EarlyRunner {
  readonly runner: AppRunner;
  /** How many events. */
  readonly handed: number;
}

/** What an {@link AppTopic} is made of. */
export interface AppTopicInit {
  readonly record: TopicRecord;
  readonly log: AppLog;
  /** What runs the app, unless it may not run now. */
  readonly early?: EarlyRunner | undefined;
  readonly person: KeyPair;
  /** The key of the person's behavior in this topic. */
  readonly behavior: KeyPair;
  readonly clock: Clock;
  /** A bundle that may be run; undefined where it is not here. Throws where it may not. */
  readonly bundle: (id: string) => Promise<RunnableBundle | undefined>;
  /** What the person granted the app; undefined where it is not installed. */
  readonly grants: (app: string) => readonly string[] | undefined;
  /**
   * The state that a fork begins with, as it was computed here or a peer has it; undefined where nobody
   * has it. Throws RealmError `refused` where it is another than the genesis says.
   */
  readonly baseOf: (topic: CID, fork: ForkOrigin) => Promise<TopicSnapshot | undefined>;
  /** A state of this topic from peers, by its digest; undefined where nobody has it. */
  readonly stateOf: (topic: CID, digest: Uint8Array) => Promise<TopicSnapshot | undefined>;
  /** A request of the behavior, which its grants allow or not. */
  readonly request: (
    request: GuestRequest,
    grants: readonly string[],
  ) => Promise<Result<GuestResponse, FetchFailure>>;
  readonly changedRecord: (record: TopicRecord) => void;
  /** A line for the log of the agent. */
  readonly notice: (text: string) => void;
}

/** Between two checkpoints that are written by themselves, at least. */
const CHECKPOINT_PAUSE_MS = 600_000;
/** Lines that components may write in each second, together. */
const LOG_LINES_PER_SEC = 20;
/** Events that one intent may make. */
const PROPOSALS_MAX = 64;
const JOINING = "shows the state that its ticket named: the events of it are still coming";
const LEVELS = ["debug", "info", "warning", "error"];

const utf8 = new TextDecoder();
const strict = new TextDecoder("utf-8", { fatal: true });

/** See the module. */
export class AppTopic {
  readonly id: string;
  readonly person: SyncSigner;
  readonly #init: AppTopicInit;
  readonly #behavior: SyncSigner;
  /** Of this topic alone. */
  readonly log: AppLog;
  readonly snapshots: TopicSnapshots;
  #record: TopicRecord;
  #sharing: TopicSharing;
  #runner: AppRunner | undefined;
  /** What the Worker said last. */
  #progress: TopicProgress | undefined;
  #bundle: RunnableBundle | undefined;
  /** Bundles that the Worker was given. */
  readonly #given = new Set<string>();
  #state: TopicStatus["state"] = "starting";
  #why: string | null = null;
  /** The first of the bundles that its events name which is not installed. */
  #needs: string | undefined;
  /** All of them. */
  #missing: ReadonlySet<string> = new Set();
  /** Why no peer gave a bundle that it needs, when they were asked last. */
  #notFetched: { readonly bundle: string; readonly why: string } | undefined;
  #feed: AppFeed | undefined;
  /** The state of the ticket is on its way; all else that its app needs is here. */
  #isStateFetched = false;
  /** A Worker that was not opened yet, and what it gets. */
  #early: { readonly runner: AppRunner; readonly feed: AppFeed } | undefined;
  readonly #author: BehaviorAuthor;
  #checkpointAtMs = -Infinity;
  #isReviewOwed = false;
  #lines = { atMs: 0, left: 0 };
  #isClosed = false;
  #starting: Promise<void> = Promise.resolve();

  constructor(init: AppTopicInit) {
    this.#init = init;
    this.log = init.log;
    this.snapshots = new TopicSnapshots({
      log: init.log,
      clock: init.clock,
      baseOf: (fork) => init.baseOf(init.log.topicId, fork),
      stateOf: (digest) => init.stateOf(init.log.topicId, digest),
      notice: (text) => this.#notice(text),
    });
    this.id = init.log.topicId.toString();
    this.#record = init.record;
    this.person = signerOf(init.person, nodeBackend());
    this.#behavior = signerOf(init.behavior, nodeBackend());
    this.#author = new BehaviorAuthor({
      log: init.log,
      clock: init.clock,
      person: this.person,
      signer: this.#behavior,
      write: (act) => this.write(act),
      writeEvent: (by, kind, payload) => this.#writeEvent(by, kind, payload),
      notice: (text) => this.#notice(text),
    });
    this.#sharing = {
      writing: (act) => {
        const result = act(this.log);
        this.log.flush(init.clock.wallMs());
        return result;
      },
      stateChanged() {},
      isLinked: () => false,
      whyNothing: () => undefined,
      people: () => [],
      told: () => Promise.resolve(0),
      alarms: () => [],
    };
    const { early } = init;
    if (early !== undefined) {
      this.#early = { runner: early.runner, feed: this.#feedOf(early.runner, early.handed) };
    }
    this.log.follow({
      added: (event) => this.#added(event),
      judged: () => {}, // the Worker judges for itself
      stored: () => this.#feed?.stored(),
    });
  }

  get record(): TopicRecord {
    return this.#record;
  }

  /** Says that the person takes part no more; how many people have taken that. */
  async leave(): Promise<number> {
    this.write((log) => log.write({ kind: "leave" }, this.person));
    return await this.#sharing.told();
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * The last events by keys of the person, to be remembered when it is left. Who forgets it while it
   * waits for such an event, which nobody may have, is let go on without when it joins again.
   */
  wrote(isForgotten: boolean): readonly string[] {
    const { awaited, topic } = this.log;
    if (awaited === undefined) {
      return lastOf(this.log, [this.person.publicKey, this.#behavior.publicKey]);
    }
    return isForgotten && topic !== undefined ? [] : this.#record.wrote ?? [];
  }

  /** The person takes part, durably. */
  joined(): void {
    const { isNew: _, ...record } = this.#record;
    this.#record = record;
    this.#init.changedRecord(record);
  }

  /** Peers were asked for a bundle, and none gave it: told as long as that is what the topic needs. */
  notFetched(bundle: string, why: string): void {
    if (this.#neededBundle === bundle) this.#notFetched = { bundle, why };
  }

  /** The bundle that it waits for; what the replay stops at comes first. */
  get #neededBundle(): string | undefined {
    const needs = this.#progress?.needs;
    return needs !== undefined && this.#missing.has(needs.name) ? needs.name : this.#needs;
  }

  /** From now on it is shared with peers. */
  share(sharing: TopicSharing): void {
    this.#sharing = sharing;
  }

  /** Peers are linked, or are no more: the state of a ticket need not wait for the first events. */
  linked(): void {
    const isWaiting = this.log.view === undefined && this.#record.state !== undefined;
    if (isWaiting && this.#sharing.isLinked()) void this.review();
  }

  /** The digest of the state after everything that is in the log; undefined while it is not known. */
  get settledDigest(): { readonly digest: Uint8Array; readonly abi: number } | undefined {
    const progress = this.#progress;
    const isAll = progress !== undefined && progress.received === this.#feed?.handed;
    return isAll && progress.settled && progress.digest !== undefined
      ? { digest: progress.digest, abi: progress.abi }
      : undefined;
  }

  /** The app in its Worker. Throws RealmError where it does not run. */
  get app(): AppRunner["app"] {
    if (this.#runner !== undefined) return this.#runner.app;
    throw this.#cannotRun();
  }

  #cannotRun(): RealmError {
    const { name, isKept } = this.#record;
    return new RealmError(
      this.#state === "not-granted" || this.#state === "revoked" ? "refused" : "not-found",
      `Cannot run the app of topic ${name}: ` +
        (isKept ? "its events are only kept here, not applied" : this.#why ?? this.#state),
      {
        hint: isKept
          ? "To take part, leave it and give the ticket of a member to realm app join"
          : "realm app topics shows what each topic waits for",
      },
    );
  }

  /** {@link app}, once what is being started has been. */
  async running(): Promise<AppRunner["app"]> {
    await this.#starting;
    return this.app;
  }

  get isRunning(): boolean {
    return this.#runner !== undefined;
  }

  /** Where the next event of a key goes, as the app sees it. */
  placeFor(author: Uint8Array): { author: Uint8Array; seq: number; lamport: number } {
    const { heads, previous } = this.log.placeFor(author);
    return {
      author,
      seq: previous === undefined ? 0 : previous.seq + 1,
      lamport: 1 + Math.max(...heads.map(({ lamport }) => lamport)),
    };
  }

  /** Starts what can be started, and stops what may not go on; after each change of apps too. */
  review(): Promise<void> {
    return this.#starting = this.#starting.then(() => this.#review()).catch((error) => {
      this.#set("stopped", messageOf(error));
    }).finally(() => {
      if (!this.#isStateFetched) this.#dropEarly();
    });
  }

  /** What was not wanted at once would only take memory. */
  #dropEarly(): void {
    this.#early?.feed.close();
    this.#early?.runner.close();
    this.#early = undefined;
  }

  async #review(): Promise<void> {
    const { view } = this.log;
    this.#isStateFetched = false;
    if (this.#isClosed) return;
    if (this.#record.isKept) return this.#set("keeping", null);
    const came = () => void this.review();
    const isLinked = view !== undefined || this.#sharing.isLinked();
    const ticket = isLinked
      ? this.snapshots.ticketProblem(ticketState(this.#record), came)
      : undefined;
    if (view === undefined) return this.#set("starting", "its events are not here yet");
    const missing = this.snapshots.baseProblem(came) ?? ticket;
    const wanted = new Set([view.bundle, ...view.upgrades.map(({ bundle }) => bundle)]);
    const bundles: RunnableBundle[] = [];
    for (const id of wanted) {
      let bundle: RunnableBundle | undefined;
      try {
        bundle = await this.#init.bundle(id);
      } catch (error) {
        const isRevoked = error instanceof RealmError && error.code === "refused";
        this.#stop();
        this.#needs = isDamaged(error) ? id : undefined;
        const mend = this.#needs && `: realm app install ${id} has it whole from peers`;
        return this.#set(isRevoked ? "revoked" : "stopped", messageOf(error) + (mend ?? ""));
      }
      if (bundle === undefined) continue;
      if (bundle.app !== view.app) {
        // What was granted to the one app is not for the other, whatever the topic's events say.
        this.#stop();
        return this.#set(
          "stopped",
          `bundle ${id} is of app ${bundle.app}, wanted ${view.app}, of which the topic is`,
        );
      }
      bundles.push(bundle);
    }
    if (this.#isClosed) return;
    const grants = this.#init.grants(view.app);
    const first = bundles.find(({ code }) => code.id === view.bundle);
    this.#bundle = bundles.at(-1);
    this.#missing = wanted.difference(new Set(bundles.map(({ code }) => code.id)));
    this.#needs = grants === undefined ? view.bundle : [...this.#missing][0];
    if (first === undefined || grants === undefined) {
      this.#stop();
      return this.#set("needs-bundle", notInstalled(view.bundle));
    }
    const ungranted = bundles.flatMap(({ applies }) => applies)
      .find((name) => !grants.includes(name));
    if (ungranted !== undefined) {
      this.#stop();
      return this.#set(
        "not-granted",
        `${ungranted} is not granted, which applying events takes: realm app install ` +
          `${view.bundle} asks for it`,
      );
    }
    if (missing !== undefined) {
      this.#isStateFetched = missing === ticket;
      // It loads its code meanwhile, which takes as long.
      if (this.#isStateFetched) this.#early ??= this.#beginEarly();
      return this.#set("starting", missing);
    }
    await this.#start(grants);
    // The one that the topic starts with comes last: with it begins what a snapshot may go on from.
    for (const { code } of bundles.toReversed()) {
      if (this.#given.has(code.id)) continue;
      this.#given.add(code.id);
      await this.#runner!.app.addBundle(code);
    }
    await this.#runner!.app.setGrants(grants);
    this.#author.admit(this.#bundle);
    if (this.#progress !== undefined) this.#judge(this.#progress);
  }

  async #start(grants: readonly string[]): Promise<void> {
    if (this.#runner !== undefined) return;
    // The app begins with what is stored. What is not kept, too: that may change.
    this.write(() => {});
    // It may fail, and is tried again where nothing runs.
    const init = {
      topic: this.id,
      person: this.person.publicKey,
      behavior: this.#behavior.publicKey,
      openers: this.#openers(),
      grants,
      ...this.snapshots.forStart(ticketState(this.#record)),
    };
    const hasEarly = this.#early?.runner.hasEnded === false;
    const { runner, feed } = hasEarly ? this.#early! : this.#beginEarly();
    this.#runner = runner;
    this.#feed = feed;
    if (hasEarly) this.#early = undefined;
    runner.open(
      init,
      {
        progress: (progress) => this.#progressed(progress),
        behaviorEvent: (kind, payload) => this.#author.propose(kind, payload),
        request: (request) =>
          this.#init.request(request, this.#init.grants(this.log.view!.app) ?? []),
        log: (profile, level, message) => this.#logged(profile, level, message),
      },
      (why) => {
        if (this.#runner !== runner) return;
        this.#stop();
        this.#set("stopped", why);
      },
    );
    await this.#feed.start();
    if (this.#runner === runner) this.#set("running", null);
  }

  #openers(): Opener[] {
    const { person, record: { invite } } = this.#init;
    const openers = [openerOf(person.secretKey)];
    if (invite !== undefined) openers.push(openerOf(Uint8Array.fromBase64(invite)));
    return openers;
  }

  /** A Worker that is handed nothing before it is opened. */
  #beginEarly(): { readonly runner: AppRunner; readonly feed: AppFeed } {
    const runner = new AppRunner({ topic: this.id, openers: this.#openers() });
    return { runner, feed: this.#feedOf(runner) };
  }

  /** What hands events to a Worker, which has got so many. */
  #feedOf(runner: AppRunner, handed?: number): AppFeed {
    return new AppFeed({
      log: this.log,
      handed,
      take: (events) => runner.app.add(events),
      failed: (error) => {
        if (this.#runner !== runner) return;
        this.#stop();
        this.#set("stopped", messageOf(error));
      },
    });
  }

  #stop(): void {
    this.#runner?.close();
    this.#runner = undefined;
    this.#feed?.close();
    this.#feed = undefined;
    this.#given.clear();
    this.#progress = undefined;
    this.#sharing.stateChanged();
  }

  #notice(text: string): void {
    this.#init.notice(`Topic ${this.#record.name}: ${text}`);
  }

  #set(state: TopicStatus["state"], why: string | null): void {
    if (this.#why !== why && why !== null) this.#notice(why);
    this.#state = state;
    this.#why = why;
  }

  /** An event is in the log now, in the middle of something. */
  #added(event: TopicEvent): void {
    (this.#feed ?? this.#early?.feed)?.added(event);
    // It is the first, says something of bundles or somebody's role, or was waited for.
    const mayChange = this.#runner !== undefined || this.#state === "starting";
    const isTelling = isKernelType(event.type) ||
      this.#record.wrote?.includes(event.id.toString()) === true;
    if (!mayChange || !isTelling || this.#isReviewOwed) return;
    this.#isReviewOwed = true;
    queueMicrotask(() => {
      this.#isReviewOwed = false;
      void this.review();
    });
  }

  #progressed(progress: TopicProgress): void {
    this.#progress = progress;
    this.#judge(progress);
    if (progress.settled && this.#runner !== undefined) {
      const { app } = this.#runner;
      void this.snapshots.keep(progress.applied, (known) => app.snapshot(known));
      this.#checkpoint(progress);
    }
    this.#sharing.stateChanged();
  }

  /** Says how it stands by what the Worker said last. */
  #judge({ illness, needs, joining }: TopicProgress): void {
    if (illness !== undefined) this.#set("stopped", illness);
    else if (needs?.kind === "key") {
      this.#set(
        "needs-key",
        `the key of epoch ${needs.name} is not here: an admin has to renew it`,
      );
    } else if (needs !== undefined && this.#missing.has(needs.name)) {
      this.#set("needs-bundle", notInstalled(needs.name));
    } else if (this.#runner !== undefined) {
      // A bundle that is here the Worker is about to get.
      this.#set("running", joining ? JOINING : null);
    }
  }

  /** Writes a checkpoint when one is due. */
  #checkpoint({ applied, final }: TopicProgress): void {
    const settled = this.settledDigest;
    const nowMs = this.#init.clock.monotonicMs();
    if (settled === undefined || nowMs - this.#checkpointAtMs < CHECKPOINT_PAUSE_MS) return;
    if (!isCheckpointDue(this.log, this.person.publicKey, applied - final)) return;
    this.#checkpointAtMs = nowMs;
    try {
      const { digest } = settled;
      this.write((log) => log.write({ kind: "checkpoint", digest }, this.person));
    } catch (error) {
      this.#notice(messageOf(error));
    }
  }

  /** The state that there is, kept for who joins by a ticket; undefined where that is not worth it. */
  async ticketState(): Promise<TicketState | undefined> {
    if (this.#runner === undefined || this.settledDigest === undefined) return undefined;
    const { app } = this.#runner;
    return await this.snapshots.pin((known) => app.snapshot(known));
  }

  /** Writes to the log, durably, and hands on what was written. */
  write<T>(act: (log: AppLog) => T): T {
    return this.#sharing.writing(act);
  }

  /** Writes an event of the app, tried before; its outcome. Throws RealmError where it may not be. */
  async #writeEvent(
    by: SyncSigner,
    kind: Uint8Array,
    payload: Uint8Array,
  ): Promise<EventOutcome & { readonly type: string }> {
    const type = typeOf(kind);
    const app = await this.running();
    const tried = await app.dryRun({ kind, payload }, this.placeFor(by.publicKey));
    if (tried.verdict !== "accepted") return { ...tried, type };
    const { id } = this.write((log) => log.append({ type, payload }, by));
    await this.#feed?.caughtUp();
    const [outcome] = await app.outcomes([id.toString()]);
    return { ...outcome!, type };
  }

  /**
   * Does what the person wants: an intent, by its name, and what was filled in. Answered when its
   * events are durable and applied; what the app would reject is not written.
   */
  async call(intent: Uint8Array, input: Uint8Array): Promise<CallAnswer> {
    const app = await this.running();
    // Where the replay stops nobody can say whether the app would take it: its next version may not.
    if (this.#state === "needs-bundle" || this.#state === "needs-key") throw this.#cannotRun();
    const proposed = await app.propose(intent, input);
    if (proposed.tag === "err") return { refused: utf8.decode(proposed.val), events: [] };
    const events: EventVerdict[] = [];
    for (const { kind, payload } of proposed.val.slice(0, PROPOSALS_MAX)) {
      const outcome = await this.#writeEvent(this.person, kind, payload);
      if (outcome.event === "") return { refused: outcome.reason ?? outcome.verdict, events };
      events.push(verdictOf(outcome, outcome.type));
    }
    return { refused: null, events };
  }

  #logged(profile: Profile, level: number, message: Uint8Array): void {
    const nowMs = this.#init.clock.monotonicMs();
    if (nowMs - this.#lines.atMs >= 1000) this.#lines = { atMs: nowMs, left: LOG_LINES_PER_SEC };
    if (this.#lines.left-- <= 0) return;
    this.#init.notice(
      `${LEVELS[level]} of ${this.#record.name} (${profile}): ${utf8.decode(message)}`,
    );
  }

  /** Whether the person was removed. */
  get isTakenOut(): boolean {
    const { membership } = this.log;
    const { publicKey } = this.person;
    return membership?.roleOf(publicKey) === undefined &&
      membership?.isRevoked(publicKey, false) === true;
  }

  status(): TopicStatus {
    const { topic, view } = this.log;
    const progress = this.#progress;
    const settled = this.settledDigest;
    const needs = this.#neededBundle;
    const asked = this.#notFetched?.bundle === needs ? this.#notFetched?.why : undefined;
    const more = view === undefined ? this.#sharing.whyNothing() : asked;
    return {
      topic: this.id,
      name: this.#record.name,
      app: view?.app ?? null,
      appName: this.#bundle?.name ?? null,
      bundle: progress?.bundle ?? view?.bundle ?? null,
      role: this.log.membership?.roleOf(this.person.publicKey) ?? "none",
      state: this.#state,
      why: this.#why === null || more === undefined ? this.#why : `${this.#why}. ${more}`,
      ...(needs === undefined ? {} : { needs }),
      key: formatPublicKey(this.person.publicKey),
      behaviorKey: this.#bundle?.code.components.behavior === undefined
        ? null
        : formatPublicKey(this.#behavior.publicKey),
      behaviorProblem: progress?.behavior ?? null,
      encrypted: view?.isEncrypted ?? false,
      events: topic?.size ?? 0,
      applied: progress?.applied ?? 0,
      settled: settled !== undefined,
      heads: topic?.heads.map(({ id }) => id.toString()) ?? [],
      digest: progress?.digest?.toHex() ?? null,
      members: [...view?.members.values() ?? []].map(({ events: _, ...member }) => member),
      peers: this.#sharing.people(),
      alarms: [
        ...this.#sharing.alarms(),
        ...[progress?.checkpoint, progress?.ticket].filter((problem) => problem !== undefined),
        ...progress?.slowed
          ? ["applying its events takes more of a processor than it may: some wait"]
          : [],
        ...(this.isTakenOut ? ["your key was taken out of it: nothing that you write counts"] : []),
        ...this.log.fullness.map((problem) => `takes no more events: ${problem}`),
        ...view?.alarms.map(({ author }) => `${author} wrote on branches at once`) ?? [],
      ],
    };
  }

  /** Ends it; unless its events are kept, those that are not durable yet are not stored any more. */
  close(isKept = true): void {
    this.#isClosed = true;
    this.snapshots.close();
    this.#dropEarly();
    this.#runner?.close();
    this.#runner = undefined;
    this.#feed?.close();
    if (!isKept) return;
    try {
      this.log.flush(this.#init.clock.wallMs());
    } catch (error) {
      this.#notice(messageOf(error)); // peers have it, who were not told that it is here
    }
  }
}

function ticketState({ state }: TopicRecord): TicketState | undefined {
  return state && {
    heads: Uint8Array.fromHex(state.heads),
    count: state.count,
    digest: Uint8Array.fromHex(state.digest),
  };
}

/** What the control API says of an outcome. */
export function verdictOf(
  { event, verdict, reason, fuel, isFinal }: EventOutcome,
  type: string,
): EventVerdict {
  return { event, type, verdict, reason: reason ?? null, fuel: fuel ?? null, final: isFinal };
}

function typeOf(kind: Uint8Array): string {
  let type: string | undefined;
  try {
    type = strict.decode(kind);
  } catch {
    // Named below.
  }
  if (type !== undefined && isEventType(type) && !isKernelType(type)) return type;
  throw new RealmError(
    "refused",
    `Cannot write the event: its kind is ${JSON.stringify(utf8.decode(kind).slice(0, 80))}, ` +
      "wanted words of a-z, 0-9 and -, with slashes between, and not those of realm",
  );
}

function notInstalled(bundle: string): string {
  return `bundle ${bundle} is not installed: realm app install ${bundle} has it from peers`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Whether a bundle that is here is not what it was: peers may have it. */
function isDamaged(error: unknown): boolean {
  return error instanceof RealmError && ["corrupt", "digest-mismatch"].includes(error.code);
}
