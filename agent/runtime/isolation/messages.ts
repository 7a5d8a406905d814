/**
 * The messages between the agent and the process of a replica, and the check of what comes from
 * there: the process runs code that is not trusted, so each field is read by {@link readMessage}
 * and what is not as it should be ends the process.
 *
 * Bodies, standard input and output travel as the bytes of the packet. They flow against credit:
 * `taken` for output, `pull` for the body of a response, `want-body` for that of a request.
 *
 * @module
 */
import { EXIT_STATUS, RealmError } from "../../kernel/error.ts";
import type { Frame } from "../../kernel/frame.ts";
import {
  type EnforcedLimits,
  type Exit,
  type LogLevel,
  NO_USAGE,
  type StartOptions,
  type Usage,
} from "../../kernel/ports.ts";
import type { CallMessage } from "../protocol.ts";
import { type Packet, ProtocolError } from "./link.ts";
import { type Plain, unpack } from "./plain.ts";

/** A service that the process has for itself: the bytes of its component, by the pipe. */
export const SOURCE_SERVICE = "realm:source";

/** What the process starts from; the artifact came before, in pieces. */
export interface StartMessage
  extends
    Pick<StartOptions, "world" | "grants" | "limits" | "maxConcurrency" | "instancePerRequest"> {
  readonly type: "start";
  readonly digest: string;
  /** Names of what the agent does for it. */
  readonly services: readonly string[];
  /** Whether its calls are told. */
  readonly traces: boolean;
  readonly terminal: StartOptions["stdio"]["terminal"];
}

/** From the agent. */
export type ToProcess =
  /** A piece of the encoded artifact. */
  | { readonly type: "artifact" }
  | StartMessage
  /** Bytes of standard input, or none after the last of them; `failed` says why there are no more. */
  | { readonly type: "stdin"; readonly end: boolean; readonly failed?: string }
  /** So many bytes of standard output and error were taken. */
  | { readonly type: "taken"; readonly bytes: number }
  | {
    readonly type: "request";
    readonly id: number;
    readonly method: string;
    readonly url: string;
    readonly headers: readonly (readonly [string, string])[];
    readonly hasBody: boolean;
  }
  | {
    readonly type: "request-body";
    readonly id: number;
    readonly state: "more" | "end" | "failed";
  }
  /** The reader of a response wants more. */
  | { readonly type: "pull"; readonly id: number }
  | { readonly type: "cancel"; readonly id: number }
  /** A `ServiceMessage` of `protocol.ts`, packed. */
  | { readonly type: "service"; readonly message: Plain }
  | { readonly type: "stop" };

/** From the process. */
export type FromProcess =
  /** It runs; the kinds of permissions that it kept. */
  | {
    readonly type: "started";
    readonly permissions: readonly string[];
    readonly limits: EnforcedLimits;
  }
  /** Sent when it changed, and as a sign of life. */
  | { readonly type: "usage"; readonly usage: Usage; readonly residentBytes: number }
  | { readonly type: "notice"; readonly text: string }
  | { readonly type: "trace"; readonly line: string }
  | { readonly type: "log"; readonly level: LogLevel; readonly text: string }
  | { readonly type: "read-stdin" }
  | { readonly type: "output"; readonly stream: "stdout" | "stderr" }
  | { readonly type: "want-body"; readonly id: number }
  | {
    readonly type: "response";
    readonly id: number;
    readonly status: number;
    readonly headers: readonly (readonly [string, string])[];
    /** The bytes of the packet are all of the body, or it follows. */
    readonly body: "none" | "whole" | "stream";
  }
  | { readonly type: "response-body"; readonly id: number; readonly state: "more" | "end" }
  /** Instead of a response, or of the rest of one. */
  | { readonly type: "failed"; readonly id: number; readonly error: RealmError }
  /** A call to a service of the agent, or what belongs to one. */
  | { readonly type: "call"; readonly message: CallMessage }
  | { readonly type: "exit"; readonly exit: Exit };

/** Characters of one text; what is longer is cut. */
export const TEXT_MAX = 16 * 1024;
const NAME_MAX = 1024;
const BACKTRACE_MAX = 64;

