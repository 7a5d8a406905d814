/**
 * The WASI 0.2 host of one instance: every interface of `wasi:cli/command` and `wasi:http/proxy`,
 * answered within the instance's grants, as wasmtime answers.
 *
 * {@link createWasi} builds all of it anew for each instance. Imports are made when the glue asks
 * for them, so that an instance pays for the interfaces it has and no more.
 *
 * @module
 */
import { createCli, TerminalInput, TerminalOutput } from "./cli.ts";
import { createClocks } from "./clocks.ts";
import { type WasiContext, WasiInstance } from "./context.ts";
import { classNameOf, createDenied, DENIED_RESOURCES, Network } from "./denied.ts";
import { createFilesystem, Descriptor, DirectoryEntryStream } from "./filesystem.ts";
import {
  createHttp,
  FutureIncomingResponse,
  type HttpHost,
  IncomingRequest,
  IncomingResponse,
  OutgoingRequest,
  OutgoingResponse,
  RequestOptions,
  ResponseOutparam,
} from "./http.ts";
import { FutureTrailers, IncomingBody, OutgoingBody } from "./http_body.ts";
import { Fields } from "./http_fields.ts";
import { InputStream, IoError, OutputStream, poll, Pollable } from "./io.ts";
import { createRandom } from "./random.ts";
import { bindFunctions, bindResource } from "./resource.ts";

export type { WasiClock, WasiContext } from "./context.ts";
export { HANDLES_MAX } from "./context.ts";
export { GRANT_OF_INTERFACE, GRANTS, isProvided } from "./grants.ts";
export type { Grant, GrantName } from "./grants.ts";
export type { HttpHost, RequestHead, ResponseResult } from "./http.ts";
export type { BodyReader, BodySource, HttpErrorCode } from "./http_body.ts";
export type { FieldList } from "./http_fields.ts";

/**
 * The functions that may answer with a promise, in the form of jco's `asyncMode`.
 *
 * They answer with a plain value whenever nothing has to be waited for.
 */
export const SUSPENDING_IMPORTS: readonly string[] = [
  "wasi:io/poll#poll",
  "wasi:io/poll#[method]pollable.block",
  "wasi:io/streams#[method]input-stream.blocking-read",
  "wasi:io/streams#[method]input-stream.blocking-skip",
  "wasi:io/streams#[method]output-stream.blocking-write-and-flush",
  "wasi:io/streams#[method]output-stream.blocking-flush",
  "wasi:io/streams#[method]output-stream.blocking-write-zeroes-and-flush",
  "wasi:io/streams#[method]output-stream.blocking-splice",
];

/** A host for one instance. */
export interface WasiHost {
  /** By interface, without version (`wasi:cli/environment`). */
  readonly imports: Record<string, object>;
  readonly http: HttpHost;
  /** Gives back files, timers and waits; a wait that is pending rejects. */
  close(): void;
}

// deno-lint-ignore ban-types
type ResourceClass = Function & { prototype: object };
// deno-lint-ignore ban-types
type Functions = Record<string, Function>;

const RESOURCES: Readonly<Record<string, readonly (readonly [string, ResourceClass])[]>> = {
  ...DENIED_RESOURCES as unknown as Record<string, [string, ResourceClass][]>,
  "wasi:cli/terminal-input": [["terminal-input", TerminalInput]],
  "wasi:cli/terminal-output": [["terminal-output", TerminalOutput]],
  "wasi:filesystem/types": [
    ["descriptor", Descriptor],
    ["directory-entry-stream", DirectoryEntryStream],
  ],
  "wasi:http/types": [
    ["fields", Fields],
    ["incoming-request", IncomingRequest],
    ["outgoing-request", OutgoingRequest],
    ["request-options", RequestOptions],
    ["response-outparam", ResponseOutparam],
    ["incoming-response", IncomingResponse],
    ["incoming-body", IncomingBody],
    ["future-trailers", FutureTrailers],
    ["outgoing-response", OutgoingResponse],
    ["outgoing-body", OutgoingBody],
    ["future-incoming-response", FutureIncomingResponse],
  ],
  "wasi:io/error": [["error", IoError]],
  "wasi:io/poll": [["pollable", Pollable]],
  "wasi:io/streams": [["input-stream", InputStream], ["output-stream", OutputStream]],
  "wasi:sockets/network": [["network", Network]],
};

/** Builds the WASI host of one instance. */
export function createWasi(ctx: WasiContext): WasiHost {
  const host = new WasiInstance(ctx);
  const cli = createCli(host);
  const http = createHttp(host);
  const once = <T>(make: () => T): () => T => {
    let made: { value: T } | undefined;
    return () => (made ??= { value: make() }).value;
  };
  const clocks = once(() => createClocks(host));
  const random = once(() => createRandom(host));
  const filesystem = once(() => createFilesystem(host));
  const denied = once(() => createDenied(host, (bytes) => cli.writeStderr(bytes)));

  const functions: Record<string, () => Functions> = {
    "wasi:cli/environment": () => cli.environment,
    "wasi:cli/exit": () => cli.exit,
    "wasi:cli/stdin": () => cli.stdin,
    "wasi:cli/stdout": () => cli.stdout,
    "wasi:cli/stderr": () => cli.stderr,
    "wasi:cli/terminal-input": () => ({}),
    "wasi:cli/terminal-output": () => ({}),
    "wasi:cli/terminal-stdin": () => cli.terminalStdin,
    "wasi:cli/terminal-stdout": () => cli.terminalStdout,
    "wasi:cli/terminal-stderr": () => cli.terminalStderr,
    "wasi:clocks/monotonic-clock": () => clocks().monotonicClock,
    "wasi:clocks/wall-clock": () => clocks().wallClock,
    "wasi:clocks/timezone": () => clocks().timezone,
    "wasi:filesystem/preopens": () => filesystem().preopens,
    "wasi:filesystem/types": () => filesystem().types,
    "wasi:http/types": () => http.types,
    "wasi:http/outgoing-handler": () => http.outgoingHandler,
    "wasi:io/error": () => ({}),
    "wasi:io/poll": () => ({ poll: (list: Pollable[]) => poll(host, list) }),
    "wasi:io/streams": () => ({}),
    "wasi:random/random": () => random().random,
    "wasi:random/insecure": () => random().insecure,
    "wasi:random/insecure-seed": () => random().insecureSeed,
  };
  for (
    const iface of [
      "wasi:sockets/network",
      "wasi:sockets/instance-network",
      "wasi:sockets/ip-name-lookup",
      "wasi:sockets/tcp",
      "wasi:sockets/tcp-create-socket",
      "wasi:sockets/udp",
      "wasi:sockets/udp-create-socket",
      "wasi:keyvalue/store",
      "wasi:keyvalue/atomics",
      "wasi:keyvalue/batch",
      "wasi:config/store",
      "wasi:config/runtime",
      "wasi:logging/logging",
    ] as const
  ) functions[iface] = () => denied()[iface];

  const imports: Record<string, object> = {};
  for (const [iface, make] of Object.entries(functions)) {
    const bound = once(() => {
      const members: Record<string, unknown> = bindFunctions(host, iface, make());
      for (const [resource, type] of RESOURCES[iface] ?? []) {
        members[classNameOf(resource)] = bindResource(host, iface, resource, type);
      }
      return members;
    });
    Object.defineProperty(imports, iface, { enumerable: true, get: bound });
  }
  return { imports, http: http.host, close: () => host.close() };
}
