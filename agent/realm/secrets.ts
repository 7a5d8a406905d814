/**
 * To whom the values of secrets have to be sealed: pure.
 *
 * A value is sealed to every approved node on which placement could put a component that reads it,
 * so that healing works while the owner is away.
 *
 * @module
 */
import type { Manifest } from "./manifest.ts";
import { possibleNodes } from "./placement.ts";
import type { ApprovedNode, SecretRecord } from "./realm_view.ts";

/** How a secret stands. */
export interface SecretState {
  readonly name: string;
  /** The value that is set; undefined where there is none. */
  readonly record: Pick<SecretRecord, "event" | "nodes" | "author"> | undefined;
  /** Whether the manifest declares it. */
  readonly isDeclared: boolean;
  /** Nodes that should be able to open it, and cannot. */
  readonly lacking: readonly Pick<ApprovedNode, "key" | "name">[];
  /**
   * Keys that can open it and take part no more, of nodes and of an owner that was replaced: it wants
   * a new value.
   */
  readonly exposed: readonly string[];
}

/** Keys of the approved nodes that may come to read a secret. */
export function readersOf(
  name: string,
  manifest: Manifest,
  nodes: Iterable<Pick<ApprovedNode, "key" | "name">>,
): Pick<ApprovedNode, "key" | "name">[] {
  const names = new Set(
    [...manifest.components].filter(([, { secrets }]) => secrets.includes(name))
      .flatMap(([component]) => possibleNodes(component, manifest)),
  );
  return [...nodes].filter((node) => names.has(node.name));
}

/**
 * Keys for a value that is sealed anew: `nodes` are those of its record. Who knew it before knows it
 * still, and is named until there is a new value; nothing more is sealed to who takes part no more.
 */
export function resealOf(
  readers: readonly Pick<ApprovedNode, "key">[],
  approved: readonly Pick<ApprovedNode, "key">[],
  record: Pick<SecretRecord, "nodes"> | undefined,
): { readonly nodes: readonly string[]; readonly sealedTo: readonly string[] } {
  const nodes = [...new Set([...readers.map(({ key }) => key), ...record?.nodes ?? []])];
  return { nodes, sealedTo: nodes.filter((each) => approved.some(({ key }) => key === each)) };
}

/** Every secret that is declared or set, sorted by name. */
export function secretStates(
  manifest: Manifest | undefined,
  nodes: readonly Pick<ApprovedNode, "key" | "name">[],
  records: ReadonlyMap<string, Pick<SecretRecord, "event" | "nodes" | "author">>,
  owner: string | null,
): SecretState[] {
  const counting = new Set([...nodes.map(({ key }) => key), owner]);
  const names = new Set([...manifest?.secrets.keys() ?? [], ...records.keys()]);
  return [...names].sort().map((name) => {
    const record = records.get(name);
    const readers = manifest === undefined ? [] : readersOf(name, manifest, nodes);
    return {
      name,
      record,
      isDeclared: manifest?.secrets.has(name) ?? false,
      lacking: readers.filter(({ key }) => !record?.nodes.includes(key)),
      exposed: record === undefined
        ? []
        : [...new Set([...record.nodes, record.author])].filter((key) => !counting.has(key)),
    };
  });
}
