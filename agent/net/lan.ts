/**
 * Finds other nodes on the same network by multicast DNS (RFC 6762), with a service name of its own.
 *
 * A node asks for `_realm._udp.local` every so often; those that hear it answer with the addresses
 * at which they are reached, as in libp2p's mDNS
 * (https://github.com/libp2p/specs/blob/master/discovery/mdns.md). Anybody on the network can say
 * anything here: what is found is an address to try, and who answers there proves its key.
 *
 * Sends from the address of an interface, which is what makes a packet leave by that interface.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import codec from "dns-packet";
import { isDialable } from "./dialable.ts";

/** What is used of a packet of DNS. */
interface Packet {
  readonly type: "query" | "response";
  readonly flags?: number;
  readonly questions?: readonly { readonly name: string; readonly type: string }[];
  readonly answers?: readonly Answer[];
  readonly additionals?: readonly Answer[];
}

interface Answer {
  readonly name: string;
  readonly type: string;
  readonly ttl?: number;
  readonly data: unknown;
}

const packet = codec as {
  encode(packet: Packet): Uint8Array;
  decode(bytes: Uint8Array): Packet;
  readonly AUTHORITATIVE_ANSWER: number;
};

const GROUP = "224.0.0.251";
const SERVICE = "_realm._udp.local";
/** Time to live of a packet: multicast DNS does not leave the link. */
const TTL = 255;
const RECORD_SECONDS = 120;
/** A string in a TXT record. */
const TEXT_BYTES_MAX = 255;
const ADDRESSES_MAX = 16;
/** Packets that are looked at in a second; more are dropped. */
const PACKETS_PER_SECOND_MAX = 100;
/** Answers that are given in a second, however often it is asked. */
const ANSWERS_PER_SECOND_MAX = 2;

/** What {@link discoverOnLan} is made with. */
export interface LanOptions {
  /** The own peer id. */
  readonly peerId: string;
  /** Multiaddrs with the own peer id; asked for each answer. */
  readonly addresses: () => readonly string[];
  /** Told of each address of another node; it ends in the peer id. */
  readonly found: (address: string) => void;
  /** Told once when multicast cannot be used here. */
  readonly notice: (text: string) => void;
  /** Only this machine, over its loopback interface. */
  readonly loopback?: boolean;
  readonly port?: number;
  readonly everyMs?: number;
}

