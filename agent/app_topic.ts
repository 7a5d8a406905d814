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
import { type AppRunner, startApp } from "./app_runner.ts";
import type {
  FetchFailure,
  GuestRequest,
  GuestResponse,
  Result,
} from "./apps/arbiter/guest_host.ts";
import type { EventOutcome, TopicProgress } from "./apps/arbiter/topic_app.ts";
import type { Profile } from "./apps/contracts.ts";
import { type ForkOrigin, isKernelType } from "./apps/topic/app_event.ts";
import type { AppLog } from "./apps/topic/app_log.ts";
import { inviteTo, joinBy } from "./apps/topic/authoring.ts";
import { openerOf } from "./apps/topic/payload_keys.ts";
import type { TopicSnapshot } from "./apps/topic/topic_snapshot.ts";
import type { CallAnswer, EventVerdict, TopicStatus } from "./control/apps_api.ts";
import { nodeBackend } from "./crypto_node.ts";
import { CID } from "./kernel/canonical.ts";
import { RealmError } from "./kernel/error.ts";
import { encodeSigned, isEventType, type SignedEvent } from "./kernel/event.ts";
import { formatPublicKey, type KeyPair } from "./kernel/key.ts";
import type { Clock, Random } from "./kernel/ports.ts";
import { StoredEvents } from "./kernel/stored_event.ts";
import type { TopicEvent } from "./kernel/topic.ts";
import { signerOf, type SyncSigner } from "./kernel/verify.ts";
import { TopicSnapshots } from "./topic_snapshots.ts";

/** What is remembered of a topic beside its events; the invite is a secret. */
export interface TopicRecord {
  /** What it is called on this machine. */
  readonly name: string;
  /** Its events are stored and served, and not applied. */
  readonly isKept: boolean;
  /** The seed of the invite by which this machine's keys join, in base64. */
  readonly invite?: string;
  /** Nodes that a ticket named, with their addresses. */
  readonly nodes: readonly { readonly key: string; readonly addresses: readonly string[] }[];
}

/** How a topic is shared with peers; without peers it is written to directly. */
export interface TopicSharing {
  /** Writes to the log, durably, and hands on what was written. */
  writing<T>(act: (log: AppLog) => T): T;
  /** The state is another one, or is one now. */
  stateChanged(): void;
  /** Text forms of the keys of people that are connected. */
  people(): readonly string[];
  alarms(): readonly string[];
}

/** What an {@link AppTopic} is made of. */
export interface AppTopicInit {
  readonly record: TopicRecord;
  readonly log: AppLog;
  readonly person: KeyPair;
  /** The key of the person's behavior in this topic. */
  readonly behavior: KeyPair;
  readonly clock: Clock;
  readonly random: Random;
  /** A bundle that may be run; undefined where it is not here. Throws where it may not. */
  readonly bundle: (id: string) => Promise<RunnableBundle | undefined>;
  /** What the person granted the app; undefined where it is not installed. */
  readonly grants: (app: string) => readonly string[] | undefined;
  /**
   * The state that a fork begins with, as it was computed here or a peer has it; undefined where nobody
   * has it. Throws RealmError `refused` where it is another than the genesis says.
   */
  readonly baseOf: (topic: CID, fork: ForkOrigin) => Promise<TopicSnapshot | undefined>;
  /** A request of the behavior, which its grants allow or not. */
  readonly request: (
    request: GuestRequest,
    grants: readonly string[],
  ) => Promise<Result<GuestResponse, FetchFailure>>;
  readonly changedRecord: (record: TopicRecord) => void;
  /** A line for the log of the agent. */
  readonly notice: (text: string) => void;
}

/** Events that are handed to a Worker in one message. */
const BATCH = 512;
/** Events that a behavior may write at once, and then in each second. */
const BEHAVIOR_EVENTS = 32;
const BEHAVIOR_EVENTS_PER_SEC = 2;
/** Lines that components may write in each second, together. */
const LOG_LINES_PER_SEC = 20;
/** Events that one intent may make. */
const PROPOSALS_MAX = 64;
const LEVELS = ["debug", "info", "warning", "error"];

