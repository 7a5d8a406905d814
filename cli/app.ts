/**
 * The command line of realm: all of its commands.
 *
 * @module
 */
import { proposeCompletions, type RouteMap } from "@stricli/core";
import { GUEST_COMMAND } from "../agent/program.ts";
import { command, commands, type Invocation } from "./command.ts";
import { agent } from "./agent.ts";
import { apply } from "./apply.ts";
import { apps } from "./apps.ts";
import { completions } from "./completions.ts";
import type { Shell } from "./context.ts";
import { demo } from "./demo.ts";
import { doctor } from "./doctor.ts";
import { BRIEF, buildApp, dispatch, normalise as order, silent } from "./dispatch.ts";
import { exec } from "./exec.ts";
import { guestProcess } from "./guest_process.ts";
import { history } from "./history.ts";
import { init } from "./init.ts";
import { inspect } from "./inspect.ts";
import { invite } from "./invite.ts";
import { key } from "./key.ts";
import { logs } from "./logs.ts";
import { man } from "./man.ts";
import { nodes } from "./nodes.ts";
import { argument } from "./parameters.ts";
import { peer } from "./peer.ts";
import { plan } from "./plan.ts";
import { push } from "./push.ts";
import { rollback } from "./rollback.ts";
import { restart } from "./restart.ts";
import { run } from "./run.ts";
import { secrets } from "./secrets.ts";
import { serve } from "./serve.ts";
import { scale } from "./scale.ts";
import { status } from "./status.ts";
import { tui } from "./tui.ts";
import { upgrade } from "./upgrade.ts";
import { ui } from "./ui.ts";

/** Prints what may come next on a command line; the completion scripts call it. */
const complete = command({
  brief: "Propose completions of a command line",
  rest: argument("Words so far; the last one may be unfinished", "WORD", (text) => text),
  passThrough: true,
  async run(context, _flags, ...words) {
    const app = buildApp([], COMMANDS);
    const proposals = await proposeCompletions(app, words.length === 0 ? [""] : words, {
      process: silent(),
      shell: context.shell,
    });
    for (const { completion, brief } of proposals) {
      context.shell.write("stdout", `${completion}\t${brief}\n`);
    }
  },
});

/** Every command, by name. */
export const COMMANDS: RouteMap<Invocation> = commands(BRIEF, {
  run: command(run),
  serve,
  inspect,
  demo,
  init,
  key,
  invite,
  agent,
  peer,
  nodes,
  plan,
  apply,
  history,
  push,
  rollback,
  status,
  logs,
  exec,
  restart,
  secrets,
  scale,
  tui,
  ui,
  app: apps,
  doctor,
  upgrade,
  completions,
  man,
  __complete: complete,
  [GUEST_COMMAND]: guestProcess,
});

/**
 * Runs the command that `argv` names and returns the exit status of the program.
 *
 * Never throws: what goes wrong is printed to standard error of `shell`.
 */
export function main(argv: readonly string[], shell: Shell): Promise<number> {
  return dispatch(COMMANDS, argv, shell);
}

/** The words of any command in the order that is read: see `dispatch.ts`. */
export function normalise(argv: readonly string[]): string[] {
  return order(COMMANDS, argv);
}
