/**
 * What Autobase takes, as one line of JSON: `node autobase.mjs FOLDER APPENDS SYNCED`.
 *
 * Its view is a hypercore that every value is appended to. Appends are awaited, alone and 100 at once;
 * RocksDB writes them without a sync of the disk. The other peer gets all of it over TCP on loopback, and
 * is done when its view is as long.
 */
import { Buffer } from "node:buffer";
import net from "node:net";
import path from "node:path";
import process from "node:process";
import Autobase from "autobase";
import Corestore from "corestore";

const [folder, appends, synced] = [process.argv[2], +process.argv[3], +process.argv[4]];
const payload = (i) => Buffer.alloc(200, i);
const open = async (name, key) => {
  const store = new Corestore(path.join(folder, name));
  const base = new Autobase(store, key, {
    open: (views) => views.get("view"),
    apply: async (nodes, view) => {
      for (const { value } of nodes) await view.append(value);
    },
    valueEncoding: "binary",
  });
  await base.ready();
  return { base, store };
};
const timed = async (count, act) => {
  const [from, before] = [performance.now(), process.cpuUsage()];
  await act();
  const { user, system } = process.cpuUsage(before);
  const ms = performance.now() - from;
  return { rate: count / ms * 1000, cpu: (user + system) / count, ms };
};

const first = await open("a");
const alone = await timed(appends, async () => {
  for (let i = 0; i < appends; i++) await first.base.append(payload(i));
});
const batched = await timed(synced - appends, async () => {
  for (let i = 0; i < synced - appends; i += 100) {
    await first.base.append(Array.from({ length: 100 }, (_, n) => payload(i + n)));
  }
});
await first.base.update();

const server = net.createServer((socket) => {
  const stream = first.store.replicate(false);
  stream.on("error", () => {});
  socket.on("error", () => {});
  socket.pipe(stream).pipe(socket);
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const replay = await timed(synced, async () => {
  const second = await open("b", first.base.key);
  const socket = net.connect(server.address().port, "127.0.0.1");
  const stream = second.store.replicate(true);
  stream.on("error", () => {});
  socket.pipe(stream).pipe(socket);
  while (second.base.view.length < synced) {
    await second.base.update();
    await new Promise((done) => setTimeout(done, 5));
  }
});
console.log(JSON.stringify({ alone, batched, replay, sync: replay }));
process.exit(0);
