/**
 * The grants and limits that `realm run` and `realm serve` take as flags.
 *
 * @module
 */
import { RealmError } from "../agent/kernel/error.ts";
import { parseNetwork } from "../agent/kernel/ip_address.ts";
import {
  hasNetwork,
  normalizeName,
  parseListen,
  parseOutbound,
} from "../agent/kernel/network_grant.ts";
import type { Grants, Limits, Mount, Service, StartOptions } from "../agent/kernel/ports.ts";
import type { Context } from "./context.ts";
import type { FlagValues } from "./command_spec.ts";
import {
  defaulted,
  optional,
  parseAssignment,
  parseChoice,
  parseChoices,
  parseDuration,
  parseInteger,
  parseText,
  repeated,
  toggle,
  Wanted,
} from "./parameters.ts";

const MIB = 1024 * 1024;
const MEMORY_MAX_MB = 4096;

/** `HOST::GUEST`, or `HOST::GUEST:ro`; `HOST` alone is seen under the same name. */
function parseDir(text: string): { host: string; guest: string; writable: boolean } {
  const match = /^(.+?)(?:::(.+?))?(:ro)?$/.exec(text);
  if (!match) throw new Wanted("HOST::GUEST or HOST::GUEST:ro");
  const host = match[1]!;
  return { host, guest: match[2] ?? host, writable: match[3] === undefined };
}

/** A parser of what `parse` reads, which is `undefined` where it cannot. */
function wanting<T>(parse: (text: string) => T | undefined, what: string): (text: string) => T {
  return (text) => {
    const value = parse(text);
    if (value === undefined) throw new Wanted(what);
    return value;
  };
}

const parseNet = wanting(
  parseOutbound,
  "SCHEME://HOST:PORT, such as https://example.com or tcp://db.internal:5432",
);
const parseName = wanting(normalizeName, "a host name such as example.com");
const parseCidr = wanting(
  (text) => parseNetwork(text) && text,
  "a network such as 10.0.0.0/8",
);
const parseListenAt = wanting(
  parseListen,
  "an address of this machine and a port, such as 127.0.0.1:5000 or udp://:5000",
);

export const GUEST_FLAGS = {
  dir: repeated("Folder of the host that the guest sees", "HOST::GUEST[:ro]", parseDir),
  env: repeated("Environment variable", "K=V", parseAssignment),
  var: repeated("Variable: as --env, and through wasi:config", "K=V", parseAssignment),
  envInherit: repeated("Environment variable passed on", "NAME", parseText),
  deny: repeated(
    "What not to give",
    "clock,random,stdio",
    parseChoices("clock", "random", "stdio"),
  ),
  net: repeated("Outbound connections", "SCHEME://HOST[:PORT]", parseNet),
  dns: repeated("Name lookup", "NAME", parseName),
  netPrivate: repeated("Private addresses that names may lead to", "CIDR", parseCidr),
  netLoopback: repeated("Port of this machine", "PORT", parseInteger(1, 65_535)),
  listen: repeated("Socket to listen on", "HOST:PORT", parseListenAt),
  secret: repeated("Secret that the guest may read, from a file", "NAME=FILE", parseAssignment),
  keyvalue: optional("Folder of a key-value store", "DIR", parseText),
  memoryMaxMb: optional(
    `Memory and tables, in MiB (default ${MEMORY_MAX_MB})`,
    "N",
    parseInteger(1),
  ),
  fuelPerSec: optional("Fuel per second; less throttles", "N", parseInteger(1000)),
  fuel: optional("Fuel in all; past it the guest ends", "N", parseInteger(1)),
  epochTimeoutMs: optional("Longest run without returning to the host", "N", parseInteger(1)),
  timeout: optional("Time for the whole run", "DURATION", parseDuration),
  trace: toggle("Print every call into the host, with its grant, to standard error"),
  isolation: defaulted(
    "What it runs in: a thread of this program, or a process of its own",
    "worker|process",
    parseChoice("worker", "process"),
    "worker",
  ),
  stats: toggle("Print what was used, at the end, to standard error"),
} as const;

type GuestFlags = FlagValues<typeof GUEST_FLAGS>;

/** The grants that the flags give. Throws RealmError `not-found` when a folder is not there. */
export function grantsOf(context: Context, flags: GuestFlags, args: readonly string[]): Grants {
  const denied = new Set(flags.deny.flat());
  const env = [...flags.env, ...flags.var];
  for (const name of flags.envInherit) {
    const value = context.shell.env(name);
    if (value !== undefined) env.push([name, value]);
  }
  return {
    args,
    env,
    mounts: flags.dir.map((dir) => mountOf(context, dir)),
    clock: !denied.has("clock"),
    random: !denied.has("random"),
    stdio: !denied.has("stdio"),
    network: {
      outbound: flags.net,
      privateNetworks: flags.netPrivate,
      loopback: flags.netLoopback,
      dns: flags.dns,
      listen: flags.listen,
    },
    config: flags.var,
    keyvalue: flags.keyvalue !== undefined,
    secrets: flags.secret.length > 0,
  };
}

