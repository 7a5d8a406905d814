/**
 * The proxy and the control API of a process that takes all of its file descriptors itself, and then
 * gives them back; prints what came of it. To be run with few (`ulimit -n`).
 *
 * @module
 */
import { FakeApi } from "../agent/control/fake_api.ts";
import { connectControl } from "../agent/control/client.ts";
import { serveControl } from "../agent/control/server.ts";
import { serveProxy } from "../agent/proxy/proxy.ts";

const path = Deno.args[0]!;
const crowded = Promise.withResolvers<unknown>();
const proxy = serveProxy({
  hostname: "127.0.0.1",
  port: 0,
  route: () => undefined,
  crowded: crowded.resolve,
});
const control = await serveControl({ path, api: new FakeApi() });

/** Asks until there is an answer. */
async function answerOf<T>(ask: () => Promise<T>): Promise<T> {
  while (true) {
    try {
      return await ask();
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

const askProxy = () => fetch(`http://127.0.0.1:${proxy.port}/`).then((answer) => answer.text());
const askControl = async () => {
  const client = connectControl(path);
  try {
    return (await client.status()).node.name;
  } finally {
    client.close();
  }
};

const taken: Deno.FsFile[] = [];
const takeAll = () => {
  try {
    while (true) taken.push(Deno.openSync("/dev/null"));
  } catch {
    // There is no other.
  }
};
for (const address of [{ port: proxy.port }, { transport: "unix", path }] as const) {
  takeAll();
  taken.pop()!.close(); // for this end of the connection, and none for the other
  const connection = await Deno.connect(address as Deno.ConnectOptions).catch(() => undefined);
  await connection?.read(new Uint8Array(1)).catch(() => {}); // until it is cut
  connection?.close();
}
console.log(String(await crowded.promise));
for (const file of taken) file.close();
console.log(await answerOf(askProxy));
console.log(await answerOf(askControl));
await Promise.all([proxy.close(), control.close()]);
