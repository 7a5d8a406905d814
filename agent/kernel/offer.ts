/**
 * What becomes of events that are offered to a log.
 *
 * @module
 */
import type { CID } from "./canonical.ts";
import { RealmError } from "./error.ts";
import type { SignedEvent } from "./event.ts";
import { type EventKey, keyOf } from "./topic.ts";

/** Why an event was not taken. */
export interface Refusal {
  readonly id: CID;
  readonly author: Uint8Array;
  /**
   * `corrupt` or `bad-signature`: whoever sent it misbehaves. `refused`: its author never had a say,
   * as far as is known here; `void`: it had, and who does not know that it has no more may hand it
   * on in good faith; `unclaimed`: there is no genesis here yet; `full`: there is no room for it.
   */
  readonly code: "corrupt" | "bad-signature" | "refused" | "void" | "unclaimed" | "full";
  readonly problem: string;
}

/** What became of events that were offered. */
export interface Offered {
  /** New here now, parents first; also such as had been set aside. */
  readonly accepted: readonly SignedEvent[];
  /** How many were here already. */
  readonly known: number;
  /** Events that others wait for. */
  readonly missing: readonly CID[];
  readonly refused: readonly Refusal[];
  /** Events that were refused before are wanted now (`passed_over.ts`): they have to be offered again. */
  readonly isAgain: boolean;
}

/** One call of `offer` of a log, while it goes on. */
export class Offer {
  readonly accepted: SignedEvent[] = [];
  known = 0;
  readonly refused: Refusal[] = [];
  isAgain = false;
  readonly #missing = new Map<EventKey, CID>();

  refuse({ id, event: { author } }: SignedEvent, code: Refusal["code"], problem: string): void {
    this.refused.push({ id, author, code, problem });
  }

  /** Refuses an event for an error of reading or verifying it; throws any other again. */
  fail(signed: SignedEvent, error: unknown): void {
    if (!(error instanceof RealmError)) throw error;
    const code = error.code === "bad-signature" ? "bad-signature" : "corrupt";
    this.refuse(signed, code, error.message);
  }

  /** Forgets of what was refused after the first `from` what is none of these. */
  blameOnly(isOffered: (id: CID) => boolean, from: number): void {
    const refused = this.refused.splice(from);
    this.refused.push(...refused.filter(({ id }) => isOffered(id)));
  }

  miss(ids: readonly CID[]): void {
    for (const id of ids) this.#missing.set(keyOf(id), id);
  }

  done(): Offered {
    const { accepted, known, refused, isAgain } = this;
    if (this.#missing.size > 0) { for (const { id } of accepted) this.#missing.delete(keyOf(id)); }
    return { accepted, known, missing: [...this.#missing.values()], refused, isAgain };
  }
}
