/**
 * The fold of a control log: takes its events in their order, each by what is in force at its
 * place, and gives the {@link RealmView}.
 *
 * Who may do what: the owner everything but succession, operators of the manifest in force restart,
 * scale, drain and publish, a node tells how the command ended that it was asked to run, the
 * recovery key names another owner. What is not allowed to its author there has no effect.
 *
 * @module
 */
import { CID, sha256HexSync } from "../kernel/canonical.ts";
import { formatPublicKey } from "../kernel/key.ts";
import type { Topic, TopicEvent } from "../kernel/topic.ts";
import { NO_OVERRIDES, type Overrides, type Restart, type Scale } from "./desired.ts";
import type {
  ApprovedNode,
  ExecRecord,
  ManifestRecord,
  PublishedBlob,
  RealmAlarm,
  RealmView,
  SecretRecord,
} from "./realm_view.ts";
import type { Said, SaidManifest } from "./said.ts";
import type { Standing } from "./standing.ts";

/** What the fold asks of the log. */
export interface FoldSource {
  readonly topic: Topic;
  readonly standing: Standing;
  said(event: TopicEvent): Said;
  /** Components that are not the same in one manifest and the next. */
  touched(before: TopicEvent, after: TopicEvent): readonly string[];
}

/** Tips that an alarm names: a key that forks for ever shall not fill it. */
const TIPS_MAX = 16;

type SaidScale = Extract<Said, { kind: "scale" }>;
type SaidDrain = Extract<Said, { kind: "drain" }>;
type Mutable<T> = { -readonly [K in keyof T]: T[K] };

interface InForce {
  readonly event: TopicEvent;
  readonly said: SaidManifest;
  readonly record: ManifestRecord;
}

/** See the module. Goes on with {@link RealmFold.take} for as long as events come in order. */
export class RealmFold {
  #owner: string;
  readonly #owners: string[];
  readonly #nodes = new Map<string, ApprovedNode>();
  /** The last name of each key that was ever approved. */
  readonly #names = new Map<string, string>();
  /** Revoked here: for good. */
  readonly #gone = new Set<string>();
  readonly #keyChanges: Extract<RealmAlarm, { kind: "key-changed" }>[] = [];
  #inForce: InForce | undefined;
  readonly #history: ManifestRecord[] = [];
  #overrides: Overrides = NO_OVERRIDES;
  readonly #published = new Map<string, PublishedBlob>();
  readonly #secrets = new Map<string, SecretRecord>();
  readonly #execs = new Map<TopicEvent, Mutable<ExecRecord>>();

  constructor(readonly source: FoldSource) {
    this.#owner = formatPublicKey(source.standing.genesis.owner);
    this.#owners = [this.#owner];
  }

  /** The fold of all kept events. */
  static of(source: FoldSource): RealmFold {
    const fold = new RealmFold(source);
    for (const event of source.topic.order()) fold.take(event);
    return fold;
  }

  /** The event of the manifest in force. */
  get inForce(): TopicEvent | undefined {
    return this.#inForce?.event;
  }

