/**
 * What the app of a topic (`topic_app.ts`) begins with, tells, and is given to act with. Everything that
 * passes between it and the agent can be cloned.
 *
 * @module
 */
import type { VerifySync } from "../../kernel/verify.ts";
import type { Profile } from "../contracts.ts";
import type { Opener } from "../topic/payload_keys.ts";
import type { TopicSnapshot } from "../topic/topic_snapshot.ts";
import type { CpuLimits } from "./cpu_budget.ts";
import type { FetchFailure, GuestRequest, GuestResponse, Result } from "./guest_host.ts";

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
  /**
   * The snapshot is one that a ticket named, of so many events: until these are here, or no more of them
   * come, it is what is shown.
   */
  readonly joining?: number;
  /** The state that a fork begins with. */
  readonly base?: TopicSnapshot;
  /** How long events may take to be applied; `CPU_LIMITS` unless given. */
  readonly cpu?: CpuLimits;
}

/** How far it is. */
export interface TopicProgress {
  /** Events of the order that were applied. */
  readonly applied: number;
  /** How many of them a checkpoint has fixed. */
  readonly final: number;
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
  /** The state is that of a ticket, since too few of its events are here to apply them. */
  readonly joining: boolean;
  /** Applying events takes more of a processor than it may: some wait. */
  readonly slowed: boolean;
  /** Why nothing is applied any more: the host failed. */
  readonly illness: string | undefined;
  /** What a checkpoint, or the ticket that one joined by, says that is not so here. */
  readonly checkpoint: string | undefined;
  readonly ticket: string | undefined;
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
