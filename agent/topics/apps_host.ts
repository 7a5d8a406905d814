/**
 * The arbiter: the apps of the person on this machine, each topic with what is its own and nothing of
 * any other.
 *
 * In the store: `app-topic/TOPIC/record` (name, invite, nodes) and `app-topic/TOPIC/log/…` (its
 * events), which stay when it is left (`left_topics.ts`). A topic belongs to one app, which its genesis
 * names and its CID proves, so these names keep apps apart as well. In the data folder: `apps/`
 * (bundles and grants) and `person.key`.
 *
 * @module
 */
import { join } from "node:path";
import { AppBundles } from "./app_bundles.ts";
import { openHandingOn } from "./app_feed.ts";
import { AppRunner } from "./app_runner.ts";
import { AppTopic, type EarlyRunner, type TopicRecord } from "./app_topic.ts";
import { appRequest } from "./app_requests.ts";
import { findLeft, leaveTopic, leftOp, leftTopic, recordKey } from "./left_topics.ts";
import { namespaced, NOWHERE } from "../apps/arbiter/namespace.ts";
import { AppLog } from "../apps/topic/app_log.ts";
import { formatAppTicket, parseAppTicket } from "../apps/topic/app_ticket.ts";
import {
  inviteTo,
  newestKey,
  nextEpoch,
  readsOn,
  removedBy,
  revocationsOf,
} from "../apps/topic/authoring.ts";
import type { ForkOrigin } from "../apps/topic/app_event.ts";
import { openerOf } from "../apps/topic/payload_keys.ts";
import { SnapshotStore, type TopicSnapshot } from "../apps/topic/topic_snapshot.ts";
import type { AppAnswer, AppParams, AppsApi, TopicStatus } from "../control/apps_api.ts";
import { nodeBackend } from "../node/crypto_node.ts";
import { CID } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import { PARENTS_MAX } from "../kernel/event.ts";
import { textOf } from "../kernel/byte_string.ts";
import { bytesEqual, type KeyPair } from "../kernel/key.ts";
import type { Clock, Random, Store } from "../kernel/ports.ts";
import { signerOf, type VerifySync } from "../kernel/verify.ts";
import { behaviorKey, ownKey, PERSON_KEY_FILE } from "../node/own_keys.ts";
import { readDigest, readLog, readState, verifyTopic } from "./topic_reads.ts";

/** What an {@link AppsHost} is made of. */
export interface AppsHostInit {
  readonly dataFolder: string;
  readonly store: Store;
  readonly verify: VerifySync;
  readonly clock: Clock;
  readonly notice: (text: string) => void;
  /** A topic is here now, to be shared with peers. */
  readonly opened: (topic: AppTopic, person: KeyPair) => void;
  /** It is here no more. */
  readonly removed: (topic: AppTopic) => void;
  /** Where a ticket sends who wants the topic: this node, first. */
  readonly ticketPeers: (topic: AppTopic) => TopicRecord["nodes"];
  /** A state of a topic from peers, by its digest; undefined where nobody has it. */
  readonly fetchState: (topic: CID, digest: Uint8Array) => Promise<TopicSnapshot | undefined>;
  /** A bundle's packed bytes from peers. Throws RealmError, which says why nobody gives it. */
  readonly fetchBundle: (id: string) => Promise<Uint8Array>;
}

/** A user interface that nobody asks about is closed after so long. */
const VIEW_IDLE_MS = 600_000;
const TOPICS = "app-topic/";
const RECORD = "record";

const random: Random = { bytes: (length) => crypto.getRandomValues(new Uint8Array(length)) };

/** See the module. */
export class AppsHost {
  readonly api: AppsApi;
  readonly bundles: AppBundles;
  readonly #init: AppsHostInit;
  readonly #topics = new Map<string, AppTopic>();
  /** Topics that are about to be among them. */
  readonly #joining = new Set<string>();
  readonly #views = new Map<
    string,
    { readonly topic: AppTopic; timer: ReturnType<typeof setTimeout> }
  >();
  #person: Promise<KeyPair> | undefined;