  /** Takes the next kept event in the order. */
  take(event: TopicEvent): void {
    const said = this.source.said(event);
    const author = formatPublicKey(event.author);
    if (!this.source.topic.counts(event)) {
      if (said.kind !== "manifest") return;
      const [outcome, why] = this.source.topic.isVoid(event)
        ? ["void", "its author was revoked or replaced before it"] as const
        : ["conflict", "its author wrote on two branches and has not joined them"] as const;
      this.#history.push(recordOf(event, said, author, outcome, why));
      return;
    }
    const isOwner = author === this.#owner;
    const isOperator = isOwner || (this.#inForce?.said.operators.includes(author) ?? false);
    switch (said.kind) {
      case "succession":
        // Only the recovery key's are not void.
        this.#owner = said.owner;
        this.#owners.push(said.owner);
        return;
      case "manifest":
        return this.#apply(event, said, author, isOwner);
      case "approve":
        return isOwner ? this.#approve(event, said.key, said.name) : undefined;
      case "revoke":
        if (!isOwner) return;
        this.#gone.add(said.key);
        this.#nodes.delete(said.key);
        return;
      case "restart":
        return isOperator ? this.#restart(said.component, said.nodes) : undefined;
      case "scale":
        return isOperator ? this.#scale(event, said) : undefined;
      case "drain":
        return isOperator ? this.#drain(event, said) : undefined;
      case "publish": {
        const { digest, bytes, name } = said;
        if (!isOperator || this.#published.has(digest)) return;
        this.#published.set(digest, { digest, bytes, name, author, event: text(event) });
        return;
      }
      case "secret": {
        if (!isOwner) return;
        const { name, nodes, sealed } = said;
        if (sealed === null) this.#secrets.delete(name);
        else this.#secrets.set(name, { name, event: text(event), author, nodes, sealed });
        return;
      }
      case "exec": {
        const to = [...this.#nodes.values()].find(({ name }) => name === said.node);
        if (!isOwner || to === undefined) return;
        const { command, expiresAtMs, node } = said;
        const record = { event: text(event), author, node, key: to.key, command, expiresAtMs };
        this.#execs.set(event, record);
        return;
      }
      case "executed": {
        const exec = this.#execs.get(this.source.topic.get(said.exec)!);
        if (exec?.key === author && exec.status === undefined) exec.status = said.status;
        return;
      }
      case "genesis":
      case "unknown":
        return;
    }
  }

  #apply(event: TopicEvent, said: SaidManifest, author: string, isOwner: boolean): void {
    const version = this.#inForce?.record.version ?? 0;
    const refuse = (outcome: "refused" | "stale", why: string) => {
      this.#history.push(recordOf(event, said, author, outcome, why));
    };
    if (!isOwner) return refuse("refused", `its author is not the owner, who is ${this.#owner}`);
    if (said.problem !== undefined) return refuse("refused", said.problem);
    if (said.version <= version) {
      return refuse("stale", `its version is ${said.version}, wanted more than ${version}`);
    }
    const record = recordOf(event, said, author, "applied");
    this.#history.push(record);
    this.#clearOverrides(event, said);
    this.#inForce = { event, said, record };
  }

  /** An apply that touches a component ends what operators changed of it. */
  #clearOverrides(event: TopicEvent, { nodes }: SaidManifest): void {
    const { restarts, scales, drained } = this.#overrides;
    const touched = restarts.length + scales.length === 0
      ? []
      : this.source.touched(this.#inForce!.event, event);
    const isLeft = ({ component, node }: { component: string; node?: string }) =>
      !touched.includes(component) && (node === undefined || nodes.has(node));
    this.#overrides = {
      ...this.#overrides,
      restarts: restarts.filter(isLeft),
      scales: scales.filter(isLeft),
      drained: drained.filter((node) => nodes.has(node)),
    };
  }

  #approve(event: TopicEvent, key: string, name: string): void {
    if (this.#gone.has(key)) return;
    for (const before of [...this.#nodes.values()]) {
      if (before.name !== name || before.key === key) continue;
      this.#nodes.delete(before.key);
      this.#keyChanges.push({
        kind: "key-changed",
        name,
        from: before.key,
        to: key,
        event: text(event),
      });
    }
    const there = this.#nodes.get(key);
    const since = there?.name === name ? there.since : this.#inForce?.record.version ?? 0;
    this.#nodes.set(key, { key, name, event: text(event), since });
    this.#names.set(key, name);
  }