/** A field of a token: https://www.rfc-editor.org/rfc/rfc9110#name-tokens */
const HEADER_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Each character is a byte, none of them NUL, CR or LF. */
const HEADER_VALUE = /^[^\0\r\n\u0100-\uffff]*$/;

/** What has to be one of these types, or is a {@link ProtocolError}. */
class Fields {
  constructor(readonly of: Readonly<Record<string, unknown>>) {}

  static of(value: unknown): Fields {
    if (typeof value !== "object" || value === null || Array.isArray(value)) wrong("a message");
    return new Fields(value as Record<string, unknown>);
  }

  #own(name: string): unknown {
    return Object.hasOwn(this.of, name) ? this.of[name] : undefined;
  }

  text(name: string, lengthMax = TEXT_MAX): string {
    const value = this.#own(name);
    if (typeof value !== "string") wrong(name);
    return value.slice(0, lengthMax);
  }

  oneOf<T extends string>(name: string, ...allowed: readonly T[]): T {
    return allowed.find((each) => each === this.#own(name)) ?? wrong(name);
  }

  integer(name: string, min: number, max: number): number {
    const value = this.#own(name);
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min || value > max) {
      wrong(name);
    }
    return value;
  }

  /** Not negative; JSON has no infinity. */
  amount(name: string): number {
    const value = this.#own(name);
    if (typeof value !== "number" || !(value >= 0) || value > Number.MAX_SAFE_INTEGER) wrong(name);
    return value;
  }

  has(name: string): boolean {
    return this.#own(name) !== undefined;
  }

  list(name: string, lengthMax: number): readonly unknown[] {
    const value = this.#own(name);
    if (!Array.isArray(value) || value.length > lengthMax) wrong(name);
    return value;
  }

  fields(name: string): Fields {
    return Fields.of(this.#own(name));
  }
}

function wrong(what: string): never {
  throw new ProtocolError(`a wrong ${what.slice(0, 40)}`);
}

type Reader<Type extends FromProcess["type"]> = (
  fields: Fields,
  bytes: Uint8Array,
) => Omit<Extract<FromProcess, { type: Type }>, "type">;

const id = (fields: Fields) => fields.integer("id", 0, Number.MAX_SAFE_INTEGER);

const READERS: { readonly [Type in FromProcess["type"]]: Reader<Type> } = {
  started: (fields) => ({
    permissions: fields.list("permissions", 16).map((name) =>
      typeof name === "string" && /^[a-z]{1,16}$/.test(name) ? name : wrong("permission")
    ),
    limits: readLimits(fields.fields("limits")),
  }),
  usage: (fields) => ({
    usage: readUsage(fields.fields("usage")),
    residentBytes: Math.trunc(fields.amount("residentBytes")),
  }),
  notice: (fields) => ({ text: fields.text("text") }),
  trace: (fields) => ({ line: fields.text("line") }),
  log: (fields) => ({
    level: fields.oneOf("level", "trace", "debug", "info", "warn", "error", "critical"),
    text: fields.text("text"),
  }),
  "read-stdin": () => ({}),
  output: (fields) => ({ stream: fields.oneOf("stream", "stdout", "stderr") }),
  "want-body": (fields) => ({ id: id(fields) }),
  response: (fields) => ({
    id: id(fields),
    status: fields.integer("status", 100, 999),
    headers: fields.list("headers", 10_000).map(readHeader),
    body: fields.oneOf("body", "none", "whole", "stream"),
  }),
  "response-body": (fields) => ({
    id: id(fields),
    state: fields.oneOf("state", "more", "end"),
  }),
  failed: (fields) => ({ id: id(fields), error: readError(fields.fields("error")) }),
  call: (fields, bytes) => ({
    message: readCall(Fields.of(unpack(fields.of.message ?? null, bytes))),
  }),
  exit: (fields) => ({ exit: readExit(fields.fields("exit")) }),
};

/** The message of a process, checked. Throws {@link ProtocolError}. */
export function readMessage({ message, bytes }: Omit<Packet, "messageBytes">): FromProcess {
  const fields = Fields.of(message);
  const type = fields.oneOf("type", ...Object.keys(READERS) as FromProcess["type"][]);
  return { type, ...READERS[type](fields, bytes) } as FromProcess;
}

