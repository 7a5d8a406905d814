/**
 * Asks the same of a proxy all the time, as a process: it may have to be in another network than the
 * test. `asker.ts URL BODY`; prints `{ asked, lost }` when it gets SIGTERM.
 *
 * @module
 */
import { Load } from "../../cli/demo/load.ts";

const [url, body] = Deno.args as [string, string];
const load = new Load([{
  name: "asker",
  url,
  check: (answer) => answer.trim() === body ? undefined : `body ${JSON.stringify(answer)}`,
}]);
Deno.addSignalListener("SIGTERM", async () => {
  await load.stop();
  console.log(JSON.stringify({ asked: load.answered, lost: load.lost }));
  Deno.exit();
});
