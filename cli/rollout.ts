/**
 * Waiting until what was applied runs everywhere, or is known to have failed: `--wait`.
 *
 * @module
 */
import type { ControlClient } from "../agent/control/client.ts";
import { systemClock } from "../agent/node/system_clock.ts";
import type { Context } from "./context.ts";
import { printable } from "./output.ts";
import { defaulted, parseDuration, toggle } from "./parameters.ts";

/** A release that failed, and what runs instead. */
export interface FailedRollout {
  readonly component: string;
  /** Of what it went back to. */
  readonly version: number;
  readonly node: string;
  /** Probe, status and body, or how it ended; then the last lines of the log. */
  readonly evidence: string;
}

/** The flags of commands that can wait. */
export const waitFlags = {
  wait: toggle("Wait until every replica runs it; fails, and says why, when a release goes back"),
  timeout: defaulted("With --wait: fail after so long", "DURATION", parseDuration, "10m"),
};

const LOOK_MS = 500;

/**
 * Waits until the rollouts of a version are over, telling of each step. `status` is that of the
 * command: 1 when one failed, when another manifest was applied meanwhile, or when they are not over
 * after `timeoutMs`. What was applied stays so, and rolls on.
 */
export async function awaitRollouts(
  context: Context,
  agent: Pick<ControlClient, "status">,
  version: number,
  timeoutMs: number,
): Promise<{ readonly status: 0 | 1; readonly failed: readonly FailedRollout[] }> {
  const startedMs = systemClock.monotonicMs();
  let said = "";
  for (;;) {
    const { manifest, components } = await agent.status();
    if ((manifest?.version ?? 0) > version) {
      context.note(`Version ${manifest!.version} was applied meanwhile`);
      return { status: 1, failed: [] };
    }
    const open = components.filter(({ rollout, unplaced }) =>
      rollout === null || rollout.state === "rolling" || rollout.state === "returning" ||
      unplaced.length > 0 && rollout.failure === null && rollout.state !== "refused"
    );
    if (manifest?.version === version && open.length === 0) {
      const refused = components.flatMap(({ name, rollout }) =>
        rollout?.state === "refused" ? [`${name} is ${formatRefusals(rollout.refusedBy)}`] : []
      );
      if (refused.length > 0) context.note(printable(refused.join("\n")));
      const failed = components.flatMap(({ name, rollout }): FailedRollout[] => {
        if (!rollout?.failure) return [];
        const { node, evidence } = rollout.failure;
        return [{ component: name, version: rollout.version, node, evidence }];
      });
      for (const each of failed) context.note(printable(formatFailure(each)));
      return { status: failed.length + refused.length === 0 ? 0 : 1, failed };
    }
    const now = open.flatMap(({ name, rollout, unplaced }) => {
      const homeless = unplaced.map(({ replicas, why }) => `${replicas} of ${name}: ${why}`);
      if (rollout === null) return [`${name} waits`, ...homeless];
      const { state, settled, wanted, waitsFor } = rollout;
      if (state !== "rolling" && state !== "returning") return homeless;
      const why = waitsFor.length === 0 ? "" : `, waits for ${waitsFor.join(", ")}`;
      const givenUp = formatGivenUp(rollout);
      const gone = givenUp === "" ? "" : `, ${givenUp}`;
      return [`${name} is ${state}: ${settled} of ${wanted}${why}${gone}`, ...homeless];
    }).join("\n");
    if (now !== said && now !== "") context.note(printable(now));
    said = now;
    if (systemClock.monotonicMs() - startedMs >= timeoutMs) {
      const missing = now === "" ? `the agent does not go by version ${version} yet` : now;
      context.note(printable(`Not over in time (--timeout), it rolls on: ${missing}`));
      return { status: 1, failed: [] };
    }
    await systemClock.sleep(LOOK_MS);
  }
}

/** Who refuses a manifest, and why. */
export function formatRefusals(
  refusedBy: readonly { readonly node: string; readonly version: number; readonly why: string }[],
): string {
  // An agent of a build of before may name none.
  if (refusedBy.length === 0) return "refused by a node that the agent does not name";
  return refusedBy.map(({ node, version, why }) => `refused by ${node}, version ${version}: ${why}`)
    .join("; ");
}

/** Who gave replicas up, and why; empty for nobody. */
export function formatGivenUp({ givenUpBy = [] }: {
  readonly givenUpBy?: readonly {
    readonly node: string;
    readonly replicas: number;
    readonly why: string;
  }[];
}): string {
  return givenUpBy.map(({ node, replicas, why }) =>
    `given up by ${node} (${replicas}), tried again: ${why}`
  ).join("; ");
}

/** What failed, where, why, and what runs instead. */
export function formatFailure({ component, version, node, evidence }: FailedRollout): string {
  return `${component} failed on ${node} and went back to version ${version}: ${evidence}`;
}
