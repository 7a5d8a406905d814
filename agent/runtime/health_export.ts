/**
 * The glue of the health export of a component of WASI 0.2 (`kernel/health_check.ts`).
 *
 * jco's glue lifts a result as soon as the core function returns; ours is called outside of the
 * glue, where it may wait, so nothing is there to lift yet. So the export is reduced to what calls
 * it, and its result, two fixed words and a string, is read here: no more of the string than is
 * told, however long it is.
 *
 * @module
 */
import { HEALTH_EXPORT, HEALTH_FUNCTION, REASON_BYTES_MAX } from "../kernel/health_check.ts";
import { RealmError } from "../kernel/error.ts";

/** How jco lifts `result<_, string>` from memory, without spacing; `M` is the memory. */
const LIFTED = "switch(dataView(M).getUint8(ret+0,true)){" +
  "case0:{V={tag:'ok',val:undefined};break;}" +
  "case1:{varP=dataView(M).getUint32(ret+4,true);varL=dataView(M).getUint32(ret+8,true);" +
  "varS=TEXT_DECODER_UTF8.decode(newUint8Array(M.buffer,P,L));V={tag:'err',val:S};break;}" +
  "default:{thrownewTypeError('invalidvariantdiscriminantforexpected');}}";

/** A text for all forms of {@link LIFTED}: its variables have numbers. */
function plain(text: string): string {
  return text.replace(/\s+/g, "")
    .replace(/\bmemory\d+\b/g, "M").replace(/\bvariant\d+\b/g, "V")
    .replace(/\b(var)?ptr\d+\b/g, "$1P").replace(/\b(var)?len\d+\b/g, "$1L")
    .replace(/\b(var)?result\d+\b/g, "$1S");
}

/**
 * Reduces the health export in jco's glue to `$enter(core, memory, postReturn)`. Glue without it,
 * or with one of another type, is given back as it is: who calls that is told.
 */
export function reduceHealthExport(js: string): string {
  const variable = new RegExp(`'${HEALTH_EXPORT}': ([\\w$]+)`).exec(js)?.[1];
  if (variable === undefined) return js;
  const quoted = variable.replaceAll("$", "\\$");
  const name = new RegExp(`const ${quoted} = \\{\\s*check: ([\\w$]+),\\s*\\};`).exec(js)?.[1];
  if (name === undefined) return js;
  const head = `function ${name}() {`;
  const start = js.search(new RegExp(`^ *function ${name.replaceAll("$", "\\$")}\\(\\) \\{$`, "m"));
  if (start < 0) return js;
  const open = js.indexOf(head, start);
  // Functions of the library are indented less, those inside of this one more.
  const end = js.indexOf(`\n${" ".repeat(open - start)}}\n`, open);
  const text = js.slice(open, end);
  const core = /\$enter\(([\w$]+), \)/.exec(text)?.[1];
  const memory = /\bdataView\((memory\d+)\)\.getUint8\(ret \+ 0, true\)/.exec(text)?.[1];
  if (end < 0 || core === undefined || memory === undefined) return js;
  if (!plain(text).includes(LIFTED)) return js;
  const after = /^\s*(postReturn\d+)\(ret\);$/m.exec(text)?.[1] ?? "undefined";
  return `${js.slice(0, open)}${head}\n return $enter(${core}, ${memory}, ${after});\n${
    js.slice(end)
  }`;
}

/** What {@link reduceHealthExport} hands on beside the core function. */
export interface HealthCall {
  readonly memory: WebAssembly.Memory;
  /** To be called with the result once that was read. */
  readonly postReturn: ((result: number) => void) | undefined;
}

/** Reads what the glue handed on. Throws RealmError `unsupported` where it is of another type. */
export function healthCall([memory, postReturn]: readonly unknown[]): HealthCall {
  if (!(memory instanceof WebAssembly.Memory)) throw otherType();
  return { memory, postReturn: postReturn as HealthCall["postReturn"] };
}

/** The export is there, and is not what `wit/realm-health-0.1.0` says. */
export function otherType(): RealmError {
  return new RealmError(
    "unsupported",
    `Cannot call ${HEALTH_EXPORT}: it has another type, wanted ${HEALTH_FUNCTION}`,
  );
}

/**
 * The reason in a result in the guest's memory, as far as it is told; undefined for ok. Throws
 * RealmError `trap` for what is no result.
 */
export function readHealth({ buffer }: WebAssembly.Memory, result: number): string | undefined {
  const at = result >>> 0;
  const bad = (why: string) =>
    new RealmError("trap", `Cannot read the result of ${HEALTH_EXPORT}: ${why}`);
  if (at % 4 !== 0 || at + 12 > buffer.byteLength) throw bad(`it is at ${at}`);
  const view = new DataView(buffer, at, 12);
  const tag = view.getUint8(0);
  if (tag === 0) return;
  if (tag !== 1) throw bad(`its discriminant is ${tag}, wanted 0 or 1`);
  const [from, length] = [view.getUint32(4, true), view.getUint32(8, true)];
  if (from + length > buffer.byteLength) throw bad("its text is outside of the memory");
  const bytes = new Uint8Array(buffer, from, Math.min(length, REASON_BYTES_MAX));
  return new TextDecoder().decode(bytes, { stream: length > REASON_BYTES_MAX });
}
