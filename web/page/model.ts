/**
 * What the page knows and where its user is: the one state from which all views are made.
 *
 * @module
 */
import type { Sample, Status } from "../../tui/view_model.ts";

/** Where the user is: a view, and what it is about. */
export type Route =
  | { readonly view: "overview" | "components" | "apps" | "history" }
  | { readonly view: "node" | "component" | "logs"; readonly name: string };

/** Samples of the last hour, as the control API gives them. */
export interface Samples {
  readonly atMs: readonly number[];
  readonly values: Readonly<Record<string, readonly (number | null)[]>>;
}

/** A line of a log, or how many were missed. */
export type LogRow =
  | {
    readonly kind: "line";
    readonly replica: number | null;
    readonly wallMs: number;
    readonly stream: string;
    readonly level?: string;
    readonly text: string;
    /** Counts lines, so that each has a name. */
    readonly n: number;
  }
  | { readonly kind: "missed"; readonly lines: number; readonly n: number };

/** A manifest of the control log. */
export interface Version {
  readonly version: number;
  readonly sha256: string;
  readonly author: string;
  /** CID of its event. */
  readonly event: string;
  readonly state: string;
  readonly reason?: string;
  readonly takenAtMs: number | null;
}

/** What a manifest would do. */
export interface Plan {
  readonly title: string;
  readonly changes: readonly {
    readonly change: string;
    readonly subject: string;
    readonly name: string;
    readonly details: readonly {
      readonly key: string;
      readonly from?: string;
      readonly to?: string;
    }[];
  }[];
  readonly steps: readonly {
    readonly node: string;
    readonly action: string;
    readonly component: string;
    readonly replicas: number;
    /** Of a move: the node that gives them away. */
    readonly from?: string;
  }[];
  readonly unplaced: readonly {
    readonly component: string;
    readonly replicas: number;
    readonly why: string;
  }[];
  readonly violations: readonly string[];
  /** Other nodes that refuse a manifest now, and so may refuse this one. */
  readonly refusing?: readonly {
    readonly node: string;
    readonly version: number;
    readonly why: string;
  }[];
  readonly missing: readonly string[];
}

/** An order that the user is asked to confirm. */
export type Order =
  | { readonly kind: "restart"; readonly component: string; readonly node: string | null }
  | {
    readonly kind: "scale";
    readonly component: string;
    readonly node: string | null;
    /** As typed; empty: as in the manifest. */
    readonly replicas: string;
  }
  | { readonly kind: "drain"; readonly node: string; readonly drained: boolean };

/** The one state of the page; views never change it. */
export interface Model {
  /** `null` while it is not known. */
  readonly session: string | null;
  /** Why there is no session. */
  readonly refused: string | undefined;
  readonly route: Route;
  /** The node from which the realm is seen; `undefined`: the one that `realm ui` was given. */
  readonly node: string | undefined;
  readonly current: Sample | undefined;
  /** Some time before, for rates. */
  readonly previous: Sample | undefined;
  /** Why the agent does not answer, while it does not. */
  readonly gone: string | undefined;
  /** Who signs orders, or why nobody can. */
  readonly signer: string | null;
  readonly signerProblem: string | null;
  /** What the samples are of; `undefined`: of the node. */
  readonly samplesOf: string | undefined;
  readonly samples: Samples | undefined;
  /** The time that is pointed at in charts. */
  readonly cursorMs: number | undefined;
  readonly filter: string;
  readonly illOnly: boolean;
  /** Show all rows of long tables. */
  readonly showAll: boolean;
  readonly log: readonly LogRow[];
  readonly logFilter: string;
  readonly logPaused: boolean;
  /** Lines that came while it was paused. */
  readonly logWaiting: number;
  readonly logProblem: string | undefined;
  readonly versions: readonly Version[] | undefined;
  readonly plan: Plan | undefined;
  readonly order: Order | undefined;
  readonly isBusy: boolean;
  readonly notice: { readonly text: string; readonly isBad: boolean } | undefined;
  /** Wall time. */
  readonly nowMs: number;
  /** CSS pixels. */
  readonly width: number;
}

/** What the user may do; views call it. */
export interface Actions {
  change(change: Partial<Model>): void;
  /** Asks to confirm. */
  ask(order: Order): void;
  /** Carries out what was asked. */
  confirm(): void;
  seeFrom(node: string | undefined): void;
  chart(component: string | undefined): void;
  pauseLog(paused: boolean): void;
  /** Of a version of before, or of a manifest that was given. */
  plan(
    of: { readonly version: number } | { readonly manifest: string; readonly title: string },
  ): void;
}

/** At the start. */
export function freshModel(nowMs: number, width: number): Model {
  return {
    session: null,
    refused: undefined,
    route: { view: "overview" },
    node: undefined,
    current: undefined,
    previous: undefined,
    gone: undefined,
    signer: null,
    signerProblem: null,
    samplesOf: undefined,
    samples: undefined,
    cursorMs: undefined,
    filter: "",
    illOnly: false,
    showAll: false,
    log: [],
    logFilter: "",
    logPaused: false,
    logWaiting: 0,
    logProblem: undefined,
    versions: undefined,
    plan: undefined,
    order: undefined,
    isBusy: false,
    notice: undefined,
    nowMs,
    width,
  };
}

/** The route of a fragment such as `#/logs/auth`; the overview where it is none. */
export function parseRoute(fragment: string): Route {
  const [, view = "", name = ""] = /^#\/([a-z]+)(?:\/(.+))?$/.exec(fragment) ?? [];
  if (view === "components" || view === "apps" || view === "history") return { view };
  if ((view === "node" || view === "component" || view === "logs") && name !== "") {
    try {
      return { view, name: decodeURIComponent(name) };
    } catch {
      // not one of ours
    }
  }
  return { view: "overview" };
}

/** The fragment of a route. */
export function linkTo(view: Route["view"], name?: string): string {
  return name === undefined ? `#/${view}` : `#/${view}/${encodeURIComponent(name)}`;
}

/** Rates are taken over at least so long: shorter ones jump. */
const RATE_MS = 2_000;

/** The two samples to keep when a new one comes: rates need some time between them. */
export function withSample(
  { current, previous }: Pick<Model, "current" | "previous">,
  next: Sample,
): { current: Sample; previous: Sample | undefined } {
  const isOld = previous === undefined || current === undefined ||
    next.monotonicMs - previous.monotonicMs >= 2 * RATE_MS;
  return { current: next, previous: isOld ? current : previous };
}

/** The node that answers. */
export function selfOf(status: Status): Status["nodes"][number] | undefined {
  return status.nodes.find(({ self }) => self);
}