  private constructor(init: AppsHostInit) {
    this.#init = init;
    this.bundles = new AppBundles(init.dataFolder, init.notice);
    this.api = {
      topics: () => ({ topics: this.statuses() }),
      create: (params) => this.#create(params),
      join: (params) => this.#join(params),
      invite: (params) => this.#invite(params),
      leave: (params) => this.#leave(params),
      call: ({ topic, intent, input }) =>
        this.#find(topic).call(new TextEncoder().encode(intent), Uint8Array.fromBase64(input)),
      state: (params) => readState(this.#find(params.topic), params),
      log: (params) => readLog(this.#find(params.topic), params),
      digest: (params) => readDigest(this.#find(params.topic), params),
      verify: (params) => verifyTopic(this.#find(params.topic), params),
      upgrade: (params) => this.#upgrade(params),
      fork: (params) => this.#fork(params),
      checkpoint: (params) => this.#checkpoint(params),
      remove: (params) => this.#remove(params),
      bundle: ({ bundle }) => this.#bundle(bundle),
      changed: async () => {
        await this.bundles.refresh();
        await Promise.all([...this.#topics.values()].map((topic) => topic.review()));
        return {};
      },
      view: (params) => this.#view(params),
      closeView: ({ session }) => {
        this.#closeView(session);
        return {};
      },
    };
  }

  /** Opens the topics that are there. One whose events are damaged is told of and left. */
  static async open(init: AppsHostInit): Promise<AppsHost> {
    const host = new AppsHost(init);
    await host.bundles.refresh();
    for (const key of [...init.store.keys(TOPICS)]) {
      const [topic, name] = key.slice(TOPICS.length).split("/");
      if (name !== RECORD) continue;
      const record = new TextDecoder().decode(init.store.get(key));
      try {
        await host.#open(CID.parse(topic!), JSON.parse(record));
      } catch (error) {
        if (!(error instanceof RealmError)) throw error;
        init.notice(`Cannot open topic ${topic}: ${error.message}`);
      }
    }
    return host;
  }

  /** Every topic, by name. */
  statuses(): TopicStatus[] {
    return [...this.#topics.values()].map((topic) => topic.status())
      .sort((a, b) => `${a.name} ${a.topic}` < `${b.name} ${b.topic}` ? -1 : 1);
  }

  /** The topics, in no order. */
  get topics(): readonly AppTopic[] {
    return [...this.#topics.values()];
  }

  close(): void {
    for (const { timer } of this.#views.values()) clearTimeout(timer);
    for (const topic of this.#topics.values()) topic.close();
  }

  #keys(): Promise<KeyPair> {
    return this.#person ??= ownKey(join(this.#init.dataFolder, PERSON_KEY_FILE));
  }

  #namespace(topic: CID): Store {
    return namespaced(this.#init.store, ["app-topic", topic.toString(), "log"]);
  }

  async #open(topic: CID, record: TopicRecord): Promise<AppTopic> {
    const person = await this.#keys();
    const openers = [openerOf(person.secretKey)];
    if (record.invite !== undefined) openers.push(openerOf(Uint8Array.fromBase64(record.invite)));
    const { verify } = this.#init;
    const wrote = record.wrote?.map((id) => CID.parse(id));
    const store = this.#namespace(topic);
    const opening = AppLog.opening({ store, verify, topic, openers, wrote });
    const { log } = opening;
    let runner: AppRunner | undefined;
    try {
      const handed = await openHandingOn(opening, () => {
        const isInstalled = this.bundles.grantsOf(log.view!.app) !== undefined;
        if (record.isKept || !isInstalled) return undefined;
        const { app } = runner = new AppRunner({ topic: topic.toString(), openers });
        return (events) => app.add(events);
      });
      if (handed === undefined) runner?.close();
      const early = handed === undefined ? undefined : { runner: runner!, handed };
      return await this.#add(log, record, early);
    } catch (error) {
      runner?.close();
      throw error;
    }
  }

  async #add(log: AppLog, record: TopicRecord, early?: EarlyRunner): Promise<AppTopic> {
    const { clock, notice } = this.#init;
    const person = await this.#keys();
    const topic = new AppTopic({
      record,
      log,
      early,
      person,
      behavior: await behaviorKey(person, log.topicId, 0),
      clock,
      bundle: (id) => this.bundles.get(id),
      grants: (app) => this.bundles.grantsOf(app),
      baseOf: (topic, fork) => this.#baseOf(topic, fork),
      stateOf: (topic, digest) => this.#init.fetchState(topic, digest),
      request: appRequest,
      changedRecord: (record) => this.#remember(log.topicId, record),
      notice,
    });
    this.#remember(log.topicId, record);
    this.#topics.set(topic.id, topic);
    this.#init.opened(topic, person);
    await topic.review();
    return topic;
  }

  #remember(topic: CID, record: TopicRecord): void {
    const value = new TextEncoder().encode(JSON.stringify(record));
    this.#init.store.write([
      { put: recordKey(topic.toString()), value },
      leftOp(topic.toString(), { wrote: [] }), // it has that itself
    ]);
  }

  /** By its CID, or a name that only one has. */
  #find(text: string): AppTopic {
    const found = this.#topics.get(text);
    if (found !== undefined) return found;
    const named = [...this.#topics.values()].filter(({ record }) => record.name === text);
    if (named.length === 1) return named[0]!;
    const problem = named.length === 0 ? "there is none" : `${named.length} have that name`;
    throw new RealmError("not-found", `Cannot find topic ${JSON.stringify(text)}: ${problem}`, {
      hint: "Run realm app topics",
    });
  }

  /** A name that is not another topic's. */
  #nameFor(wanted: string | undefined, fallback: string): string {
    const taken = new Set([...this.#topics.values()].map(({ record }) => record.name));
    if (wanted !== undefined) {
      if (!taken.has(wanted)) return wanted;
      throw new RealmError("refused", `Cannot call the topic ${JSON.stringify(wanted)}: one is`, {
        hint: "Choose another --name",
      });
    }
    for (let i = 1;; i++) {
      const name = i === 1 ? fallback : `${fallback}-${i}`;
      if (!taken.has(name)) return name;
    }
  }

  async #create(
    { app, name, params, encrypted }: AppParams<"create">,
  ): Promise<AppAnswer<"create">> {
    await this.bundles.refresh();
    const installed = await this.bundles.installed.find(app);
    const bundle = await this.bundles.get(installed.bundle);
    if (bundle === undefined) {
      throw new RealmError("not-found", `Cannot find bundle ${installed.bundle} of ${app}`, {
        hint: "Install it again: realm app install",
      });
    }
    const person = await this.#keys();
    const content = {
      app: CID.parse(installed.app),
      bundle: CID.parse(installed.bundle),
      params: new Map(
        params.map(([name, value]) => [byteString(name), Uint8Array.fromBase64(value)] as const),
      ),
      isEncrypted: encrypted,
      fork: undefined,
    };
    const log = this.#make(content, person);
    const topic = await this.#add(log, {
      name: this.#nameFor(name, installed.name),
      isKept: false,
      nodes: [],
    });
    return { topic: topic.status() };
  }

  async #fork({ topic: name, at, name: called }: AppParams<"fork">): Promise<AppAnswer<"fork">> {
    const topic = this.#find(name);
    const { bundle, base } = await (await topic.running()).fork(at);
    const { app, params, isEncrypted } = topic.log.view!;
    const log = this.#make({
      app: CID.parse(app),
      bundle: CID.parse(bundle),
      params,
      isEncrypted,
      fork: { topic: topic.log.topicId, event: CID.parse(at), digest: base.record.digest },
    }, await this.#keys());
    new SnapshotStore(log.store).save(base, "base", this.#init.clock.wallMs());
    const forked = await this.#add(log, {
      name: this.#nameFor(called, `${topic.record.name}-fork`),
      isKept: false,
      nodes: [],
    });
    return { topic: forked.status() };
  }

  /** The state that a fork begins with, as it is computed where its origin is here, else from peers. */
  async #baseOf(id: CID, { topic, event, digest }: ForkOrigin): Promise<TopicSnapshot | undefined> {
    const origin = this.#topics.get(topic.toString());
    if (origin?.isRunning !== true || origin.log.topic?.has(event) !== true) {
      return await this.#init.fetchState(id, digest);
    }
    const { base } = await origin.app.fork(event.toString());
    if (bytesEqual(base.record.digest, digest)) return base;
    throw new RealmError(
      "refused",
      `Cannot start the fork: the state of ${topic} at ${event} is another than its creator says`,
    );
  }

  /** A topic of the person's own: its namespace has the name that its genesis gives it. */
  #make(content: Parameters<typeof AppLog.create>[1], person: KeyPair): AppLog {
    const { verify, clock } = this.#init;
    const signer = { signer: signerOf(person, nodeBackend()), random };
    const openers = [openerOf(person.secretKey)];
    const made = AppLog.create({ store: NOWHERE, verify, openers }, content, signer);
    const events = made.topic!.order().map((event) => made.read(event));
    const log = AppLog.open({
      store: this.#namespace(made.topicId),
      verify,
      topic: made.topicId,
      openers,
    });
    log.offer(events);
    log.flush(clock.wallMs());
    return log;
  }

  async #join({ ticket, name, keep }: AppParams<"join">): Promise<AppAnswer<"join">> {
    const { topic: id, peers, invite, state } = parseAppTicket(ticket);
    const text = id.toString();
    if (this.#topics.has(text) || this.#joining.has(text)) {
      const needs = this.#topics.get(text)?.status().needs;
      throw new RealmError("refused", `Cannot join topic ${id}: this machine takes part already`, {
        hint: needs === undefined
          ? "Run realm app topics"
          : `It needs a bundle: run realm app install ${needs}`,
      });
    }
    this.#joining.add(text);
    const wrote = leftTopic(this.#init.store, text)?.wrote;
    try {
      const topic = await this.#open(id, {
        name: this.#nameFor(name, `topic-${text.slice(-6)}`),
        isKept: keep || invite?.role === "keeper",
        ...(invite === undefined ? {} : { invite: invite.seed.toBase64(), isNew: true as const }),
        nodes: peers,
        ...wrote && { wrote },
        ...state && {
          state: {
            heads: state.heads.toHex(),
            count: state.count,
            digest: state.digest.toHex(),
          },
        },
      });
      return { topic: topic.status() };
    } finally {
      this.#joining.delete(text);
    }
  }

  async #invite({ topic: name, role }: AppParams<"invite">): Promise<AppAnswer<"invite">> {
    const topic = this.#find(name);
    const state = role === "keeper" ? undefined : await topic.ticketState();
    const { said, seed } = inviteTo(topic.log, role, random);
    topic.write((log) => log.write(said, topic.person));
    const peers = this.#init.ticketPeers(topic);
    const ticket = formatAppTicket({
      topic: topic.log.topicId,
      bundle: CID.parse(topic.status().bundle!),
      peers,
      invite: { seed, role },
      state,
    });
    return { ticket, nodes: peers.length };
  }

  async #leave({ topic: name, forget }: AppParams<"leave">): Promise<AppAnswer<"leave">> {
    const { store } = this.#init;
    const isOpen = this.#topics.values().some(({ id, record }) =>
      name === id || name === record.name
    );
    const left = forget && !isOpen ? findLeft(store, name) : undefined;
    if (left !== undefined && !this.#joining.has(left)) {
      leaveTopic(store, left, { wrote: leftTopic(store, left)?.wrote ?? [] });
      return { topic: left };
    }
    const topic = this.#find(name);
    const role = topic.log.membership?.roleOf(topic.person.publicKey);
    if (!forget && role === "creator") {
      throw new RealmError("refused", "Cannot leave the topic: its creator cannot", {
        hint: "realm app leave --forget deletes it on this machine alone",
      });
    }
    const told = !forget && role !== undefined ? { told: await topic.leave() } : {};
    if (this.#topics.get(topic.id) !== topic) return { topic: topic.id, ...told };
    if (topic.isClosed) {
      throw new RealmError(
        "unreachable",
        "Cannot delete the topic: the agent ends, others were told",
        {
          hint: "Run realm app leave again when it is there",
        },
      );
    }
    const wrote = topic.wrote(forget);
    const isKept = !forget && wrote.length > 0;
    // First, since it may fail: then nothing has changed.
    leaveTopic(store, topic.id, { ...isKept && { name: topic.record.name }, wrote });
    for (const [session, view] of this.#views) if (view.topic === topic) this.#closeView(session);
    this.#topics.delete(topic.id);
    topic.close(isKept);
    this.#init.removed(topic);
    return { topic: topic.id, ...told, ...isKept && { kept: topic.log.topic?.size ?? 0 } };
  }

  #remove({ topic: name, key }: AppParams<"remove">): AppAnswer<"remove"> {
    const topic = this.#find(name);
    const { person } = topic;
    const before = removedBy(topic.log, key, person.publicKey);
    if (before !== undefined && !readsOn(topic.log, key)) return { event: before, already: true };
    const events = topic.write((log) => {
      newestKey(log); // who lacks it cannot write the epoch, and is told before anything is written
      const said = before === undefined ? revocationsOf(log, key) : [];
      const written = said.map((each) => log.write(each, person));
      // From now on it reads nothing that is written.
      if (log.view!.isEncrypted) written.push(log.write(nextEpoch(log, random), person));
      return written;
    });
    return { event: events[0]!.id.toString() };
  }

  async #upgrade({ topic: name, bundle: id }: AppParams<"upgrade">): Promise<AppAnswer<"upgrade">> {
    const topic = this.#find(name);
    const running = await topic.running();
    const bundle = await this.bundles.get(id);
    const { app } = topic.log.view!;
    if (bundle === undefined) {
      throw new RealmError(
        "not-found",
        `Cannot upgrade to bundle ${id}: it is not installed here`,
        { hint: "Run realm app install BUNDLE first" },
      );
    }
    if (bundle.app !== app) {
      throw new RealmError(
        "refused",
        `Cannot upgrade to bundle ${id}: it is of app ${bundle.app}, wanted ${app}`,
        { hint: "A later version of an app names an earlier bundle with follows in bundle.toml" },
      );
    }
    if (topic.status().bundle === id) {
      throw new RealmError("refused", `Cannot upgrade to bundle ${id}: the topic is on it already`);
    }
    await running.addBundle(bundle.code);
    const tried = await running.dryUpgrade(id, topic.placeFor(topic.person.publicKey));
    if (tried.verdict !== "accepted") {
      throw new RealmError(
        "refused",
        `Cannot upgrade to bundle ${id}: its migration is ${tried.verdict}` +
          (tried.reason === undefined ? "" : `: ${tried.reason}`),
      );
    }
    const said = { kind: "upgrade", bundle: CID.parse(id) } as const;
    const event = topic.write((log) => log.write(said, topic.person));
    return { event: event.id.toString() };
  }

  #checkpoint({ topic: name }: AppParams<"checkpoint">): AppAnswer<"checkpoint"> {
    const topic = this.#find(name);
    // Of the state only where everything that is here will be in its past.
    const isOfAll = (topic.log.topic?.heads.length ?? 0) <= PARENTS_MAX;
    const digest = (isOfAll && topic.settledDigest?.digest) || null;
    const event = topic.write((log) => log.write({ kind: "checkpoint", digest }, topic.person));
    return { event: event.id.toString() };
  }

  async #bundle(id: string): Promise<AppAnswer<"bundle">> {
    try {
      return { bytes: (await this.bundles.whole(id)).toBase64() };
    } catch (error) {
      if (!(error instanceof RealmError)) throw error;
      // A file that is damaged is as good as none: a peer may have what it was.
      try {
        return { bytes: (await this.#init.fetchBundle(id)).toBase64() };
      } catch (problem) {
        if (!(problem instanceof RealmError)) throw problem;
        for (const topic of this.#topics.values()) topic.notFetched(id, problem.message);
        throw error.code === "not-found" ? problem : error;
      }
    }
  }

  async #view({ topic: name, session, input }: AppParams<"view">): Promise<AppAnswer<"view">> {
    const topic = this.#find(name);
    const before = this.#views.get(session);
    if (before !== undefined) clearTimeout(before.timer);
    this.#views.set(session, {
      topic,
      timer: setTimeout(() => this.#closeView(session), VIEW_IDLE_MS),
    });
    const app = await topic.running();
    const { nodes, intents } = await app.view(session, input);
    const calls = [];
    for (const { name, input } of intents) calls.push(await topic.call(name, input));
    const shown = calls.length === 0 ? nodes : (await app.view(session, undefined)).nodes;
    return { nodes: shown, calls };
  }

  #closeView(session: string): void {
    const view = this.#views.get(session);
    if (view === undefined) return;
    clearTimeout(view.timer);
    this.#views.delete(session);
    // Where the app does not run any more there is nothing to close.
    if (view.topic.isRunning) void view.topic.app.closeView(session).catch(() => {});
  }
}

/** Text as bytes, a character for each. */
function byteString(text: string): string {
  return textOf(new TextEncoder().encode(text));
}
