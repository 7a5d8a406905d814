/**
 * The interfaces that link and answer nothing but "denied" for now: the pinned drafts of
 * `wasi:keyvalue`, `wasi:config` and `wasi:logging`.
 *
 * What makes a handle (a socket, a bucket) fails with the ordinary error of its interface, so the
 * methods of those resources can only be reached with a handle that the guest does not have.
 *
 * @see https://github.com/WebAssembly/wasi-sockets/tree/v0.2.12/wit
 * @module
 */
import type { WasiInstance } from "./context.ts";
import { guardResource, Resource } from "./resource.ts";

/** Resources without instances, and their methods. */
const UNREACHABLE: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "wasi:keyvalue/store": { bucket: "get set delete exists list-keys" },
};

function camel(kebab: string): string {
  return kebab.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

function unreachableResource(iface: string, resource: string, methods: string): typeof Resource {
  abstract class Unreachable extends Resource {}
  for (const method of methods.split(" ")) {
    Object.defineProperty(Unreachable.prototype, camel(method), {
      writable: true,
      configurable: true,
      value: () => {
        throw new TypeError(`Cannot call ${iface}#[method]${resource}.${method}: invalid handle`);
      },
    });
  }
  return Unreachable;
}

/** The error of `wasi:keyvalue`, and the notice. */
function denyStore(iface: string, name: string) {
  return (host: WasiInstance): never => {
    host.deny(`${iface}#${name}`, "keyvalue");
    throw { tag: "access-denied" };
  };
}

/** Resource `cas` of `wasi:keyvalue/atomics`: its static function is all that can be reached. */
export class Cas extends Resource {
  static new(host: WasiInstance): never {
    return denyStore("wasi:keyvalue/atomics", "[static]cas.new")(host);
  }

  current(): never {
    throw { tag: "access-denied" };
  }
}
guardResource("wasi:keyvalue/atomics", "cas", Cas);

/** Resource classes by interface, by their name in WIT. */
export const DENIED_RESOURCES: Readonly<
  Record<string, Readonly<Record<string, typeof Resource>>>
> = Object.fromEntries(
  Object.entries(UNREACHABLE).map(([iface, resources]) => [
    iface,
    Object.fromEntries(
      Object.entries(resources).map(([resource, methods]) => [
        resource,
        unreachableResource(iface, resource, methods),
      ]),
    ),
  ]),
);

const LEVELS = new Set(["trace", "debug", "info", "warn", "error", "critical"]);
/** Bytes of one line that `wasi:logging` writes. */
const LOG_LINE_BYTES_MAX = 16_384;
/** What ends a line or moves the cursor. */
// deno-lint-ignore no-control-regex
const CONTROLS = /[\x00-\x08\x0a-\x1f\x7f]/g;

/** The functions of the denied interfaces. `writeStderr` takes the lines of `wasi:logging`. */
export function createDenied(host: WasiInstance, writeStderr: (bytes: Uint8Array) => void) {
  const store = (iface: string, names: string) =>
    Object.fromEntries(
      names.split(" ").map((name) => [
        camel(name),
        () => denyStore(iface, name)(host),
      ]),
    );
  return {
    "wasi:keyvalue/store": store("wasi:keyvalue/store", "open"),
    "wasi:keyvalue/atomics": store("wasi:keyvalue/atomics", "increment swap"),
    "wasi:keyvalue/batch": store("wasi:keyvalue/batch", "get-many set-many delete-many"),
    "wasi:config/store": { get: () => undefined, getAll: () => [] },
    "wasi:config/runtime": { get: () => undefined, getAll: () => [] },
    "wasi:logging/logging": {
      log: (level: string, context: string, message: string) => {
        const name = LEVELS.has(level) ? level.toUpperCase() : "INFO";
        const text = `${name} ${context === "" ? "" : `${context}: `}${message}`;
        const line = text.slice(0, LOG_LINE_BYTES_MAX).replace(CONTROLS, " ");
        writeStderr(new TextEncoder().encode(`${line}\n`));
      },
    },
  };
}