/**
 * What this program does for a guest with these grants; what a guest does not need is not loaded.
 */
export async function servicesOf(
  context: Context,
  flags: GuestFlags,
  grants: Grants,
): Promise<Readonly<Record<string, Service>>> {
  const services: Record<string, Service> = {};
  if (flags.keyvalue !== undefined) {
    const { KeyValues } = await import("../agent/node/key_values.ts");
    const stores = new KeyValues(context.resolve(flags.keyvalue));
    const service = await stores.service("default");
    services.keyvalue = { ...service, close: () => Promise.resolve(stores.close()) };
  }
  if (flags.secret.length > 0) {
    const { SECRET_BYTES_MAX, secretsService } = await import("../agent/kernel/secret_bucket.ts");
    const values = new Map(
      flags.secret.map(([name, file]) => [name, secretOf(context, name, file, SECRET_BYTES_MAX)]),
    );
    services.secrets = secretsService({
      names: new Set(values.keys()),
      read: (name) => Promise.resolve(values.get(name)),
    });
  }
  if (!hasNetwork(grants.network)) return services;
  const { createServices } = await import("../agent/node/services.ts");
  const notice = (text: string) => context.note(`realm: ${text}`);
  return { ...services, ...createServices({ grants, notice }) };
}

/** The bytes of the file, less one line feed at its end, which editors put there. */
function secretOf(context: Context, name: string, file: string, bytesMax: number): Uint8Array {
  const refuse = (code: "not-found" | "limit-exceeded", why: string) =>
    new RealmError(code, `Cannot give the secret ${name}: ${why}`);
  let bytes: Uint8Array;
  try {
    bytes = Deno.readFileSync(context.resolve(file));
  } catch (error) {
    throw refuse("not-found", `${file} cannot be read: ${(error as Error).message}`);
  }
  if (bytes.at(-1) === 10) bytes = bytes.subarray(0, -1);
  if (bytes.length <= bytesMax) return bytes;
  throw refuse(
    "limit-exceeded",
    `${file} has ${bytes.length} bytes, the most is ${bytesMax}`,
  );
}

/** Prints a line of `wasi:logging` to standard error. */
export function logTo(context: Context): NonNullable<StartOptions["log"]> {
  return (level, text) => context.shell.write("stderr", `${level} ${text}\n`);
}

function mountOf(
  context: Context,
  { host, guest, writable }: { host: string; guest: string; writable: boolean },
): Mount {
  const path = context.resolve(host);
  let real: string;
  try {
    real = Deno.realPathSync(path);
    if (!Deno.statSync(real).isDirectory) throw new Deno.errors.NotADirectory(`${path} is a file`);
  } catch (error) {
    throw new RealmError(
      "not-found",
      `Cannot mount "${path}": ${reasonOf(error)}, wanted a folder`,
      { hint: "Make the folder, or name another with --dir HOST::GUEST", cause: error },
    );
  }
  return { hostPath: real, guestPath: guest, writable };
}

/** The limits that the flags set: memory always, the others where given. */
export function limitsOf(flags: GuestFlags): Limits {
  return {
    memoryBytesMax: (flags.memoryMaxMb ?? MEMORY_MAX_MB) * MIB,
    ...(flags.fuelPerSec === undefined ? {} : { fuelPerSec: flags.fuelPerSec }),
    ...(flags.fuel === undefined ? {} : { fuelMax: flags.fuel }),
    ...(flags.epochTimeoutMs === undefined ? {} : { epochTimeoutMs: flags.epochTimeoutMs }),
    ...(flags.timeout === undefined ? {} : { timeoutMs: flags.timeout }),
  };
}

/** What the system said, without the number of its error and the path. */
function reasonOf(error: unknown): string {
  return (error as Error).message.replace(/ \(os error \d+\).*$/, "");
}

/** Reads a component's file. Throws RealmError `not-found`. */
export async function readComponent(context: Context, file: string): Promise<Uint8Array> {
  const path = context.resolve(file);
  try {
    return await Deno.readFile(path);
  } catch (error) {
    throw new RealmError(
      "not-found",
      `Cannot read "${path}": ${reasonOf(error)}`,
      { hint: "Give the path of a .wasm file", cause: error },
    );
  }
}
