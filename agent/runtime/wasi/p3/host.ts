/**
 * The interfaces of WASI 0.3: which there are, and what of them is WASI 0.2 in other words.
 *
 * @module
 */
import { TerminalInput, TerminalOutput } from "../cli.ts";
import type { WasiInstance } from "../context.ts";
import type { Interfaces, Parts } from "../interfaces.ts";
import { createCli3, createRandom3 } from "./cli.ts";
import { createClocks3 } from "./clocks.ts";
import { createFilesystem3, Descriptor3 } from "./filesystem.ts";
import { createHttp3, Fields3, Request3, RequestOptions3, Response3 } from "./http.ts";
import { createLookup3, TcpSocket3, UdpSocket3 } from "./sockets.ts";

/** Functions that may wait though their types do not say so: the agent binds sockets. */
export const SUSPENDING_IMPORTS_3: readonly string[] = [
  "wasi:sockets/types#[method]tcp-socket.bind",
  "wasi:sockets/types#[method]tcp-socket.listen",
  "wasi:sockets/types#[method]udp-socket.bind",
  "wasi:sockets/types#[method]udp-socket.connect",
  "wasi:sockets/types#[method]udp-socket.disconnect",
];

const none = () => ({});
const cli = (parts: Parts) => createCli3(parts.host, parts.cli);
const random = (parts: Parts) => createRandom3(parts.random);
const clocks = (parts: Parts) => createClocks3(parts.host, parts.clocks);

/** See the module. */
export const INTERFACES_3: Interfaces = {
  functions: {
    "wasi:cli/types": none,
    "wasi:cli/environment": (parts) => cli(parts).environment,
    "wasi:cli/exit": (parts) => parts.cli.exit,
    "wasi:cli/stdin": (parts) => cli(parts).stdin,
    "wasi:cli/stdout": (parts) => cli(parts).stdout,
    "wasi:cli/stderr": (parts) => cli(parts).stderr,
    "wasi:cli/terminal-input": none,
    "wasi:cli/terminal-output": none,
    "wasi:cli/terminal-stdin": (parts) => parts.cli.terminalStdin,
    "wasi:cli/terminal-stdout": (parts) => parts.cli.terminalStdout,
    "wasi:cli/terminal-stderr": (parts) => parts.cli.terminalStderr,
    "wasi:clocks/types": none,
    "wasi:clocks/monotonic-clock": (parts) => clocks(parts).monotonicClock,
    "wasi:clocks/system-clock": (parts) => clocks(parts).systemClock,
    "wasi:filesystem/types": none,
    "wasi:filesystem/preopens": (parts) => createFilesystem3(parts.filesystem).preopens,
    "wasi:http/types": none,
    "wasi:http/client": (parts) => createHttp3(parts.host).client,
    "wasi:random/random": (parts) => random(parts).random,
    "wasi:random/insecure": (parts) => random(parts).insecure,
    "wasi:random/insecure-seed": (parts) => random(parts).insecureSeed,
    "wasi:sockets/types": none,
    "wasi:sockets/ip-name-lookup": (parts) => createLookup3(parts.host),
  },
  resources: {
    "wasi:cli/terminal-input": { "terminal-input": TerminalInput },
    "wasi:cli/terminal-output": { "terminal-output": TerminalOutput },
    "wasi:filesystem/types": { "descriptor": Descriptor3 },
  },
  constructible: {
    "wasi:http/types": {
      Fields: ["fields", Fields3, "fromList"],
      RequestOptions: ["request-options", RequestOptions3],
      Request: ["request", Request3, "new", "consumeBody"],
      Response: ["response", Response3, "new", "consumeBody"],
    },
    "wasi:sockets/types": {
      TcpSocket: ["tcp-socket", TcpSocket3, "create"],
      UdpSocket: ["udp-socket", UdpSocket3, "create"],
    },
  },
};

/** How the engine hands requests to a `wasi:http/handler` of 0.3, and takes the responses. */
export function createHandlerHost3(host: WasiInstance) {
  return {
    incoming: (
      ...request: Parameters<typeof Request3.incoming> extends [unknown, ...infer R] ? R : never
    ) => Request3.incoming(host, ...request),
    result: (response: Response3) => Response3.result(host, response),
  };
}