const utf8 = new TextDecoder();
const encoder = new TextEncoder();
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
  /** Events handed to the Worker, and those for its next message. */
  #handed = 0;
  #handing: SignedEvent[] = [];
  #behaviorEvents = BEHAVIOR_EVENTS;
  #behaviorAtMs: number;
  #lines = { atMs: 0, left: 0 };
  /** What was there before it started is being handed to the Worker. */
  #isFeeding = false;
  #isClosed = false;
  #starting: Promise<void> = Promise.resolve();

  constructor(init: AppTopicInit) {
    this.#init = init;
    this.log = init.log;
    this.snapshots = new TopicSnapshots({
      log: init.log,
      clock: init.clock,
      baseOf: (fork) => init.baseOf(init.log.topicId, fork),
      notice: (text) => init.notice(`Topic ${this.#record.name}: ${text}`),
    });
    this.id = init.log.topicId.toString();
    this.#record = init.record;
    this.person = signerOf(init.person, nodeBackend());
    this.#behavior = signerOf(init.behavior, nodeBackend());
    this.#behaviorAtMs = init.clock.monotonicMs();
    this.#sharing = {
      writing: (act) => {
        const result = act(this.log);
        this.log.flush(init.clock.wallMs());
        return result;
      },
      stateChanged() {},
      people: () => [],
      alarms: () => [],
    };
    this.log.follow({
      added: (event) => this.#added(event),
      judged: () => {}, // the Worker judges for itself
    });
  }

  get record(): TopicRecord {
    return this.#record;
  }

  /** From now on it is shared with peers. */
  share(sharing: TopicSharing): void {
    this.#sharing = sharing;
  }

  /** The digest of the state after everything that is in the log; undefined while it is not known. */
  get settledDigest(): { readonly digest: Uint8Array; readonly abi: number } | undefined {
    const progress = this.#progress;
    const isAll = this.#handing.length === 0 && progress?.received === this.#handed;
    return isAll && progress.settled && progress.digest !== undefined
      ? { digest: progress.digest, abi: progress.abi }
      : undefined;
  }

  /** The app in its Worker. Throws RealmError where it does not run. */
  get app(): AppRunner["app"] {
    if (this.#runner !== undefined) return this.#runner.app;
    throw new RealmError(
      this.#state === "not-granted" || this.#state === "revoked" ? "refused" : "not-found",
      `Cannot run the app of topic ${this.#record.name}: ${this.#why ?? this.#state}`,
      { hint: "realm app topics shows what each topic waits for" },
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
    });
  }

  async #review(): Promise<void> {
    const { view } = this.log;
    if (this.#isClosed) return;
    if (this.#record.isKept) return this.#set("keeping", null);
    if (view === undefined) return this.#set("starting", "its events are not here yet");
    const baseless = this.snapshots.baseProblem(() => void this.review());
    if (baseless !== undefined) return this.#set("starting", baseless);
    const wanted = new Set([view.bundle, ...view.upgrades.map(({ bundle }) => bundle)]);
    const bundles: RunnableBundle[] = [];
    for (const id of wanted) {
      let bundle: RunnableBundle | undefined;
      try {
        bundle = await this.#init.bundle(id);
      } catch (error) {
        const isRevoked = error instanceof RealmError && error.code === "refused";
        this.#stop();
        return this.#set(isRevoked ? "revoked" : "stopped", messageOf(error));
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
    if (first === undefined || grants === undefined) {
      this.#stop();
      return this.#set("needs-bundle", `bundle ${view.bundle} is not installed`);
    }
    const missing = bundles.flatMap(({ applies }) => applies)
      .find((name) => !grants.includes(name));
    if (missing !== undefined) {
      this.#stop();
      return this.#set("not-granted", `${missing} is not granted, which applying events takes`);
    }
    await this.#start(grants);
    // The one that the topic starts with comes last: with it begins what a snapshot may go on from.
    for (const { code } of bundles.toReversed()) {
      if (this.#given.has(code.id)) continue;
      this.#given.add(code.id);
      await this.#runner!.app.addBundle(code);
    }
    await this.#runner!.app.setGrants(grants);
    this.#admitBehavior();
  }

  async #start(grants: readonly string[]): Promise<void> {
    if (this.#runner !== undefined) return;
    const { person, record } = this.#init;
    const openers = [openerOf(person.secretKey)];
    if (record.invite !== undefined) openers.push(openerOf(Uint8Array.fromBase64(record.invite)));
    const runner: AppRunner = startApp(
      {
        topic: this.id,
        person: this.person.publicKey,
        behavior: this.#behavior.publicKey,
        openers,
        grants,
        ...this.snapshots.forStart(),
      },
      {
        progress: (progress) => this.#progressed(progress),
        behaviorEvent: (kind, payload) => this.#behaviorEvent(kind, payload),
        request: (request) =>
          this.#init.request(request, this.#init.grants(this.log.view!.app) ?? []),
        log: (profile, level, message) => this.#logged(profile, level, message),
      },
      (why) => {
        if (this.#runner !== runner) return;
        this.#runner = undefined;
        this.#set("stopped", why);
      },
    );
    this.#runner = runner;
    this.#handed = 0;
    this.#handing = [];
    this.#isFeeding = true;
    // What is not kept, too: that may change.
    this.log.flush(this.#init.clock.wallMs());
    let batch: Uint8Array[] = [];
    const send = async () => {
      this.#handed += batch.length;
      await runner.app.add(batch);
      batch = [];
    };
    for (const { signed } of new StoredEvents(this.log.store, "").all()) {
      batch.push(encodeSigned(signed));
      if (batch.length === BATCH) await send();
    }
    await send();
    this.#isFeeding = false;
    this.#hand();
    this.#set("running", null);
  }

  #stop(): void {
    this.#runner?.close();
    this.#runner = undefined;
    this.#given.clear();
    this.#progress = undefined;
    this.#sharing.stateChanged();
  }

  #set(state: TopicStatus["state"], why: string | null): void {
    if (this.#why !== why && why !== null) this.#init.notice(`Topic ${this.#record.name}: ${why}`);
    this.#state = state;
    this.#why = why;
  }

  /** An event is in the log now, in the middle of something: it is handed on afterwards. */
  #added(event: TopicEvent): void {
    if (this.#runner === undefined) {
      if (this.#state === "starting") queueMicrotask(() => void this.review());
      return;
    }
    this.#handing.push(this.log.read(event));
    if (this.#handing.length === 1 && !this.#isFeeding) queueMicrotask(() => this.#hand());
  }

  #hand(): void {
    const events = this.#handing;
    if (this.#runner === undefined || this.#isFeeding || events.length === 0) return;
    this.#handing = [];
    this.#handed += events.length;
    this.#runner.app.add(events.map(encodeSigned))
      .catch((error) => this.#set("stopped", messageOf(error)));
    // Another bundle, or somebody's role.
    if (events.some(({ event }) => isKernelType(event.type))) void this.review();
  }

  #progressed(progress: TopicProgress): void {
    this.#progress = progress;
    const { illness, needs } = progress;
    if (illness !== undefined) this.#set("stopped", illness);
    else if (needs?.kind === "bundle") {
      this.#set("needs-bundle", `bundle ${needs.name} is not installed`);
    } else if (needs !== undefined) {
      this.#set(
        "needs-key",
        `the key of epoch ${needs.name} is not here: an admin has to renew it`,
      );
    } else if (this.#runner !== undefined) this.#set("running", null);
    if (progress.settled && this.#runner !== undefined) {
      const { app } = this.#runner;
      void this.snapshots.keep(progress.applied, (known) => app.snapshot(known));
    }
    this.#sharing.stateChanged();
  }

  /** Writes to the log, durably, and hands on what was written. */
  write<T>(act: (log: AppLog) => T): T {
    const result = this.#sharing.writing(act);
    this.#hand();
    return result;
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
    const [outcome] = await app.outcomes([id.toString()]);
    return { ...outcome!, type };
  }

  /**
   * Does what the person wants: an intent, by its name, and what was filled in. Answered when its
   * events are durable and applied; what the app would reject is not written.
   */
  async call(intent: Uint8Array, input: Uint8Array): Promise<CallAnswer> {
    const app = await this.running();
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

  async #behaviorEvent(
    kind: Uint8Array,
    payload: Uint8Array,
  ): Promise<Result<Uint8Array, Uint8Array>> {
    const nowMs = this.#init.clock.monotonicMs();
    const since = (nowMs - this.#behaviorAtMs) / 1000;
    this.#behaviorAtMs = nowMs;
    this.#behaviorEvents = Math.min(
      BEHAVIOR_EVENTS,
      this.#behaviorEvents + since * BEHAVIOR_EVENTS_PER_SEC,
    );
    const refused = (why: string) => ({ tag: "err", val: encoder.encode(why) }) as const;
    if (this.#behaviorEvents < 1) return refused("too many events: wait a moment");
    this.#behaviorEvents--;
    try {
      const { event, verdict, reason } = await this.#writeEvent(this.#behavior, kind, payload);
      if (verdict !== "accepted") return refused(reason ?? verdict);
      return { tag: "ok", val: CID.parse(event).multihash.digest };
    } catch (error) {
      if (!(error instanceof RealmError)) throw error;
      return refused(error.message);
    }
  }

  /** The behavior takes part by an invite: the one by which the person came, or one of the person's. */
  #admitBehavior(): void {
    const { log } = this;
    const hasBehavior = this.#bundle?.code.components.behavior !== undefined;
    const role = (key: Uint8Array) => log.membership?.roleOf(key);
    const own = role(this.person.publicKey);
    if (!hasBehavior || own === undefined || own === "keeper") return;
    if (log.topic!.knows(this.#behavior.publicKey)) return; // also when it was taken out
    let seed = this.#record.invite;
    if (seed === undefined) {
      if (own !== "creator" && own !== "admin") return;
      const invite = inviteTo(log, "member", this.#init.random);
      this.write(() => log.write(invite.said, this.person));
      seed = invite.seed.toBase64();
      this.#record = { ...this.#record, invite: seed };
      this.#init.changedRecord(this.#record);
    }
    const signer = inviteSigner(Uint8Array.fromBase64(seed));
    try {
      const join = joinBy(log, signer, this.#behavior.publicKey);
      this.write(() => log.write(join, this.#behavior));
    } catch (error) {
      this.#init.notice(
        `Topic ${this.#record.name}: its behavior cannot join: ${messageOf(error)}`,
      );
    }
  }

  #logged(profile: Profile, level: number, message: Uint8Array): void {
    const nowMs = this.#init.clock.monotonicMs();
    if (nowMs - this.#lines.atMs >= 1000) this.#lines = { atMs: nowMs, left: LOG_LINES_PER_SEC };
    if (this.#lines.left-- <= 0) return;
    this.#init.notice(
      `${LEVELS[level]} of ${this.#record.name} (${profile}): ${utf8.decode(message)}`,
    );
  }

  status(): TopicStatus {
    const { topic, view } = this.log;
    const progress = this.#progress;
    const settled = this.settledDigest;
    return {
      topic: this.id,
      name: this.#record.name,
      app: view?.app ?? null,
      appName: this.#bundle?.name ?? null,
      bundle: progress?.bundle ?? view?.bundle ?? null,
      role: this.log.membership?.roleOf(this.person.publicKey) ?? "none",
      state: this.#state,
      why: this.#why,
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
      members: [...view?.members.values() ?? []].map(({ key, role }) => ({ key, role })),
      peers: this.#sharing.people(),
      alarms: [
        ...this.#sharing.alarms(),
        ...this.#progress?.checkpoint === undefined ? [] : [this.#progress.checkpoint],
        ...view?.alarms.map(({ author }) => `${author} wrote on branches at once`) ?? [],
      ],
    };
  }

  close(): void {
    this.#isClosed = true;
    this.snapshots.close();
    this.#runner?.close();
    this.#runner = undefined;
  }
}

/** Who holds an invite. */
export function inviteSigner(seed: Uint8Array): SyncSigner {
  const backend = nodeBackend();
  return signerOf({ secretKey: seed, publicKey: backend.publicKey(seed) }, backend);
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

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
