/**
 * The state of a topic as its core sees it: a digest, and who can be asked about the rest. The state
 * itself may be in another thread, so answers may come later.
 *
 * {@link StateShelf} is what gives the answers, where the state is. States change while others ask, so
 * the last few that were told of are kept; what one is asked of is named by its digest.
 *
 * @module
 */
import { textOf } from "../../kernel/byte_string.ts";
import { RealmError } from "../../kernel/error.ts";
import {
  answerDrift,
  type Drift,
  type DriftQuestion,
  DriftSearch,
  type Tree,
  treeDigest,
} from "../state_digest.ts";

/** A state, by name. */
export interface StateName {
  readonly digest: Uint8Array;
  readonly abi: number;
}

/** What comes of the answers of a peer so far. */
export type DriftStep =
  /** Ask this next. */
  | { readonly kind: "ask"; readonly question: DriftQuestion }
  | { readonly kind: "found"; readonly drift: Drift }
  /** An answer, or question, is one that no honest peer gives. */
  | { readonly kind: "lie"; readonly problem: string }
  /** The state is not there any more. */
  | { readonly kind: "gone" };

/** What a peer's question came to. */
export type DriftAnswer =
  | { readonly kind: "answer"; readonly answer: Uint8Array }
  | Extract<DriftStep, { kind: "lie" | "gone" }>;

/** What a core is given. `done` is called once, at once or later. */
export interface TopicStates {
  /**
   * The state after every event that is here. `undefined` while some are not applied, and for a
   * keeper, which applies none.
   */
  current(): StateName | undefined;
  /** {@link StateShelf.answer} */
  answer(digest: Uint8Array, question: DriftQuestion, done: (answer: DriftAnswer) => void): void;
  /** {@link StateShelf.step} */
  step(search: DriftAsked, done: (step: DriftStep) => void): void;
}

/** A search for the first key in which two states differ. */
export interface DriftAsked {
  /** The digests of both states. */
  readonly ours: Uint8Array;
  readonly theirs: Uint8Array;
  /** What was answered to what was asked, in order. */
  readonly answers: readonly Uint8Array[];
}

/** Of who applies nothing. */
export const NO_STATES: TopicStates = {
  current: () => undefined,
  answer: (_digest, _question, done) => done({ kind: "gone" }),
  step: (_search, done) => done({ kind: "gone" }),
};

/** States that are kept. */
const STATES_MAX = 4;

/** See the module. */
export class StateShelf {
  /** By their digests as byte strings, the one that was put there last at the end. */
  readonly #states = new Map<string, { readonly tree: Tree; readonly abi: number }>();

  /** Keeps a state; returns its name. */
  keep(tree: Tree, abi: number): StateName {
    const digest = treeDigest(tree, abi);
    const key = textOf(digest);
    this.#states.delete(key);
    this.#states.set(key, { tree, abi });
    if (this.#states.size > STATES_MAX) this.#states.delete(this.#states.keys().next().value!);
    return { digest, abi };
  }

  /** The answer to what a peer asks about a state. */
  answer(digest: Uint8Array, question: DriftQuestion): DriftAnswer {
    const state = this.#states.get(textOf(digest));
    if (state === undefined) return { kind: "gone" };
    return honestly(() => ({ kind: "answer", answer: answerDrift(state.tree, question) }));
  }

  /** What to ask next, after these answers. */
  step({ ours, theirs, answers }: DriftAsked): DriftStep {
    const state = this.#states.get(textOf(ours));
    if (state === undefined) return { kind: "gone" };
    return honestly(() => {
      const search = new DriftSearch(state.tree, state.abi, theirs);
      for (const answer of answers) search.answer(answer);
      const { question, found } = search;
      return found === undefined
        ? { kind: "ask", question: question! }
        : { kind: "found", drift: found };
    });
  }

  /** For a core in the same thread; `state` is what {@link TopicStates.current} says. */
  static of(state: () => { readonly tree: Tree; readonly abi: number } | undefined): TopicStates {
    const shelf = new StateShelf();
    return {
      current: () => {
        const now = state();
        return now && shelf.keep(now.tree, now.abi);
      },
      answer: (digest, question, done) => done(shelf.answer(digest, question)),
      step: (search, done) => done(shelf.step(search)),
    };
  }
}

/** What comes of it, or what is wrong with what a peer said; any other error is thrown again. */
function honestly<T>(act: () => T): T | { readonly kind: "lie"; readonly problem: string } {
  try {
    return act();
  } catch (error) {
    if (error instanceof RealmError) return { kind: "lie", problem: error.message };
    throw error;
  }
}
