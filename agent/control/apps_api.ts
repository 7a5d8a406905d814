/**
 * The part of the control API that is about apps: what a person may ask of the apps on this machine.
 *
 * Each call is `POST /v1/apps/NAME` with a body and an answer of the shapes here. It is for the user of
 * this machine only: apps are the person's, and no owner or operator of a realm may ask on another
 * machine. Bytes are base64; topics, events and bundles are CIDs; keys of people are in text form.
 *
 * @module
 */
import * as z from "zod";

const count = z.int().nonnegative();
const cid = z.string().min(1).max(120);
const digest = z.string().regex(/^[0-9a-f]{64}$/, "wanted 64 lower-case hex digits");
/** A topic by its CID, or by its name where only one has it. */
const topicName = z.string().min(1).max(120);
const label = z.string().max(64).regex(/^\P{Cc}+$/u, "wanted 1 to 64 characters on one line");
const word = z.string().max(1024);
const input = z.base64().max(512 * 1024);

/** What became of an event. */
export const verdict = z.object({
  event: cid,
  type: z.string(),
  /** `pending`: it was not applied yet; `none`: it is not the app's. */
  verdict: z.enum(["accepted", "rejected", "trapped", "out-of-fuel", "pending", "none"]),
  /** Of a rejection: what the app says; of a trap: what happened. */
  reason: z.string().nullable(),
  fuel: count.nullable(),
  /** No later event can change it. */
  final: z.boolean(),
});

/** A topic that this machine takes part in. */
export const topicStatus = z.object({
  topic: cid,
  /** What it is called on this machine. */
  name: z.string(),
  /** `null`: its genesis is not here yet. */
  app: cid.nullable(),
  /** What the bundle calls the app; `null` where it is not here. */
  appName: z.string().nullable(),
  /** The bundle that is in force at the end of the order, as far as that was applied. */
  bundle: cid.nullable(),
  role: z.enum(["creator", "admin", "member", "keeper", "none"]),
  /**
   * `running`: applies events. `keeping`: stores and serves, applies none. `needs-bundle`: the bundle is
   * not here. `not-granted`: the person did not grant what it asks for. `revoked`: its publisher took
   * the bundle back. `needs-key`: the payload key of an epoch is not here. `stopped`: the host
   * failed; `why` says how. `starting`: its events are not here yet.
   */
  state: z.enum([
    "starting",
    "running",
    "keeping",
    "needs-bundle",
    "needs-key",
    "not-granted",
    "revoked",
    "stopped",
  ]),
  why: z.string().nullable(),
  /** A bundle that its events name and that is not installed, the first of them. */
  needs: cid.exactOptional(),
  /** The person's key, and that of its behavior where there is one. */
  key: z.string(),
  behaviorKey: z.string().nullable(),
  /** Why it ended last; it is started again. */
  behaviorProblem: z.string().nullable(),
  encrypted: z.boolean(),
  /** Events that are kept, and those of them that were applied. */
  events: count,
  applied: count,
  /** Whether all was applied that counts: digests of peers with the same heads are equal then. */
  settled: z.boolean(),
  heads: z.array(cid).readonly(),
  digest: digest.nullable(),
  /** Keys that take part, the creator too; of a behavior whose it is. */
  members: z.array(
    z.object({ key: z.string(), role: z.string(), person: z.string().exactOptional() }),
  ).readonly(),
  /** People that are connected in this topic. */
  peers: z.array(z.string()).readonly(),
  alarms: z.array(z.string()).readonly(),
});

const topicAnswer = z.object({ topic: topicStatus });

/** An entry of a state. */
export const stateEntry = z.object({ key: z.base64(), value: z.base64() });

/** An event of a topic, in the order in which events are applied. */
export const loggedEvent = verdict.extend({
  author: z.string(),
  seq: count,
  lamport: count,
  parents: z.array(cid).readonly(),
  /** Bytes; `null` where it is not the app's, or cannot be read here. */
  payload: z.base64().nullable(),
});

/** A node of a user interface, as `ui` of the contract has it. */
export const uiNode = z.object({
  parent: count,
  kind: z.enum(["column", "row", "heading", "text", "button", "field", "gap"]),
  text: z.string(),
  id: z.string(),
});

/** What a person does. */
export const uiInput = z.union([
  z.strictObject({ tag: z.literal("press"), val: word }),
  z.strictObject({ tag: z.literal("key"), val: word }),
  z.strictObject({
    tag: z.literal("submit"),
    val: z.tuple([word, z.string().max(65_536)]).readonly(),
  }),
]);

/** What came of an intent: the events that it became, or why it became none. */
export const callAnswer = z.object({
  /** Why the app proposed nothing, or would reject what it proposed. */
  refused: z.string().nullable(),
  events: z.array(verdict).readonly(),
});

const call = <Q extends z.ZodType, A extends z.ZodType>(request: Q, answer: A) => ({
  request,
  answer,
});

