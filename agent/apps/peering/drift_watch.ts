/**
 * Watches that peers with equal events have equal states, and has the first key that differs looked
 * for where they have not (`topic_states.ts`). A search that finds its state gone, because more was
 * applied meanwhile, ends, and begins again when the peers tell of equal events the next time.
 *
 * @module
 */
import { bytesEqual } from "../../kernel/key.ts";
import type { LinkSet } from "../../kernel/peering/link_set.ts";
import type { Drift } from "../state_digest.ts";
import type { Complete, TopicFrame } from "./topic_frame.ts";
import type { Search, TopicLink } from "./topic_link.ts";
import type { DriftStep, TopicStates } from "./topic_states.ts";

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

/** What a {@link DriftWatch} is made with. */
export interface DriftWatchInit {
  readonly links: LinkSet<TopicLink, TopicFrame>;
  readonly states: TopicStates;
  /** {@link DriftWatch.all} says something else. */
  readonly changed: () => void;
}

/** Peers of which a drift is remembered. */
const DRIFTS_MAX = 64;
/** Drifts of a topic that are said to who watches the agent; all are in its status. */
const TOLD_MAX = 64;
/** Answers after which a search has gone on too long: it takes four or five in a million keys. */
const ANSWERS_MAX = 40;

/** See the module. */
export class DriftWatch {
  readonly #drifts = new Map<string, StateDrift>();
  /** What was said: a peer can make any state up, as often as it likes. */
  readonly #told = new Set<string>();

  constructor(readonly init: DriftWatchInit) {}

  /** What was found and not undone since. */
  all(): readonly StateDrift[] {
    return [...this.#drifts.values()];
  }

  /** Compares what a peer said of itself with what this side says of itself now. */
  compare(link: TopicLink, own: Complete): void {
    const { changed } = this.init;
    const { heard } = link;
    const isComparable = heard !== undefined && bytesEqual(heard.heads, own.heads) &&
      heard.digest !== null && own.digest !== null;
    if (!isComparable) return;
    const [ours, theirs] = [own.digest!, heard.digest!];
    if (heard.abi === own.abi && bytesEqual(ours, theirs)) {
      if (this.#drifts.delete(link.peer)) changed();
      return;
    }
    const known = this.#drifts.get(link.peer);
    const isKnown = known !== undefined && bytesEqual(known.ours, ours) &&
      bytesEqual(known.theirs, theirs);
    if (!isKnown) this.#put(link, { heads: own.heads, ours, theirs, first: undefined });
    this.#tell(
      link.peer,
      `Drift: ${link.peer} has the same events and another state, ${theirs.toHex()} where it is ` +
        `${ours.toHex()} here`,
    );
    // A tree says nothing about one of another abi.
    const isSearched = link.search !== undefined || isKnown && known.first !== undefined;
    if (isSearched || heard.abi !== own.abi) return;
    this.#go(link, link.search = { ours, theirs, answers: [] });
  }

  /** A peer asks about a state. */
  asked(
    link: TopicLink,
    { digest, question }: Extract<TopicFrame, { frame: "ask" }>,
    nowMs: number,
  ): void {
    const { links, states } = this.init;
    if (!link.takeQuestion(nowMs)) return links.fault(link, "flood", "questions too fast");
    states.answer(digest, question, (found) => {
      if (!links.has(link)) return;
      if (found.kind === "lie") return links.fault(link, "garbage", found.problem);
      links.send(link, {
        frame: "answer",
        answer: found.kind === "answer" ? found.answer : null,
      });
    });
  }

  /** A peer answers. */
  answered(link: TopicLink, answer: Uint8Array | null): void {
    const { search } = link;
    if (search === undefined || !search.isAsked) {
      return this.init.links.fault(link, "garbage", "an answer out of place");
    }
    search.isAsked = false;
    if (answer === null || search.answers.length === ANSWERS_MAX) {
      link.search = undefined;
      return;
    }
    search.answers.push(answer);
    this.#go(link, search);
  }

  /** Takes a search a step on. */
  #go(link: TopicLink, search: Search): void {
    this.init.states.step(search, (step) => {
      if (this.init.links.has(link) && link.search === search) this.#stepped(link, search, step);
    });
  }

  #stepped(link: TopicLink, search: Search, step: DriftStep): void {
    const { links } = this.init;
    if (step.kind === "ask") {
      search.isAsked = true;
      return links.send(link, { frame: "ask", digest: search.theirs, question: step.question });
    }
    link.search = undefined;
    if (step.kind === "lie") return links.fault(link, "dishonest sync", step.problem);
    const known = this.#drifts.get(link.peer);
    if (step.kind === "gone" || known === undefined) return;
    const { ours, theirs } = search;
    this.#put(link, { ...known, ours, theirs, first: step.drift });
    const key = step.drift.key.toHex();
    this.#tell(`${link.peer} ${key}`, `Drift with ${link.peer} begins at key ${key}`);
  }

  /** Says each thing once: that a peer drifts, and by which keys. */
  #tell(what: string, notice: string): void {
    if (this.#told.has(what) || this.#told.size === TOLD_MAX) return;
    this.#told.add(what);
    this.init.links.ports.notice(notice);
  }

  #put(link: TopicLink, drift: Omit<StateDrift, "peer" | "person">): void {
    this.#drifts.delete(link.peer);
    this.#drifts.set(link.peer, { ...drift, peer: link.peer, person: link.person! });
    if (this.#drifts.size > DRIFTS_MAX) this.#drifts.delete(this.#drifts.keys().next().value!);
    this.init.changed();
  }
}