/** What is inside of a request is for the service to check. */
function readCall(fields: Fields): CallMessage {
  const type = fields.oneOf("type", "call", "pipe-chunk", "pipe-credit", "pipe-stop", "drop");
  const head = { id: id(fields) };
  switch (type) {
    case "call":
      return { type, ...head, service: fields.text("service"), request: fields.of.request };
    case "pipe-chunk": {
      const { bytes } = fields.of;
      return bytes === null || bytes instanceof Uint8Array
        ? { type, ...head, bytes }
        : wrong("pipe-chunk");
    }
    case "pipe-credit":
      return { type, ...head, bytes: fields.integer("bytes", 0, Number.MAX_SAFE_INTEGER) };
    default:
      return { type, ...head };
  }
}

function readHeader(header: unknown): readonly [string, string] {
  if (!Array.isArray(header) || header.length !== 2) wrong("header");
  const [name, value] = header as unknown[];
  if (typeof name !== "string" || !HEADER_NAME.test(name)) wrong("header name");
  if (typeof value !== "string" || !HEADER_VALUE.test(value)) wrong("header value");
  return [name, value];
}

function readUsage(fields: Fields): Usage {
  const names = Object.keys(NO_USAGE) as (keyof Usage)[];
  return Object.fromEntries(names.map((name) => {
    const amount = fields.amount(name);
    return [name, name.endsWith("Ms") ? amount : Math.trunc(amount)];
  })) as unknown as Usage;
}

/** Whether each is there always. */
const LIMITS: Readonly<Record<keyof EnforcedLimits, boolean>> = {
  memoryBytesMax: true,
  fuelPerSec: false,
  fuelMax: false,
  epochTimeoutMs: false,
  timeoutMs: false,
  concurrencyMax: true,
  handlesMax: true,
  openFilesMax: true,
  socketsMax: true,
  logLinesPerSecMax: true,
};

function readLimits(fields: Fields): EnforcedLimits {
  const names = Object.keys(LIMITS) as (keyof EnforcedLimits)[];
  return Object.fromEntries(
    names.filter((name) => LIMITS[name] || fields.has(name))
      .map((name) => [name, Math.ceil(fields.amount(name))]),
  ) as unknown as EnforcedLimits;
}

function readError(fields: Fields): RealmError {
  return RealmError.fromJSON({
    code: fields.text("code"),
    message: fields.text("message"),
    ...(fields.has("hint") ? { hint: fields.text("hint") } : {}),
  });
}

function readExit(fields: Fields): Exit {
  const kind = fields.oneOf("kind", "exit", "trap", "stopped");
  if (kind === "stopped") return { kind };
  if (kind === "exit") return { kind, status: fields.integer("status", 0, 0xffff_ffff) };
  const code = fields.text("code");
  return {
    kind,
    code: Object.hasOwn(EXIT_STATUS, code) ? code as keyof typeof EXIT_STATUS : wrong("code"),
    message: fields.text("message"),
    ...(fields.has("hint") ? { hint: fields.text("hint") } : {}),
    backtrace: fields.list("backtrace", BACKTRACE_MAX).map(readFrame),
  };
}

function readFrame(frame: unknown): Frame {
  const fields = Fields.of(frame);
  return {
    module: fields.text("module", NAME_MAX),
    function: fields.text("function", NAME_MAX),
    offset: fields.amount("offset"),
    ...(fields.has("file") ? { file: fields.text("file", NAME_MAX) } : {}),
    ...(fields.has("line") ? { line: fields.amount("line") } : {}),
  };
}

/** What a replica has now, and not in all: may become less. */
const CURRENT: readonly (keyof Usage)[] = [
  "memoryBytes",
  "hostBytes",
  "handles",
  "openFiles",
  "sockets",
  "requests",
];

/** `next`, whose counters are at least what they were before. */
export function growing(before: Usage, next: Usage): Usage {
  const names = Object.keys(NO_USAGE) as (keyof Usage)[];
  return Object.fromEntries(names.map((name) => [
    name,
    CURRENT.includes(name) ? next[name] : Math.max(before[name], next[name]),
  ])) as unknown as Usage;
}
