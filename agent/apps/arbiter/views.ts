/**
 * User interfaces that are open: an instance of the interaction component for each, which remembers
 * what its person did until it is closed, ends by a fault, or others need its place.
 *
 * @module
 */
import type { AppGuest } from "../guest/app_guest.ts";

/** A node of a user interface, as `ui.node` of the contract. */
export interface ViewNode {
  readonly parent: number;
  readonly kind: "column" | "row" | "heading" | "text" | "button" | "field" | "gap";
  readonly text: string;
  readonly id: string;
}

/** What a person did, as `ui.input` of the contract. */
export type ViewInput =
  | { readonly tag: "press" | "key"; readonly val: string }
  | { readonly tag: "submit"; readonly val: readonly [string, string] };

/** What a person wants by it. */
export interface ViewIntent {
  readonly name: Uint8Array;
  readonly input: Uint8Array;
}

/** Open at once. */
export const VIEWS_MAX = 8;
/** What one input may be taken for, and what is shown at once. */
export const INTENTS_MAX = 16;
export const NODES_MAX = 4096;

/** See the module. */
export class Views {
  /** The one that was used last stands last. */
  readonly #guests = new Map<string, Promise<AppGuest>>();

  /** `start` makes an instance. */
  constructor(readonly start: () => Promise<AppGuest>) {}

  /** Opens a user interface under a name, or goes on with it. Throws as {@link AppGuest.call} does. */
  async show(
    name: string,
    input: ViewInput | undefined,
  ): Promise<{ nodes: readonly ViewNode[]; intents: readonly ViewIntent[] }> {
    const guest = await this.#guest(name);
    try {
      const intents = input === undefined ? [] : guest.call("handle", input) as ViewIntent[];
      const nodes = guest.call("render") as ViewNode[];
      return { nodes: nodes.slice(0, NODES_MAX), intents: intents.slice(0, INTENTS_MAX) };
    } catch (error) {
      this.close(name); // the next one is a fresh instance
      throw error;
    }
  }

  close(name: string): void {
    this.#guests.delete(name);
  }

  clear(): void {
    this.#guests.clear();
  }

  async #guest(name: string): Promise<AppGuest> {
    const guest = this.#guests.get(name) ?? this.start();
    this.#guests.delete(name);
    this.#guests.set(name, guest);
    if (this.#guests.size > VIEWS_MAX) this.close(this.#guests.keys().next().value!);
    try {
      return await guest;
    } catch (error) {
      this.close(name);
      throw error;
    }
  }
}
