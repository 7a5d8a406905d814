/**
 * Every command with what help tells of it, as a list: references, manual pages and completions
 * are made from it, so that none of them can tell of something else.
 *
 * @module
 */
import type { RouteMap } from "@stricli/core";
import type { Invocation, RealmCommand } from "./command.ts";
import type { HelpOf } from "./help.ts";

/** A command that a user may call. */
export interface CommandEntry {
  /** `["nodes", "approve"]` */
  readonly path: readonly string[];
  /** One line. */
  readonly brief: string;
  /** Flags are its own: those of every command are not repeated. */
  readonly told: HelpOf;
}

/** The commands below `routes` in the order of their declaration, without hidden ones. */
export function commandTable(
  routes: RouteMap<Invocation>,
  prefix: readonly string[] = [],
): CommandEntry[] {
  return routes.getAllEntries().filter((entry) => !entry.hidden).flatMap(({ name, target }) => {
    const path = [...prefix, name.original];
    if ("getAllEntries" in target) return commandTable(target, path);
    const { brief, told } = target as RealmCommand;
    return [{ path, brief, told }];
  });
}