/** The calls by name. */
export const APP_CALLS = {
  topics: call(
    z.strictObject({}),
    z.object({ topics: z.array(topicStatus).readonly() }),
  ),
  create: call(
    z.strictObject({
      app: word,
      name: label.optional(),
      params: z.array(z.tuple([label, z.base64()])).max(64).default([]),
      encrypted: z.boolean().default(false),
    }),
    topicAnswer,
  ),
  /** With `keep` its events are stored and served, and not applied. */
  join: call(
    z.strictObject({
      ticket: z.string().max(16_384),
      name: label.optional(),
      keep: z.boolean().default(false),
    }),
    topicAnswer,
  ),
  invite: call(
    z.strictObject({ topic: topicName, role: z.enum(["member", "admin", "keeper"]) }),
    /** `nodes`: how many the ticket names, by which whoever has it can come. */
    z.object({ ticket: z.string(), nodes: count.exactOptional() }),
  ),
  /** Says so in the topic, and shows it no more. With `forget` it only deletes what is here of it. */
  leave: call(
    z.strictObject({ topic: topicName, forget: z.boolean().default(false) }),
    /**
     * `told`: how many people are known to have heard of it, where it was said. `kept`: events that
     * stay here for when it is joined again, until it is forgotten.
     */
    z.object({ topic: cid, told: count.exactOptional(), kept: count.exactOptional() }),
  ),
  /** Answered when the events are durable and applied. */
  call: call(
    z.strictObject({ topic: topicName, intent: word, input }),
    callAnswer,
  ),
  /** Entries whose keys start with `prefix`, in byte order, after the key `after`; a megabyte of them. */
  state: call(
    z.strictObject({
      topic: topicName,
      prefix: input,
      after: input.optional(),
      at: cid.optional(),
      limit: count.max(10_000).default(1000),
    }),
    z.object({
      entries: z.array(stateEntry).readonly(),
      /** There are more. */
      more: z.boolean(),
      digest,
    }),
  ),
  /** Events from the place `from` on; those whose payloads fit into a megabyte, and at least one. */
  log: call(
    z.strictObject({ topic: topicName, from: count.default(0), limit: count.max(10_000) }),
    z.object({ events: z.array(loggedEvent).readonly(), total: count }),
  ),
  digest: call(
    z.strictObject({ topic: topicName, at: cid.optional() }),
    z.object({ digest, abi: count, events: count, settled: z.boolean() }),
  ),
  /** Applies everything anew from the first event and compares. */
  verify: call(
    z.strictObject({ topic: topicName, at: cid.optional() }),
    z.object({ equal: z.boolean(), digest, again: digest, events: count, fuel: count }),
  ),
  /** A topic of one's own that begins with the state after an event. */
  fork: call(
    z.strictObject({ topic: topicName, at: cid, name: label.optional() }),
    topicAnswer,
  ),
  /** From here on another bundle of the app applies events; its migration is tried first. */
  upgrade: call(
    z.strictObject({ topic: topicName, bundle: cid }),
    z.object({ event: cid }),
  ),
  /** Fixes the order, and so the verdicts, of everything that is here now. */
  checkpoint: call(z.strictObject({ topic: topicName }), z.object({ event: cid })),
  /** Takes a key, or an invite, out of a topic; `already` where an event that is there has done so. */
  remove: call(
    z.strictObject({ topic: topicName, key: z.string().max(80) }),
    z.object({ event: cid, already: z.literal(true).exactOptional() }),
  ),
  /** The packed bytes of a bundle that a topic needs, of this machine or of peers. */
  bundle: call(z.strictObject({ bundle: cid }), z.object({ bytes: z.base64() })),
  /** Apps were installed, or their grants changed: the agent looks again. */
  changed: call(z.strictObject({}), z.object({})),
  /** Opens a user interface, or tells one that is open what a person did; it is closed when idle. */
  view: call(
    z.strictObject({ topic: topicName, session: z.uuid(), input: uiInput.optional() }),
    z.object({
      nodes: z.array(uiNode).readonly(),
      /** What came of the intents of the input, one each. */
      calls: z.array(callAnswer).readonly(),
    }),
  ),
  closeView: call(z.strictObject({ session: z.uuid() }), z.object({})),
} as const;

/** Name of a call. */
export type AppCall = keyof typeof APP_CALLS;
/** What is sent: fields with defaults may be missing. */
export type AppRequest<C extends AppCall> = z.input<typeof APP_CALLS[C]["request"]>;
/** What the agent gets. */
export type AppParams<C extends AppCall> = z.output<typeof APP_CALLS[C]["request"]>;
export type AppAnswer<C extends AppCall> = z.output<typeof APP_CALLS[C]["answer"]>;

/** What the agent has to do. */
export type AppsApi = {
  readonly [C in AppCall]: (params: AppParams<C>) => AppAnswer<C> | Promise<AppAnswer<C>>;
};

/** What a client can ask. */
export type AppsClient = {
  readonly [C in AppCall]: (request: AppRequest<C>) => Promise<AppAnswer<C>>;
};

export type TopicStatus = z.infer<typeof topicStatus>;
export type EventVerdict = z.infer<typeof verdict>;
export type CallAnswer = z.infer<typeof callAnswer>;
