/**
 * What Canvas gossiplog takes, as one line of JSON: `node gossiplog.mjs FOLDER APPENDS SYNCED`.
 *
 * It keeps messages in SQLite and an index in LMDB, without a sync of the disk for each; its `apply` does
 * nothing. Appends are awaited one by one, as it has no other way. What another peer wrote is inserted with
 * its signature verified, message by message.
 */
import path from "node:path";
import process from "node:process";
import { GossipLog } from "@canvas-js/gossiplog/sqlite";
import { ed25519 } from "@canvas-js/signatures";

const [folder, appends] = [process.argv[2], +process.argv[3]];
// A message takes it ten milliseconds.
const synced = Math.min(+process.argv[4], 1000);
const open = (name) =>
  new GossipLog({
    topic: "bench.realm",
    directory: path.join(folder, name),
    apply: () => {},
    signer: ed25519.create(),
  });
const timed = async (count, act) => {
  const [from, before] = [performance.now(), process.cpuUsage()];
  for (let i = 0; i < count; i++) await act(i);
  const { user, system } = process.cpuUsage(before);
  return { rate: count / (performance.now() - from) * 1000, cpu: (user + system) / count };
};

const first = open("a");
const alone = await timed(appends, (i) => first.append(new Uint8Array(200).fill(i)));
for (let i = appends; i < synced; i++) await first.append(new Uint8Array(200).fill(i));
const messages = [];
for await (const signed of first.iterate()) messages.push(signed);
const second = open("b");
const replay = await timed(messages.length, (i) => {
  const { signature, message } = messages[i];
  return second.insert(second.encode(signature, message));
});
console.log(JSON.stringify({ alone, replay }));
process.exit(0);
