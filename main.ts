/**
 * The program: the words of the command line in, an exit status out.
 *
 * @module
 */
import { startAhead } from "./cli/head_start.ts";

if (import.meta.main) {
  const { runs, worker } = startAhead(Deno.args);
  // Loaded only now, while what was started ahead loads itself.
  if (runs) {
    const status = await (await import("./cli/run_only.ts")).main(Deno.args, worker);
    if (status !== undefined) Deno.exit(status);
  }
  const [{ main }, { systemShell }] = await Promise.all([
    import("./cli/app.ts"),
    import("./cli/context.ts"),
  ]);
  Deno.exit(await main(Deno.args, systemShell()));
}
