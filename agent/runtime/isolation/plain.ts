/**
 * Values of service calls as JSON with bytes beside it: what can be cloned and is plain data. What
 * comes from a process that is not trusted is made of arrays, plain objects, texts, numbers and
 * bytes whatever it says, and no deeper than {@link DEPTH_MAX}.
 *
 * @module
 */
import { ProtocolError } from "./link.ts";

const DEPTH_MAX = 16;

/** What stands for a value: JSON in which each array begins with what it stands for. */
export type Plain =
  | null
  | boolean
  | string
  | number
  | readonly ["list" | "map", ...(Plain | readonly [string, Plain])[]]
  | readonly ["bytes", number]
  | readonly ["big" | "number", string]
  | readonly ["undefined"];

/** Packs a value; its bytes are appended to `bytes`. */
export function pack(value: unknown, bytes: Uint8Array[]): Plain {
  switch (typeof value) {
    case "boolean":
    case "string":
      return value;
    case "number":
      return Number.isFinite(value) ? value : ["number", String(value)];
    case "bigint":
      return ["big", String(value)];
    case "object":
      break;
    default:
      return ["undefined"];
  }
  if (value === null) return null;
  if (value instanceof Uint8Array) {
    bytes.push(value);
    return ["bytes", value.length];
  }
  if (Array.isArray(value)) return ["list", ...value.map((item) => pack(item, bytes))];
  const entries = Object.entries(value);
  return ["map", ...entries.map(([name, item]) => [name, pack(item, bytes)] as const)];
}

const isText = (value: unknown) => typeof value === "string";

/** Inverse of {@link pack}, given all of its bytes. Throws {@link ProtocolError}. */
export function unpack(plain: unknown, bytes: Uint8Array): unknown {
  let at = 0;
  const wrong = (): never => {
    throw new ProtocolError("a wrong value");
  };
  const read = (plain: unknown, depth: number): unknown => {
    if (plain === null || ["boolean", "string", "number"].includes(typeof plain)) return plain;
    if (!Array.isArray(plain) || depth > DEPTH_MAX) return wrong();
    const [kind, ...rest] = plain as unknown[];
    switch (kind) {
      case "list":
        return rest.map((item) => read(item, depth + 1));
      case "map":
        return Object.fromEntries(rest.map((entry) => {
          if (!Array.isArray(entry) || typeof entry[0] !== "string") return wrong();
          return [entry[0], read(entry[1], depth + 1)];
        }));
      case "bytes": {
        const length = rest[0] as number;
        if (!Number.isSafeInteger(length) || length < 0 || at + length > bytes.length) wrong();
        at += length;
        return bytes.slice(at - length, at);
      }
      // To make text of a list goes as deep as the list: nothing but text is looked at.
      case "big":
        return isText(rest[0]) && /^-?\d{1,40}$/.test(rest[0]) ? BigInt(rest[0]) : wrong();
      case "number":
        return isText(rest[0]) ? Number(rest[0]) : wrong();
      case "undefined":
        return undefined;
      default:
        return wrong();
    }
  };
  return read(plain, 0);
}