  /** Overrides are of components and nodes that the manifest in force has: it bounds them. */
  #isKnown(component: string, nodes: readonly string[]): boolean {
    const said = this.#inForce?.said;
    return said !== undefined && said.components.has(component) &&
      nodes.every((node) => said.nodes.has(node));
  }

  #restart(component: string, nodes: readonly string[]): void {
    if (!this.#isKnown(component, nodes)) return;
    const restarts = [...this.#overrides.restarts];
    for (const node of nodes.length === 0 ? [undefined] : nodes) {
      const at = restarts.findIndex((r) => r.component === component && r.node === node);
      const count = (restarts[at]?.count ?? 0) + 1;
      const restart: Restart = { component, ...(node === undefined ? {} : { node }), count };
      if (at < 0) restarts.push(restart);
      else restarts[at] = restart;
    }
    this.#overrides = { ...this.#overrides, restarts };
  }

  #scale(event: TopicEvent, { component, replicas, node }: SaidScale): void {
    if (!this.#isKnown(component, node === null ? [] : [node])) return;
    const scales = this.#overrides.scales.filter((scale) =>
      scale.component !== component || (scale.node ?? null) !== node
    );
    const scale: Omit<Scale, "replicas"> = { component, ...(node === null ? {} : { node }) };
    if (replicas !== null) scales.push({ ...scale, replicas });
    this.#overrides = { ...this.#overrides, scales, basis: this.#basisWith(event) };
  }

  #basisWith(event: TopicEvent): string {
    const basis = `${this.#overrides.basis ?? ""} ${text(event)}`;
    return sha256HexSync(new TextEncoder().encode(basis)).slice(0, 16);
  }

  #drain(event: TopicEvent, { node, drained }: SaidDrain): void {
    if (!this.#inForce?.said.nodes.has(node)) return;
    const others = this.#overrides.drained.filter((name) => name !== node);
    this.#overrides = {
      ...this.#overrides,
      drained: drained ? [...others, node].sort() : others,
      basis: this.#basisWith(event),
    };
  }

  /** Two manifests on branches of an author that it has not joined. */
  #equivocationOf(author: Uint8Array): RealmAlarm[] {
    const { topic } = this.source;
    const key = formatPublicKey(author);
    const own = this.#history.filter((each) => each.author === key && each.outcome === "conflict")
      .map(({ event }) => topic.get(CID.parse(event))!);
    for (const a of own) {
      const b = own.find((b) => a !== b && !topic.isAncestor(a, b) && !topic.isAncestor(b, a));
      if (b === undefined) continue;
      return [{ kind: "equivocation", author: key, events: [text(a), text(b)] }];
    }
    return [];
  }

  /** What it has come to, as a value of its own. */
  view(): RealmView {
    const { topic, standing } = this.source;
    const revoked = [...standing.revoked()].map(formatPublicKey).sort();
    const isLeft = (key: string) => !revoked.includes(key);
    const nodes = [...this.#nodes.values()].filter(({ key }) => isLeft(key));
    const conflicts = topic.forked().map((author): RealmAlarm => ({
      kind: "conflict",
      author: formatPublicKey(author),
      tips: topic.tipsOf(author).slice(0, TIPS_MAX).map(text),
    }));
    const equivocations = topic.forked().flatMap((author) => this.#equivocationOf(author));
    return {
      topic: topic.id.toString(),
      owner: this.#owner,
      owners: [...this.#owners],
      recoveryHash: standing.genesis.recoveryHash.toHex(),
      nodes: new Map(nodes.sort(byKey).map((node) => [node.key, node])),
      revoked,
      formerNames: new Map(revoked.flatMap((key) => {
        const name = this.#names.get(key);
        return name === undefined ? [] : [[key, { key, name }] as const];
      })),
      operators: this.#inForce?.said.operators.filter(isLeft) ?? [],
      inForce: this.#inForce?.record,
      history: [...this.#history],
      overrides: this.#overrides,
      published: new Map(this.#published),
      secrets: new Map([...this.#secrets].sort(([a], [b]) => a < b ? -1 : 1)),
      execs: [...this.#execs.values()].map((exec) => ({ ...exec })),
      alarms: [
        ...conflicts,
        ...equivocations,
        ...this.#keyChanges.filter(({ from }) => isLeft(from) && !this.#nodes.has(from)),
      ],
    };
  }
}

function recordOf(
  event: TopicEvent,
  { version, sha256 }: SaidManifest,
  author: string,
  outcome: ManifestRecord["outcome"],
  why?: string,
): ManifestRecord {
  const { lamport } = event;
  const record = { event: text(event), version, sha256, author, lamport, outcome };
  return why === undefined ? record : { ...record, why };
}

function text(event: TopicEvent): string {
  return event.id.toString();
}

function byKey(a: { key: string }, b: { key: string }): number {
  return a.key < b.key ? -1 : 1;
}
