/**
 * What `--trace` tells of a guest's calls: arguments and result in short form, how long it took,
 * and which grant it needed.
 *
 * Names, paths and numbers are shown; bytes, lists, the text of results what follows a `?` and
 * what precedes an `@` are not, because they may be secrets. A line is bounded, whatever the guest gives.
 *
 * @module
 */
import type { WasiInstance } from "./context.ts";
import {
  type Grant,
  GRANT_OF_INTERFACE,
  GRANT_OF_PREVIEW1,
  type GrantName,
  GRANTS,
} from "./grants.ts";

/** A call of the guest that was answered. */
export interface TracedCall {
  /** As in WIT: `wasi:io/poll#[method]pollable.block`. */
  readonly call: string;
  readonly args: readonly unknown[];
  /** What it gave, or threw: an error of the interface, or what ended the guest. */
  readonly outcome: { readonly value: unknown } | { readonly error: unknown };
  /** Waiting included. */
  readonly ms: number;
  /** The grant that it was denied for. */
  readonly lacks: GrantName | undefined;
}

/** Characters of all arguments, of the result, and of a text in them. */
const PART_MAX = 120;
const TEXT_MAX = 48;
const FIELDS_MAX = 6;

/** What the glue tells the host of a module of WASI 0.1. */
const HOSTS_OWN = "wasi_snapshot_preview1#bind-memory";

/** Wraps what answers a call, so that the instance's context is told of it. */
export function traced(
  host: WasiInstance,
  call: string,
  act: () => unknown,
  args: readonly unknown[],
): () => unknown {
  if (call === HOSTS_OWN) return act;
  return () => {
    // What answers in other words asks what answers: one call of the guest's is one line.
    if (host.isTraced) return act();
    host.isTraced = true;
    host.lacks = undefined;
    const from = host.ctx.clock.monotonicNs();
    const told = (outcome: TracedCall["outcome"]) => {
      const ms = Number(host.ctx.clock.monotonicNs() - from) / 1e6;
      host.ctx.trace?.({ call, args, outcome, ms, lacks: host.lacks });
    };
    let value: unknown;
    try {
      value = act();
    } catch (error) {
      told({ error });
      throw error;
    } finally {
      host.isTraced = false;
    }
    if (value instanceof Promise) {
      return value.then((value) => {
        told({ value });
        return value;
      }, (error) => {
        told({ error });
        throw error;
      });
    }
    told({ value });
    return value;
  };
}

const kebab = (name: string) =>
  name.replace(/^_/, "").replace(
    /[A-Z]/g,
    (c, at: number) => `${at > 0 ? "-" : ""}${c.toLowerCase()}`,
  );

function short(value: unknown, isSecret: boolean, depth = 0): string {
  switch (typeof value) {
    case "undefined":
      return "none";
    case "string": {
      if (isSecret) return `text(${value.length})`;
      // Neither a query nor who `user:password@host` is.
      const shown = value.slice(0, 1024).replace(/\?.*/s, "").replace(/^[^/]*@/s, "…@");
      const isCut = shown.length > TEXT_MAX || shown.length < value.length;
      return `${JSON.stringify(shown.slice(0, TEXT_MAX))}${isCut ? "…" : ""}`;
    }
    case "object":
      break;
    default:
      return String(value);
  }
  if (value === null) return "none";
  if (ArrayBuffer.isView(value)) return `bytes(${value.byteLength})`;
  if (Array.isArray(value)) return `list(${value.length})`;
  const { constructor } = value;
  // Resources, whose classes inherit nothing.
  if (constructor !== Object && typeof constructor === "function") return kebab(constructor.name);
  if (depth > 1) return "{…}";
  if ("tag" in value && typeof value.tag === "string") {
    const { tag, val } = value as { tag: string; val?: unknown };
    return val === undefined ? tag : `${tag}(${short(val, isSecret, depth + 1)})`;
  }
  const fields = Object.entries(value).filter(([, v]) => v !== undefined);
  if (fields.length > 0 && fields.every(([, v]) => typeof v === "boolean")) { // flags
    return `{${fields.flatMap(([name, v]) => v ? kebab(name) : []).join(", ")}}`;
  }
  const shown = fields.slice(0, FIELDS_MAX).map(([name, v]) =>
    `${kebab(name)}: ${short(v, isSecret, depth + 1)}`
  );
  return `{${shown.join(", ")}${fields.length > shown.length ? ", …" : ""}}`;
}

function outcomeOf({ call, outcome }: TracedCall): string {
  if ("error" in outcome) {
    const { error } = outcome;
    if (error instanceof Error) return call.startsWith("wasi:cli/exit#") ? "exit" : "trap";
    // An error's name is none of the secrets.
    return `err ${typeof error === "string" ? error : short(error, true)}`;
  }
  return outcome.value === undefined ? "ok" : short(outcome.value, true);
}

function grantOf({ call, lacks }: TracedCall): string {
  if (lacks !== undefined) return `denied: needs ${GRANTS[lacks].flag}`;
  const [of, what] = call.split("#") as [string, string];
  const name = GRANT_OF_INTERFACE[of] ?? GRANT_OF_PREVIEW1[what];
  if (name === undefined) return "always there";
  const grant: Grant = GRANTS[name];
  return `granted: ${grant.flag}`;
}

/** One line for a call, bounded. */
export function formatCall(traced: TracedCall): string {
  const { call, args, ms } = traced;
  const shown = args.slice(0, 8).map((arg) => short(arg, false)).join(", ");
  const cut = (text: string) => text.length > PART_MAX ? `${text.slice(0, PART_MAX)}…` : text;
  const asked = cut(`${shown}${args.length > 8 ? ", …" : ""}`);
  return `${call}(${asked}) = ${cut(outcomeOf(traced))}, ${ms.toFixed(3)} ms, ${grantOf(traced)}`;
}
