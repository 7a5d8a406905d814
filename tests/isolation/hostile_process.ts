/**
 * The process of a replica as somebody wrote it who has taken it over: `KIND SOCKET`.
 *
 * @module
 */
import { encodePacket, PacketReader } from "../../agent/runtime/isolation/link.ts";
import { NO_USAGE } from "../../agent/kernel/ports.ts";

const [kind, socket] = Deno.args as [string, string];

const LIMITS = {
  memoryBytesMax: 1,
  concurrencyMax: 1,
  handlesMax: 1,
  openFilesMax: 1,
  socketsMax: 1,
  logLinesPerSecMax: 1,
};
const STARTED = { type: "started", permissions: [], limits: LIMITS };
const bytes = (length: number) => new Uint8Array(length).fill(32);

/** A packet of a call with a number that is a list of lists of lists. */
function deep(): Uint8Array {
  const lists = (bracket: string) => bracket.repeat(400_000);
  const text = `{"type":"call","message":["number",${lists("[")}${lists("]")}]}`;
  const head = new TextEncoder().encode(text);
  const packet = new Uint8Array(8 + head.length);
  packet.set(new Uint8Array(Uint32Array.of(head.length, 0).buffer));
  packet.set(head, 8);
  return packet;
}

/** What is sent after the start, again and again until nobody takes it. */
const FLOODS: Readonly<Record<string, readonly Uint8Array[]>> = {
  garbage: [bytes(1000)],
  size: [new Uint8Array(Uint32Array.of(0xffff_ffff, 0xffff_ffff).buffer)],
  notices: [encodePacket({ type: "notice", text: "x".repeat(10_000) })],
  usage: [encodePacket({ type: "usage", usage: NO_USAGE, residentBytes: 1 })],
  output: [encodePacket({ type: "output", stream: "stdout" }, bytes(500_000))],
  responses: [encodePacket({ type: "response", id: 0, status: 200, headers: [], body: "stream" })],
  body: [
    encodePacket({ type: "response", id: 0, status: 200, headers: [], body: "stream" }),
    ...Array(8).fill(encodePacket({ type: "response-body", id: 0, state: "more" }, bytes(500_000))),
  ],
  stdin: [encodePacket({ type: "read-stdin" })],
  calls: [encodePacket({ type: "call", message: ["map", ["type", "drop"], ["id", -1]] })],
  depth: [deep()],
  silence: [],
};

const connection = await Deno.connect({ transport: "unix", path: socket });
const write = async (data: Uint8Array) => {
  for (let rest = data; rest.length > 0;) {
    rest = rest.subarray(await connection.write(rest));
  }
};

/** Waits for a request. */
async function asked(): Promise<void> {
  const packets = new PacketReader(2 ** 30);
  const room = new Uint8Array(65_536);
  for (let length; (length = await connection.read(room)) !== null;) {
    for (const { message } of packets.read(room.slice(0, length))) {
      if ((message as { type: string }).type === "request") return;
    }
  }
}

await write(encodePacket(STARTED));
if (["memory", "exit", "responses", "body"].includes(kind)) await asked();
if (kind === "exit") Deno.exit(7);
// Nothing here ever answers again.
if (kind === "deaf") { for (;;); }
if (kind === "memory") {
  const kept: number[][] = [];
  for (;;) kept.push(new Array(100_000).fill(1.5));
}
const flood = FLOODS[kind]!;
while (flood.length > 0) for (const packet of flood) await write(packet);
await new Promise((resolve) => setTimeout(resolve, 60_000));
