/**
 * Readable names of functions from the symbols that compilers make of them.
 *
 * Rust in both schemes, legacy and v0
 * (https://doc.rust-lang.org/rustc/symbol-mangling/v0.html), without hashes, as its own demangler
 * writes them in short; of C++ (https://itanium-cxx-abi.github.io/cxx-abi/abi.html#mangling) the
 * qualified name, without parameters and with `<…>` for template arguments. What is not understood
 * stays as it is. Names come from the guest: the result is bounded.
 *
 * @module
 */

/** Characters of a name at most; the rest becomes `…`. */
const NAME_MAX = 300;
/** Characters of a symbol that are looked at. */
const SYMBOL_MAX = 4096;
/** Steps after which a symbol counts as not understood: back references may repeat for ever. */
const STEPS_MAX = 2000;

/** The symbol for people to read. */
export function demangle(symbol: string): string {
  let name: string | undefined;
  try {
    if (symbol.length > SYMBOL_MAX) name = undefined;
    else if (symbol.startsWith("_R")) name = new RustSymbol(symbol.slice(2)).name();
    else if (symbol.startsWith("_ZN")) name = legacyRust(symbol) ?? cxx(symbol);
    else if (symbol.startsWith("_Z")) name = cxx(symbol);
  } catch (error) {
    if (!(error instanceof NotUnderstood)) throw error;
  }
  name ??= symbol;
  return name.length > NAME_MAX ? `${name.slice(0, NAME_MAX)}…` : name;
}

class NotUnderstood extends Error {}

// ---- Rust, legacy ----

const ESCAPES: Record<string, string> = {
  SP: "@",
  BP: "*",
  RF: "&",
  LT: "<",
  GT: ">",
  LP: "(",
  RP: ")",
  C: ",",
};

/** A C++ name whose last part is a hash of 16 digits. */
function legacyRust(symbol: string): string | undefined {
  const parts: string[] = [];
  let at = 3;
  for (;;) {
    const [, digits] = /^(\d+)/.exec(symbol.slice(at, at + 6)) ?? [];
    if (!digits) break;
    at += digits.length;
    parts.push(symbol.slice(at, at += Number(digits)));
  }
  if (symbol[at] !== "E" || !/^h[0-9a-f]{16}$/.test(parts.at(-1) ?? "")) return undefined;
  return parts.slice(0, -1).map((part) =>
    part.replace(/^_(?=\$)/, "").replaceAll("..", "::").replace(
      /\$(?:u([0-9a-f]{1,6})|([A-Z]{1,2}))\$/g,
      (all, code: string | undefined, escape: string) => {
        if (code === undefined) return ESCAPES[escape] ?? all;
        const point = parseInt(code, 16);
        return point > 0x1f && point <= 0x10ffff ? String.fromCodePoint(point) : all;
      },
    )
  ).join("::");
}

// ---- Rust, v0 ----

const BASIC_TYPES: Record<string, string> = {
  a: "i8",
  b: "bool",
  c: "char",
  d: "f64",
  e: "str",
  f: "f32",
  h: "u8",
  i: "isize",
  j: "usize",
  l: "i32",
  m: "u32",
  n: "i128",
  o: "u128",
  p: "_",
  s: "i16",
  t: "u16",
  u: "()",
  v: "...",
  x: "i64",
  y: "u64",
  z: "!",
};

class RustSymbol {
  #at = 0;
  #steps = 0;
  #lifetimes = 0;

  /** `text` is the symbol behind `_R`. */
  constructor(readonly text: string) {}

  name(): string {
    this.#number(); // the version of the scheme, if there is one
    return this.#path(true);
  }

  #peek(): string {
    return this.text[this.#at] ?? "";
  }

  #next(): string {
    if (++this.#steps > STEPS_MAX || this.#at >= this.text.length) throw new NotUnderstood();
    return this.text[this.#at++]!;
  }

  #skip(char: string): boolean {
    if (this.#peek() !== char) return false;
    this.#at++;
    return true;
  }

  #number(): number {
    let n = 0;
    while (/\d/.test(this.#peek())) n = n * 10 + Number(this.#next());
    return n;
  }

  /** `_` is 0, `0_` is 1, … */
  #base62(): number {
    if (this.#skip("_")) return 0;
    let n = 0;
    for (let c = this.#next(); c !== "_"; c = this.#next()) {
      const code = c.charCodeAt(0);
      n = n * 62 + (code < 58 ? code - 48 : code < 91 ? code - 29 : code - 87);
    }
    return n + 1;
  }

  #optional(tag: string): number {
    return this.#skip(tag) ? this.#base62() + 1 : 0;
  }

  #identifier(): string {
    const isPunycode = this.#skip("u");
    const length = this.#number();
    this.#skip("_");
    const text = this.text.slice(this.#at, this.#at += length);
    if (text.length !== length) throw new NotUnderstood();
    return isPunycode ? `punycode{${text.replace(/_(?=[^_]*$)/, "-")}}` : text;
  }

  /** Reads what stands at an earlier place. */
  #back<T>(read: () => T): T {
    const to = this.#base62();
    const from = this.#at;
    if (to >= from) throw new NotUnderstood();
    this.#at = to;
    const result = read();
    this.#at = from;
    return result;
  }

