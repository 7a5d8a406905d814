/**
 * The status of an agent as a stream of what changed in it.
 *
 * Pure. A status of a hundred machines and a thousand components is a megabyte, of which little
 * changes from one look to the next; so it travels in parts: each key of it, and each entry of the
 * long lists. The page puts the parts together again.
 *
 * @module
 */
import type { Status } from "../../tui/view_model.ts";

/** What identifies an entry of the lists that travel entry by entry. */
const ENTRIES = {
  nodes: (each: Status["nodes"][number]) => `${each.key} ${each.state}`,
  components: (each: Status["components"][number]) => each.name,
  replicas: (each: Status["replicas"][number]) => `${each.index} ${each.component}`,
  topics: (each: Status["topics"][number]) => each.topic,
} as const;

/** What is new since the status before. */
export interface Delta {
  /** Names of parts with what they are now, in the order of the status. */
  readonly set: readonly (readonly [part: string, value: unknown])[];
  /** Names of parts that are no more. */
  readonly gone: readonly string[];
}

/** What a live stream tells: what changed, or that the agent does not answer, and why. */
export type LiveEvent =
  | ({ readonly kind: "status"; readonly atMs: number } & Delta)
  | { readonly kind: "gone"; readonly reason: string };

/** The parts of a status by their names: `majority`, `nodes/KEY`. */
function* partsOf(status: Status): Generator<readonly [string, unknown]> {
  for (const [key, value] of Object.entries(status)) {
    const nameOf = (ENTRIES as Record<string, ((each: never) => string) | undefined>)[key];
    if (nameOf === undefined) yield [key, value];
    else for (const each of value as never[]) yield [`${key}/${nameOf(each)}`, each];
  }
}

/** What one reader has been told. */
export class DeltaWriter {
  #told = new Map<string, string>();

  /** What to tell it of this status. */
  next(status: Status): Delta {
    const told = new Map<string, string>();
    const set: [string, unknown][] = [];
    for (const [part, value] of partsOf(status)) {
      const json = JSON.stringify(value);
      told.set(part, json);
      if (this.#told.get(part) !== json) set.push([part, value]);
    }
    const gone = [...this.#told.keys()].filter((part) => !told.has(part));
    this.#told = told;
    return { set, gone };
  }
}

/** The reader's end: a status that goes on. Entries that came later stand later in their list. */
export class DeltaReader {
  readonly #parts = new Map<string, unknown>();

  /** The status after a change; entries that did not change are the same objects as before. */
  next({ set, gone }: Delta): Status {
    for (const part of gone) this.#parts.delete(part);
    for (const [part, value] of set) this.#parts.set(part, value);
    const status: Record<string, unknown> = {};
    for (const list of Object.keys(ENTRIES)) status[list] = [];
    for (const [part, value] of this.#parts) {
      const at = part.indexOf("/");
      if (at < 0) status[part] = value;
      else (status[part.slice(0, at)] as unknown[]).push(value);
    }
    return status as unknown as Status;
  }
}
