/**
 * Watches that peers with equal events have equal states, and finds the first key that differs where
 * they have not (`state_digest.ts`).
 *
 * States change while it searches: so those that peers were told of last are kept, and a search that
 * finds its state gone ends, to be begun again when the peers tell of equal events the next time.
 *
 * @module
 */
import { textOf } from "../../kernel/byte_string.ts";
import { RealmError } from "../../kernel/error.ts";
import { bytesEqual } from "../../kernel/key.ts";
import type { LinkSet } from "../../kernel/peering/link_set.ts";
import { answerDrift, type Drift, DriftSearch, type Tree, treeDigest } from "../state_digest.ts";
import type { Complete, TopicFrame } from "./topic_frame.ts";
import type { TopicLink } from "./topic_link.ts";

/** The state of a topic after all its events. */
export interface TopicState {
  readonly tree: Tree;
  readonly abi: number;
}

/** A peer that comes to another state with the same events. */
export interface StateDrift {
  /** Text form of its node's key, and of its person's. */
  readonly peer: string;
  readonly person: string;
  /** The digest of the heads, of this side's state and of the peer's. */
  readonly heads: Uint8Array;
  readonly ours: Uint8Array;
  readonly theirs: Uint8Array;
  /** The first key that differs, once it was found. */
  readonly first: Drift | undefined;
}

/** States that are kept for the questions of peers. */
const STATES_MAX = 4;
/** Peers of which a drift is remembered. */
const DRIFTS_MAX = 64;

/** See the module. */
export class DriftWatch {
  /** By their digests as byte strings, the one told of last at the end. */
  readonly #states = new Map<string, TopicState>();
  readonly #drifts = new Map<string, StateDrift>();

  /** `changed` is called when {@link all} says something else. */
  constructor(
    readonly links: LinkSet<TopicLink, TopicFrame>,
    readonly changed: () => void,
  ) {}

  /** What was found and not undone since. */
  all(): readonly StateDrift[] {
    return [...this.#drifts.values()];
  }

  /** Keeps a state that peers are told of; returns its digest. */
  keep(state: TopicState): Uint8Array {
    const digest = treeDigest(state.tree, state.abi);
    const key = textOf(digest);
    this.#states.delete(key);
    this.#states.set(key, state);
    if (this.#states.size > STATES_MAX) this.#states.delete(this.#states.keys().next().value!);
    return digest;
  }

  /** Compares what a peer said of itself with what this side says of itself now. */
  compare(link: TopicLink, own: Complete): void {
    const { heard } = link;
    const isComparable = heard !== undefined && bytesEqual(heard.heads, own.heads) &&
      heard.digest !== null && own.digest !== null;
    if (!isComparable) return;
    const [ours, theirs] = [own.digest!, heard.digest!];
    if (heard.abi === own.abi && bytesEqual(ours, theirs)) {
      if (this.#drifts.delete(link.peer)) this.changed();
      return;
    }
    const known = this.#drifts.get(link.peer);
    const isKnown = known !== undefined && bytesEqual(known.ours, ours) &&
      bytesEqual(known.theirs, theirs);
    if (!isKnown) {
      this.#put(link, { heads: own.heads, ours, theirs, first: undefined });
    }
    if (known === undefined) {
      this.links.ports.notice(
        `Drift: ${link.peer} has the same events and another state, ${theirs.toHex()} ` +
          `where it is ${ours.toHex()} here`,
      );
    }
    const state = this.#states.get(textOf(ours));
    // A tree says nothing about one of another abi.
    const isSearched = link.search !== undefined || known?.first !== undefined && isKnown ||
      heard.abi !== own.abi || state === undefined;
    if (isSearched) return;
    link.search = { search: new DriftSearch(state.tree, state.abi, theirs), ours, theirs };
    this.#ask(link);
  }

  /** A peer asks about a state. */
  asked(
    link: TopicLink,
    { digest, question }: Extract<TopicFrame, { frame: "ask" }>,
    nowMs: number,
  ): void {
    if (!link.takeQuestion(nowMs)) return this.links.fault(link, "flood", "questions too fast");
    const state = this.#states.get(textOf(digest));
    let answer: Uint8Array | null;
    try {
      answer = state === undefined ? null : answerDrift(state.tree, question);
    } catch (error) {
      return this.links.fault(link, "garbage", problemOf(error));
    }
    this.links.send(link, { frame: "answer", answer });
  }

  /** A peer answers. */
  answered(link: TopicLink, answer: Uint8Array | null): void {
    const { search } = link;
    if (search === undefined) return this.links.fault(link, "garbage", "an answer out of place");
    if (answer === null) {
      link.search = undefined;
      return;
    }
    try {
      search.search.answer(answer);
    } catch (error) {
      link.search = undefined;
      return this.links.fault(link, "dishonest sync", problemOf(error));
    }
    const { found } = search.search;
    if (found === undefined) return this.#ask(link);
    link.search = undefined;
    const known = this.#drifts.get(link.peer);
    if (known === undefined) return;
    this.#put(link, { ...known, ours: search.ours, theirs: search.theirs, first: found });
    this.links.ports.notice(`Drift with ${link.peer} begins at key ${found.key.toHex()}`);
  }

  #ask(link: TopicLink): void {
    const { search, theirs } = link.search!;
    const { question } = search;
    if (question === undefined) throw new Error("the search has ended");
    this.links.send(link, { frame: "ask", digest: theirs, question });
  }

  #put(link: TopicLink, drift: Omit<StateDrift, "peer" | "person">): void {
    this.#drifts.delete(link.peer);
    this.#drifts.set(link.peer, { ...drift, peer: link.peer, person: link.person! });
    if (this.#drifts.size > DRIFTS_MAX) this.#drifts.delete(this.#drifts.keys().next().value!);
    this.changed();
  }
}

/** What is wrong with what a peer sent; anything else is thrown again. */
function problemOf(error: unknown): string {
  if (error instanceof RealmError) return error.message;
  throw error;
}
