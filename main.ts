/**
 * The program: the words of the command line in, an exit status out.
 *
 * @module
 */
import { startAhead } from "./cli/head_start.ts";

if (import.meta.main) {
  startAhead(Deno.args);
  // Loaded only now, while what was started ahead loads itself.
  const [{ main }, { systemShell }] = await Promise.all([
    import("./cli/app.ts"),
    import("./cli/context.ts"),
  ]);
  Deno.exit(await main(Deno.args, systemShell()));
}
