/**
 * What the components of an app that propose, show or act can reach: the functions of the matrix in
 * `contracts.ts` for their profile, and of those only what the person granted. A grant is looked at
 * in every call, so one that is taken back ends with it.
 *
 * Nothing here knows of other apps, or of keys, stores or the network: what there is of them is what
 * {@link Surroundings} has.
 *
 * @module
 */
import { sha256 } from "@noble/hashes/sha2.js";
import { textOf } from "../../kernel/byte_string.ts";
import { isCanonical } from "../../kernel/canonical.ts";
import { RealmError } from "../../kernel/error.ts";
import type { VerifySync } from "../../kernel/verify.ts";
import { IMPORT, type Profile } from "../contracts.ts";
import type { HostFunctions } from "../guest/app_guest.ts";
import type { AppliedEvent, AppSetting } from "../guest/host_imports.ts";
import type { State } from "../state.ts";

/** Bytes that one call of `random` gives. */
export const APP_RANDOM_BYTES_MAX = 65_536;
/** Bytes of a line of a log that are kept. */
export const LOG_BYTES_MAX = 4096;

/** A request of a behavior. */
export interface GuestRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: readonly (readonly [string, Uint8Array])[];
  readonly body: Uint8Array;
}

/** The answer to a {@link GuestRequest}. */
export interface GuestResponse {
  readonly status: number;
  readonly headers: readonly (readonly [string, Uint8Array])[];
  readonly body: Uint8Array;
}

/** Why there is no answer. */
export type FetchFailure =
  | { readonly tag: "denied" | "timed-out" | "too-large" }
  | { readonly tag: "invalid" | "unreachable"; readonly val: string };

/** A WIT result, as values of components have it. */
export type Result<T, E> =
  | { readonly tag: "ok"; readonly val: T }
  | { readonly tag: "err"; readonly val: E };

/** What a component meets, which is its topic's and nobody else's. */
export interface Surroundings {
  readonly setting: AppSetting;
  readonly verify: VerifySync;
  /** The public key that it proposes with, 32 bytes. */
  readonly key: Uint8Array;
  /** The state as it is now. */
  state(): State;
  /** Whether the person granted it, and did not take it back: an interface of the contract. */
  isGranted(capability: string): boolean;
  /** Level 0 to 3; at most {@link LOG_BYTES_MAX} of its message. */
  log(level: number, message: Uint8Array): void;
  /** Milliseconds since 1970. */
  nowMs(): number;
  random(length: number): Uint8Array;
}

/** What only a behavior meets. */
export interface BehaviorSurroundings extends Surroundings {
  /** The event that woke it. */
  event(): AppliedEvent | undefined;
  propose(kind: Uint8Array, payload: Uint8Array): Promise<Result<Uint8Array, Uint8Array>>;
  /** Answers only for hosts that were granted. */
  request(request: GuestRequest): Promise<Result<GuestResponse, FetchFailure>>;
}

/** The functions that may wait. */
export const WAITING = ["outbox.propose", "network.fetch"];

/** Functions by interface and name, for a component of a profile. */
export function hostOf(profile: "behavior", around: BehaviorSurroundings): HostFunctions;
export function hostOf(profile: Profile, around: Surroundings): HostFunctions;
export function hostOf(
  profile: Profile,
  around: Surroundings & Partial<BehaviorSurroundings>,
): HostFunctions {
  const { setting, verify } = around;
  const event = () => {
    const now = around.event!();
    if (now === undefined) throw new Error("no event woke it");
    return now;
  };
  const all: HostFunctions = {
    "state-read": {
      get: (key: Uint8Array) => around.state().get(key),
      scan: (start: Uint8Array, end: Uint8Array, limit: number) =>
        around.state().scan(start, end, limit),
    },
    params: {
      get: (name: Uint8Array) => setting.params.get(textOf(name)),
      creator: () => setting.creator,
    },
    event: {
      id: () => event().id,
      author: () => event().author,
      seq: () => BigInt(event().seq),
      lamport: () => BigInt(event().lamport),
      kind: () => event().kind,
    },
    identity: { key: () => around.key },
    crypto: {
      sha256,
      verify: (key: Uint8Array, signature: Uint8Array, message: Uint8Array) =>
        said(verify(key, message, signature)),
      "check-canonical": (data: Uint8Array) => said(isCanonical(data)),
    },
    log: {
      write: (level: number, message: Uint8Array) =>
        around.log(Math.min(level, 3), message.subarray(0, LOG_BYTES_MAX)),
    },
    clock: { now: () => BigInt(Math.trunc(around.nowMs())) },
    random: {
      bytes: (length: number) => {
        if (length > APP_RANDOM_BYTES_MAX) {
          throw new Error(`it wants ${length} random bytes at once`);
        }
        return around.random(length);
      },
    },
    ui: {},
    outbox: {
      propose: (kind: Uint8Array, payload: Uint8Array) => around.propose!(kind, payload),
    },
    network: { fetch: (request: GuestRequest) => around.request!(request) },
  };
  return Object.fromEntries(
    Object.entries(all).filter(([name]) => IMPORT[name]!.includes(profile))
      .map(([name, functions]) => [name, granted(name, functions, around, profile)]),
  );
}

/** The functions of an interface, refused while it is not granted; of `network` hosts are. */
function granted(
  name: string,
  functions: HostFunctions[string],
  around: Surroundings,
  profile: Profile,
): HostFunctions[string] {
  if (name === "network") return functions;
  return Object.fromEntries(
    Object.entries(functions).map(([fn, act]) => [fn, (...args: never[]) => {
      if (around.isGranted(name)) return act(...args);
      throw new RealmError(
        "refused",
        `The ${profile} component was ended: it called ${fn} of ${name}, which is not granted`,
        { hint: "realm app grants shows what the app may do; installing it again grants it" },
      );
    }]),
  );
}

function said(isGood: boolean): Result<undefined, undefined> {
  return { tag: isGood ? "ok" : "err", val: undefined };
}
