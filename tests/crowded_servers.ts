/**
 * The proxy and the control API of a process that takes all of its file descriptors itself, and then
 * gives them back; prints what came of it. To be run with few (`ulimit -n`). Clients keep a
 * connection with each all the while where the second argument is "kept".
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

const addresses = [{ port: proxy.port }, { transport: "unix", path }] as const;
const connect = (to: typeof addresses[number]) => Deno.connect(to as Deno.ConnectOptions);

const kept: Deno.Conn[] = [];
if (Deno.args[1] === "kept") {
  for (const address of addresses) {
    const connection = await connect(address);
    await connection.write(new TextEncoder().encode("GET /kept HTTP/1.1\r\nhost: a\r\n\r\n"));
    await connection.read(new Uint8Array(4096));
    kept.push(connection);
  }
}

const taken: Deno.FsFile[] = [];
const takeAll = () => {
  try {
    while (true) taken.push(Deno.openSync("/dev/null"));
  } catch {
    // There is no other.
  }
};
const giveBack = () => taken.splice(0).forEach((file) => file.close());
for (const address of addresses) {
  takeAll();
  taken.pop()!.close(); // for this end of the connection, and none for the other
  const connection = await connect(address).catch(() => undefined);
  await connection?.read(new Uint8Array(1)).catch(() => {}); // until it is cut
  connection?.close();
}
if (kept.length > 0) giveBack(); // it is found out only then
console.log(String(await crowded.promise));
giveBack();
console.log(await answerOf(askProxy));
console.log(await answerOf(askControl));
await Promise.all([proxy.close(), control.close()]);
for (const connection of kept) {
  while (await connection.read(new Uint8Array(4096)));
  connection.close();
}
console.log("closed");
