/**
 * The key of a person's behavior in a topic: how it comes to take part, and what it may write.
 *
 * @module
 */
import type { RunnableBundle } from "./app_bundles.ts";
import type { Result } from "../apps/arbiter/guest_host.ts";
import type { EventOutcome } from "../apps/arbiter/topic_app_port.ts";
import type { AppLog } from "../apps/topic/app_log.ts";
import { behaviorOf } from "../apps/topic/authoring.ts";
import { nodeBackend } from "../node/crypto_node.ts";
import { CID } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import type { Clock } from "../kernel/ports.ts";
import { signerOf, type SyncSigner } from "../kernel/verify.ts";

/** What a {@link BehaviorAuthor} is made of. */
export interface BehaviorAuthorInit {
  readonly log: AppLog;
  readonly clock: Clock;
  readonly person: SyncSigner;
  /** The key of the behavior. */
  readonly signer: SyncSigner;
  /** Writes to the log, durably, and hands on what was written. */
  readonly write: <T>(act: (log: AppLog) => T) => T;
  /** Tries an event of the app, and writes it where that was accepted. Throws where it may not be. */
  readonly writeEvent: (
    by: SyncSigner,
    kind: Uint8Array,
    payload: Uint8Array,
  ) => Promise<EventOutcome>;
  /** A line for the log of the agent. */
  readonly notice: (text: string) => void;
}

/** Events that a behavior may write at once, and then in each second. */
const EVENTS_BURST = 32;
const EVENTS_PER_SEC = 2;

const encoder = new TextEncoder();

/** See the module. */
export class BehaviorAuthor {
  readonly #init: BehaviorAuthorInit;
  #left = EVENTS_BURST;
  #atMs: number;

  constructor(init: BehaviorAuthorInit) {
    this.#init = init;
    this.#atMs = init.clock.monotonicMs();
  }

  /** Writes what the behavior wants; the event's name, or why there is none. */
  async propose(kind: Uint8Array, payload: Uint8Array): Promise<Result<Uint8Array, Uint8Array>> {
    const { clock, signer, writeEvent } = this.#init;
    const nowMs = clock.monotonicMs();
    const since = (nowMs - this.#atMs) / 1000;
    this.#atMs = nowMs;
    this.#left = Math.min(EVENTS_BURST, this.#left + since * EVENTS_PER_SEC);
    const refused = (why: string) => ({ tag: "err", val: encoder.encode(why) }) as const;
    if (this.#left < 1) return refused("too many events: wait a moment");
    this.#left--;
    try {
      const { event, verdict, reason } = await writeEvent(signer, kind, payload);
      if (verdict !== "accepted") return refused(reason ?? verdict);
      return { tag: "ok", val: CID.parse(event).multihash.digest };
    } catch (error) {
      if (!(error instanceof RealmError)) throw error;
      return refused(error.message);
    }
  }

  /** The behavior takes part where its person may write; again when its person came back. */
  admit(bundle: RunnableBundle | undefined): void {
    const { log, person, signer, write, notice } = this.#init;
    const { membership, awaited } = log;
    if (awaited !== undefined) return;
    const hasBehavior = bundle?.code.components.behavior !== undefined;
    const own = membership?.roleOf(person.publicKey);
    if (!hasBehavior || own === undefined || own === "keeper") return;
    const isTakenOut = membership!.isRevoked(signer.publicKey, false);
    if (isTakenOut || membership!.roleOf(signer.publicKey) !== undefined) return;
    try {
      write(() => log.write(behaviorOf(log.topicId, person, signer.publicKey), signer));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      notice(`its behavior cannot take part: ${why}`);
    }
  }
}

/** Who holds an invite. */
export function inviteSigner(seed: Uint8Array): SyncSigner {
  const backend = nodeBackend();
  return signerOf({ secretKey: seed, publicKey: backend.publicKey(seed) }, backend);
}
