/**
 * Every error of `wasi:sockets` is met by a guest, or listed with the reason why none can.
 *
 * What the network of this machine does not give to order is given by a stand-in for what dials
 * and what looks names up: nothing is sent anywhere.
 *
 * @module
 */
import assert from "node:assert/strict";
import { NetworkError } from "../agent/broker/network_error.ts";
import { type Engine } from "../agent/kernel/ports.ts";
import { type GuestOptions, runGuest, withEngine } from "./guest.ts";
import { datagramEcho, echoServer, freePort, type Network, networkOf } from "./peers.ts";
import { WASI } from "./wit.ts";

/** Dialling fails so, and the guest is told so. */
const DIALLED: readonly (readonly [Error, string])[] = [
  [new Deno.errors.ConnectionRefused(), "connection-refused"],
  [new Deno.errors.ConnectionReset(), "connection-reset"],
  [new Deno.errors.ConnectionAborted(), "connection-aborted"],
  [new Deno.errors.TimedOut(), "timeout"],
  [Object.assign(new Error(), { code: "EHOSTUNREACH" }), "remote-unreachable"],
  [Object.assign(new Error(), { code: "ENETUNREACH" }), "remote-unreachable"],
  [Object.assign(new Error(), { code: "EADDRNOTAVAIL" }), "address-not-bindable"],
  [Object.assign(new Error(), { code: "EMFILE" }), "new-socket-limit"],
  [Object.assign(new Error(), { code: "ENOBUFS" }), "new-socket-limit"],
  [Object.assign(new Error(), { code: "EACCES" }), "access-denied"],
  [new Error("something else"), "unknown"],
];

/** Looking up fails so, and the guest is told so. */
const LOOKED_UP = [
  ["name-unresolvable", "name-unresolvable"],
  ["temporary-resolver-failure", "temporary-resolver-failure"],
  ["permanent-resolver-failure", "permanent-resolver-failure"],
  // EAI_AGAIN: the functions of the interface have no other word for it.
  ["timeout", "temporary-resolver-failure"],
] as const;

/** Errors that nothing here meets, and why. */
const UNMET: Readonly<Record<string, string>> = {
  "not-supported": "of systems without IPv6, which none here is",
  "out-of-memory": "the system ends a program instead",
};

/** Runs a fixture, and answers the errors of its calls: `start-connect access-denied`. */
async function errorsOf(
  engine: Engine,
  name: string,
  words: string,
  network: Network,
  options: GuestOptions = {},
): Promise<string[]> {
  const { traces } = await runGuest(engine, name, {
    ...options,
    trace: true,
    args: words.split(" "),
    grants: { network: networkOf(network) },
  });
  return traces.flatMap((line) => {
    const [, call, code] =
      /^wasi:sockets\/[^#]*#(?:\[.*\][a-z-]+\.)?([a-z-]+)\(.*\) = err ([a-z-]+)/
        .exec(line) ?? [];
    return code ? [`${call} ${code}`] : [];
  });
}

Deno.test("every error of wasi:sockets is met, or it is said why none can be", (t) =>
  withEngine(async (engine) => {
    const met = new Set<string>();
    const expect = async (
      name: string,
      words: string,
      network: Network,
      wanted: readonly string[],
      options?: GuestOptions,
    ) => {
      await t.step(`${name} ${words.split(" ").slice(0, 2).join(" ")}: ${wanted}`, async () => {
        const errors = await errorsOf(engine, name, words, network, options);
        for (const error of wanted) {
          assert.ok(errors.includes(error), `${error} of ${errors}`);
          met.add(error.split(" ")[1]!);
        }
      });
    };
    for (const [error, code] of DIALLED) {
      const options = { connect: () => Promise.reject(error) };
      const wanted = [`finish-connect ${code}`];
      await expect("sockets-tcp", "127.0.0.1:9 connect", { loopback: [9] }, wanted, options);
    }
    for (const [reason, code] of LOOKED_UP) {
      const options = { resolver: () => Promise.reject(new NetworkError(reason)) };
      const wanted = [`resolve-next-address ${code}`];
      await expect("sockets-std", "lookup a.example", { dns: true }, wanted, options);
    }
    await expect("sockets-std", "lookup a.example", {}, ["resolve-addresses access-denied"]);
    // 192.0.2.1 is an address of nobody: it is not this machine's to bind.
    await expect("sockets-std", "echo 192.0.2.1:0 1", { listen: ["tcp://192.0.2.1:0"] }, [
      "start-bind address-not-bindable",
    ]);
    await using tcp = echoServer();
    await using udp = datagramEcho();
    const [port, closed] = [freePort(), freePort()];
    const all = `127.0.0.1:${tcp.port} all ${port} ${closed}`;
    const grants = { loopback: [tcp.port, udp.port, port, closed], listen: [`127.0.0.1:${port}`] };
    await expect("sockets-tcp", all, grants, [
      "finish-connect connection-refused",
      "finish-connect would-block",
      "start-bind invalid-argument",
      "start-bind address-in-use",
      "local-address invalid-state",
      "finish-bind not-in-progress",
      "start-listen concurrency-conflict",
    ]);
    await expect("sockets-udp", `127.0.0.1:${udp.port}`, grants, ["send datagram-too-large"]);
    assert.deepEqual(
      [...met, ...Object.keys(UNMET)].sort(),
      [...WASI.errors.get("wasi:sockets/network")!].sort(),
    );
  }));
