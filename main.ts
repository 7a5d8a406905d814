/**
 * The program: the words of the command line in, an exit status out.
 *
 * @module
 */
import { main } from "./cli/app.ts";
import { systemShell } from "./cli/context.ts";

if (import.meta.main) Deno.exit(await main(Deno.args, systemShell()));