/** Starts to ask and to answer, until it is closed. */
export function discoverOnLan(options: LanOptions): { close(): void } {
  const { loopback = false, port = 5353, everyMs = 10_000 } = options;
  let listener: Deno.DatagramConn;
  const senders = new Map<string, Deno.DatagramConn>();
  try {
    listener = Deno.listenDatagram({
      transport: "udp",
      hostname: "0.0.0.0",
      port,
      reuseAddress: true,
    });
  } catch (error) {
    options.notice(`Cannot look for nodes on this network: ${(error as Error).message}`);
    return { close() {} };
  }
  const members: Deno.MulticastV4Membership[] = [];
  let closed = false;
  const rate = new Rate(() => performance.now());

  /** Interfaces come and go. */
  const update = async () => {
    for (const address of interfaces(loopback)) {
      if (senders.has(address)) continue;
      try {
        const member = await listener.joinMulticastV4(GROUP, address);
        const sender = Deno.listenDatagram({ transport: "udp", hostname: address, port: 0 });
        if (closed) return sender.close();
        members.push(member);
        senders.set(address, sender);
        // Else two nodes on one machine do not hear each other.
        const sending = await sender.joinMulticastV4(GROUP, address);
        await sending.setLoopback(true);
        await sending.setTTL(TTL);
      } catch {
        // An interface without multicast.
      }
    }
  };

  const send = async (message: Packet) => {
    const bytes = packet.encode(message);
    for (const [address, sender] of senders) {
      try {
        await sender.send(bytes, { transport: "udp", hostname: GROUP, port });
      } catch {
        senders.delete(address); // the interface is gone
        sender.close();
      }
    }
  };

  const ask = async () => {
    await update();
    await send({ type: "query", questions: [{ name: SERVICE, type: "PTR" }] });
  };

  const answer = async () => {
    if (!rate.allows("answers", ANSWERS_PER_SECOND_MAX)) return;
    const name = `${options.peerId}.${SERVICE}`;
    const texts = options.addresses()
      .filter((address) => !address.includes("/p2p-circuit") && isDialable(address, loopback))
      .map((address) => `dnsaddr=${address}`)
      .filter((text) => text.length <= TEXT_BYTES_MAX)
      .slice(0, ADDRESSES_MAX);
    if (texts.length === 0) return;
    await send({
      type: "response",
      flags: packet.AUTHORITATIVE_ANSWER,
      answers: [{ name: SERVICE, type: "PTR", ttl: RECORD_SECONDS, data: name }],
      additionals: [{ name, type: "TXT", ttl: RECORD_SECONDS, data: texts }],
    });
  };

  const hear = (addresses: readonly string[]) => {
    if (addresses.some((address) => address.endsWith(`/p2p/${options.peerId}`))) return;
    for (const address of addresses.filter((each) => isDialable(each, loopback))) {
      try {
        options.found(address);
      } catch (error) {
        // A packet from anybody does not end the agent.
        options.notice(`Cannot keep what was heard on this network: ${error}`);
      }
    }
  };
  const listen = async () => {
    const room = new Uint8Array(9000);
    while (!closed) {
      let bytes: Uint8Array;
      try {
        [bytes] = await listener.receive(room);
      } catch {
        if (closed) return;
        continue;
      }
      if (!rate.allows("packets", PACKETS_PER_SECOND_MAX)) continue;
      const heard = readPacket(bytes);
      if (heard === "question") await answer();
      else hear(heard);
    }
  };

  void listen();
  void ask();
  const timer = setInterval(() => void ask(), everyMs);
  return {
    close() {
      closed = true;
      clearInterval(timer);
      listener.close();
      for (const sender of senders.values()) sender.close();
    },
  };
}

/** What a packet is about: somebody asks, or says addresses. Anything else says none. */
export function readPacket(bytes: Uint8Array): "question" | readonly string[] {
  let read: Packet;
  try {
    read = packet.decode(Buffer.from(bytes));
  } catch {
    return [];
  }
  if (read.type === "query") {
    return read.questions?.some(({ name, type }) => name === SERVICE && type === "PTR")
      ? "question"
      : [];
  }
  const addresses: string[] = [];
  for (const record of [...read.answers ?? [], ...read.additionals ?? []]) {
    if (record.type !== "TXT" || !record.name.endsWith(`.${SERVICE}`)) continue;
    for (const data of [record.data].flat()) {
      const text = data instanceof Uint8Array ? new TextDecoder().decode(data) : String(data);
      if (!text.startsWith("dnsaddr=") || !text.includes("/p2p/")) continue;
      if (addresses.length < ADDRESSES_MAX) addresses.push(text.slice("dnsaddr=".length));
    }
  }
  return addresses;
}

/** Addresses of IPv4 of the interfaces to speak on. */
function interfaces(loopback: boolean): string[] {
  return Deno.networkInterfaces()
    .filter(({ family, address }) => family === "IPv4" && address.startsWith("127.") === loopback)
    .map(({ address }) => address);
}

/** Counts what happens in the current second. */
class Rate {
  readonly #counts = new Map<string, number>();
  #second = 0;

  constructor(readonly nowMs: () => number) {}

  allows(what: string, perSecondMax: number): boolean {
    const second = Math.floor(this.nowMs() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#counts.clear();
    }
    const count = (this.#counts.get(what) ?? 0) + 1;
    this.#counts.set(what, count);
    return count <= perSecondMax;
  }
}