  #until(read: () => string): string[] {
    const items: string[] = [];
    while (!this.#skip("E")) items.push(read());
    return items;
  }

  #path(isValue: boolean): string {
    const tag = this.#next();
    switch (tag) {
      case "C":
        this.#optional("s");
        return this.#identifier();
      case "M":
        this.#implPath();
        return `<${this.#type()}>`;
      case "X":
        this.#implPath();
        return `<${this.#type()} as ${this.#path(false)}>`;
      case "Y":
        return `<${this.#type()} as ${this.#path(false)}>`;
      case "N": {
        const kind = this.#next();
        const parent = this.#path(isValue);
        const index = this.#optional("s");
        const name = this.#identifier();
        if (/[a-z]/.test(kind)) return name === "" ? parent : `${parent}::${name}`;
        const what = kind === "C" ? "closure" : kind === "S" ? "shim" : kind;
        return `${parent}::{${what}${name === "" ? "" : `:${name}`}#${index}}`;
      }
      case "I": {
        const path = this.#path(isValue);
        const args = this.#until(() => this.#argument()).join(", ");
        return `${path}${isValue ? "::" : ""}<${args}>`;
      }
      case "B":
        return this.#back(() => this.#path(isValue));
      default:
        throw new NotUnderstood();
    }
  }

  #implPath(): void {
    this.#optional("s");
    this.#path(false);
  }

  #argument(): string {
    if (this.#skip("L")) return this.#lifetime();
    if (this.#skip("K")) return this.#constant();
    return this.#type();
  }

  #lifetime(): string {
    const index = this.#base62();
    if (index === 0) return "'_";
    const depth = this.#lifetimes - index;
    return depth >= 0 && depth < 26 ? `'${String.fromCharCode(97 + depth)}` : `'_${depth}`;
  }

  #binder(read: () => string): string {
    const bound = this.#optional("G");
    if (bound > 64) throw new NotUnderstood();
    const names: string[] = [];
    for (let i = 0; i < bound; i++) {
      this.#lifetimes++;
      names.push(`'${String.fromCharCode(97 + (this.#lifetimes - 1) % 26)}`);
    }
    const text = read();
    this.#lifetimes -= bound;
    return bound > 0 ? `for<${names.join(", ")}> ${text}` : text;
  }

  #type(): string {
    const tag = this.#next();
    const basic = BASIC_TYPES[tag];
    if (basic !== undefined) return basic;
    switch (tag) {
      case "A": {
        const element = this.#type();
        return `[${element}; ${this.#constant()}]`;
      }
      case "S":
        return `[${this.#type()}]`;
      case "T": {
        const items = this.#until(() => this.#type());
        return `(${items.join(", ")}${items.length === 1 ? "," : ""})`;
      }
      case "R":
      case "Q": {
        const lifetime = this.#skip("L") ? this.#lifetime() : "'_";
        const named = lifetime === "'_" ? "" : `${lifetime} `;
        return `&${named}${tag === "Q" ? "mut " : ""}${this.#type()}`;
      }
      case "P":
        return `*const ${this.#type()}`;
      case "O":
        return `*mut ${this.#type()}`;
      case "F":
        return this.#binder(() => this.#function());
      case "D": {
        const bounds = this.#binder(() => this.#until(() => this.#dynTrait()).join(" + "));
        if (!this.#skip("L")) throw new NotUnderstood();
        const lifetime = this.#lifetime();
        return `dyn ${bounds}${lifetime === "'_" ? "" : ` + ${lifetime}`}`;
      }
      case "B":
        return this.#back(() => this.#type());
      default:
        this.#at--;
        return this.#path(false);
    }
  }

  #function(): string {
    const isUnsafe = this.#skip("U");
    let abi = "";
    if (this.#skip("K")) {
      abi = this.#skip("C") ? "C" : this.#identifier().replaceAll("_", "-");
      abi = `extern "${abi}" `;
    }
    const params = this.#until(() => this.#type()).join(", ");
    const result = this.#type();
    const returned = result === "()" ? "" : ` -> ${result}`;
    return `${isUnsafe ? "unsafe " : ""}${abi}fn(${params})${returned}`;
  }

  #dynTrait(): string {
    const path = this.#path(false);
    const bindings: string[] = [];
    while (this.#skip("p")) {
      const name = this.#identifier();
      bindings.push(`${name} = ${this.#type()}`);
    }
    if (bindings.length === 0) return path;
    return path.endsWith(">")
      ? `${path.slice(0, -1)}, ${bindings.join(", ")}>`
      : `${path}<${bindings.join(", ")}>`;
  }

  #constant(): string {
    if (this.#skip("B")) return this.#back(() => this.#constant());
    const type = this.#next();
    if (type === "p") return "_";
    const negative = this.#skip("n");
    let digits = "";
    for (let c = this.#next(); c !== "_"; c = this.#next()) {
      if (!/[0-9a-f]/.test(c)) throw new NotUnderstood();
      digits += c;
    }
    const value = BigInt(`0x${digits || "0"}`);
    if (type === "b") return value === 0n ? "false" : "true";
    if (type === "c") {
      return value > 0x1fn && value <= 0x10ffffn ? `'${String.fromCodePoint(Number(value))}'` : "_";
    }
    if (!(type in BASIC_TYPES)) throw new NotUnderstood();
    return `${negative ? "-" : ""}${value}`;
  }
}

