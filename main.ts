/**
 * The program: the words of the command line in, an exit status out.
 *
 * @module
 */
import { startAhead, wantsFirstWorker } from "./cli/head_start.ts";

if (import.meta.main) {
  startAhead(Deno.args);
  // Loaded only now, while what was started ahead loads itself.
  const [{ main }, { systemShell }] = await Promise.all([
    wantsFirstWorker(Deno.args) ? import("./cli/run_only.ts") : import("./cli/app.ts"),
    import("./cli/context.ts"),
  ]);
  Deno.exit(await main(Deno.args, systemShell()));
}
