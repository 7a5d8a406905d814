/**
 * An app that is checked: its components, each called as one that has done nothing before.
 *
 * @module
 */
import { textOf } from "../../kernel/byte_string.ts";
import { RealmError } from "../../kernel/error.ts";
import type { VerifySync } from "../../kernel/verify.ts";
import { coreModules } from "../../wasm/component.ts";
import { decodeModule, SECTION } from "../../wasm/meter/module.ts";
import { hostOf } from "../arbiter/guest_host.ts";
import type { ViewInput, ViewIntent, ViewNode } from "../arbiter/views.ts";
import type { Role } from "../bundle.ts";
import { AppGuest, type GuestCode, guestCode } from "../guest/app_guest.ts";
import { StateApply } from "../guest/state_apply.ts";
import type { Guest } from "../replay.ts";
import type { State } from "../state.ts";
import { KEYS } from "./script.ts";

/** A person in front of a state. */
export interface Person {
  /** Public key, 32 bytes. */
  readonly key: Uint8Array;
  readonly state: State;
}

/** An event that state-propose made. */
export interface Proposal {
  readonly kind: Uint8Array;
  readonly payload: Uint8Array;
}

/** What can be done with an app. Everything but `guest` gives nothing where the component traps. */
export interface Subject {
  /** What applies events; has applied nothing that the caller knows of. */
  guest(): Guest;
  /** Why not, as bytes, or the events; undefined where the app has no state-propose. */
  propose(
    person: Person,
    intent: Uint8Array,
    input: Uint8Array,
  ): readonly Proposal[] | Uint8Array | undefined;
  /** What is shown, empty where the app has no interaction. */
  nodes(person: Person): readonly ViewNode[];
  intents(person: Person, input: ViewInput): readonly ViewIntent[];
  /** Words in its components: names of intents and events are among them, if not all. */
  readonly words: readonly string[];
  /** The first fault of each component but state-apply, by its profile. */
  readonly faults: ReadonlyMap<string, string>;
}

/** Units for one call of a component other than state-apply. */
const FUEL = 50_000_000;
/** The time that an interaction sees, which never goes on: what is made up comes out alike. */
const NOW_MS = 1_800_000_000_000;

/** The components of a bundle as a {@link Subject}; their profiles were checked. */
export async function subjectOf(
  components: ReadonlyMap<Role, Uint8Array>,
  verify: VerifySync,
): Promise<Subject> {
  const setting = { creator: KEYS[0]!, params: new Map<string, Uint8Array>() };
  const apply = components.get("state-apply")!;
  const load = () => StateApply.load(apply, setting, verify);
  // One remembers nothing, so two are as good as one for each history.
  const guests = [await load(), await load()];
  const codeOf = async (role: "state-propose" | "interaction") => {
    const component = components.get(role);
    return component && await guestCode(component, role);
  };
  const [propose, view] = [await codeOf("state-propose"), await codeOf("interaction")];
  const faults = new Map<string, string>();
  /** What a component answers; undefined where it traps, which is noted. */
  const called = (code: GuestCode, { key, state }: Person, name: string, ...args: unknown[]) => {
    const guest = new AppGuest(
      code,
      hostOf(code.profile, {
        setting,
        verify,
        key,
        state: () => state,
        isGranted: () => true,
        log: () => {},
        nowMs: () => NOW_MS,
        random: (length) => new Uint8Array(length),
      }),
      { fuelMax: FUEL },
    );
    try {
      return guest.call(name, ...args);
    } catch (error) {
      if (!(error instanceof RealmError)) throw error;
      if (!faults.has(code.profile)) {
        faults.set(code.profile, `${name}(${args.map(shown).join(", ")}): ${error.message}`);
      }
      return undefined;
    }
  };
  return {
    guest() {
      guests.reverse();
      return guests[0]!;
    },
    propose(person, intent, input) {
      if (propose === undefined) return undefined;
      const answer = called(propose, person, "propose", intent, input) as
        | { readonly tag: "ok"; readonly val: readonly Proposal[] }
        | { readonly tag: "err"; readonly val: Uint8Array }
        | undefined;
      return answer?.val ?? new Uint8Array();
    },
    nodes(person) {
      if (view === undefined) return [];
      return called(view, person, "render") as readonly ViewNode[] ?? [];
    },
    intents(person, input) {
      if (view === undefined) return [];
      return called(view, person, "handle", input) as readonly ViewIntent[] ?? [];
    },
    words: wordsOf(components),
    faults,
  };
}

/** An argument, for people. */
function shown(value: unknown): string {
  return JSON.stringify(value instanceof Uint8Array ? new TextDecoder().decode(value) : value);
}

/** Words of a text that could be names. */
export function wordsIn(text: string): string[] {
  return text.match(/[a-z][a-z0-9_-]{1,30}/gi) ?? [];
}

/** Words in what the components begin with in their memories. */
function wordsOf(components: ReadonlyMap<Role, Uint8Array>): string[] {
  const words = new Set<string>();
  for (const role of ["state-apply", "state-propose"] as const) {
    const bytes = components.get(role) ?? new Uint8Array();
    if (bytes.length === 0) continue;
    for (const { start, end } of coreModules(bytes)) {
      const module = bytes.subarray(start, end);
      const data = decodeModule(module).sections.get(SECTION.DATA);
      if (data === undefined) continue;
      for (const word of wordsIn(textOf(module.subarray(data.start, data.end)))) words.add(word);
    }
  }
  return [...words];
}