// ---- C++ ----

const STANDARD: Record<string, string> = {
  t: "std",
  a: "std::allocator",
  b: "std::basic_string",
  s: "std::string",
  i: "std::istream",
  o: "std::ostream",
  d: "std::iostream",
};

/** The qualified name of a function. */
function cxx(symbol: string): string | undefined {
  let at = 2;
  const isNested = symbol[at] === "N";
  if (isNested) at++;
  const parts: string[] = [];
  const identifier = (): string | undefined => {
    const [, digits] = /^(\d+)/.exec(symbol.slice(at, at + 6)) ?? [];
    if (!digits) return undefined;
    at += digits.length;
    const name = symbol.slice(at, at += Number(digits));
    return name.startsWith("_GLOBAL__N") ? "(anonymous namespace)" : name;
  };
  while (/[rVKRO]/.test(symbol[at] ?? "")) at++; // qualifiers of the method
  for (;;) {
    const c = symbol[at];
    const name = identifier();
    if (name !== undefined) parts.push(name);
    else if (c === "S" && STANDARD[symbol[at + 1] ?? ""] !== undefined) {
      parts.push(STANDARD[symbol[at + 1]!]!);
      at += 2;
    } else if (c === "I" && parts.length > 0) {
      parts.push(`${parts.pop()}<…>`);
      at = templateEnd(symbol, at);
    } else if (c === "C" && /[1-5]/.test(symbol[at + 1] ?? "") && parts.length > 0) {
      parts.push(parts.at(-1)!.replace("<…>", ""));
      at += 2;
    } else if (c === "D" && /[0-5]/.test(symbol[at + 1] ?? "") && parts.length > 0) {
      parts.push(`~${parts.at(-1)!.replace("<…>", "")}`);
      at += 2;
    } else if (c === "L") at++; // of internal linkage
    else if (c === "E" && isNested) break;
    else return undefined;
    // Without brackets there is one name, behind `std` at most.
    if (!isNested && parts.at(-1) !== "std" && symbol[at] !== "I") break;
  }
  return parts.length > 0 ? parts.join("::") : undefined;
}

/** The place behind the template arguments that start at `at`. */
function templateEnd(symbol: string, at: number): number {
  let depth = 0;
  for (let steps = 0; steps < SYMBOL_MAX; steps++) {
    const c = symbol[at];
    if (c === undefined) break;
    const [digits] = /^\d+/.exec(symbol.slice(at, at + 6)) ?? [];
    const [substitution] = /^[ST][0-9A-Z]*_/.exec(symbol.slice(at, at + 8)) ?? [];
    if (c === "L") at = symbol.indexOf("E", at) + 1 || symbol.length; // a literal
    else if (digits) at += digits.length + Number(digits);
    else if (substitution) at += substitution.length;
    else if (c === "S") at += 2;
    else if (c === "D") {
      if (/[tT]/.test(symbol[at + 1] ?? "")) depth++;
      at += 2;
    } else {
      if ("NIXFJ".includes(c)) depth++;
      at++;
      if (c === "E" && --depth === 0) return at;
    }
  }
  throw new NotUnderstood();
}
