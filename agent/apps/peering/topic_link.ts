/**
 * A link with a peer about a topic, as the topic's core sees it.
 *
 * @module
 */
import { formatPublicKey } from "../../kernel/key.ts";
import { Link } from "../../kernel/peering/link.ts";
import type { Complete, TopicHello } from "./topic_frame.ts";
import type { Vouch } from "./topic_hello.ts";
import type { DriftAsked } from "./topic_states.ts";

/** Questions about a state that a peer may ask at once, and then in each second. */
const QUESTIONS_BURST = 80;
const QUESTIONS_PER_SEC = 8;

/** Where a search for what differs is. */
export interface Search extends DriftAsked {
  readonly answers: Uint8Array[];
  /** An answer is owed. */
  isAsked?: boolean;
}

/** See the module. */
export class TopicLink extends Link {
  /** Whether this side opened it, and so speaks first. */
  isOpener = false;
  saidHello = false;
  /** What the peer said first, once it was believed. */
  override hello: TopicHello | undefined = undefined;
  /** Whether the invite in it was good when it came, and the join that it showed. */
  isInvited = false;
  vouch: Vouch | undefined;
  /** How far each side said last that it is. */
  said: Complete | undefined;
  heard: Complete | undefined;
  /** The nodes that the peer was told of, as one text. */
  saidNodes = "";
  search: Search | undefined;
  #questions = QUESTIONS_BURST;
  #questionsAtMs = 0;

  /** Text form of the key of the person behind the peer. */
  get person(): string | undefined {
    return this.hello && formatPublicKey(this.hello.person);
  }

  /** Counts a question of the peer about our state; false when there were too many. */
  takeQuestion(nowMs: number): boolean {
    const refilled = (nowMs - this.#questionsAtMs) / 1000 * QUESTIONS_PER_SEC;
    this.#questions = Math.min(QUESTIONS_BURST, this.#questions + refilled);
    this.#questionsAtMs = nowMs;
    this.#questions -= 1;
    return this.#questions >= 0;
  }
}
