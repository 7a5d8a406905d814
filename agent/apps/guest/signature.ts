/**
 * Types of the contract's functions, read from the texts that `contracts.ts` has, to pass values by.
 *
 * @module
 */
import type { TypeDef, TypeRef } from "../../wasm/value_types.ts";
import { type Codec, Codecs, tuple } from "../../wasm/values.ts";
import { INTERFACES } from "../contracts.ts";

/** How the values of one function pass. */
export interface Signature {
  /** All parameters as one. */
  readonly params: Codec;
  readonly result: Codec | undefined;
}

/** `(list<u8>, u32) -> option<u8>`, as `wasm/border.ts` writes it; throws an Error for another form. */
export function signatureOf(text: string): Signature {
  const reader = new TypeReader(text);
  const params = reader.list("(", ")", () => reader.type());
  const result = reader.takes("->") ? reader.type() : undefined;
  reader.end();
  const codecs = new Codecs(reader.types);
  return {
    params: tuple(params.map((ref) => codecs.of(ref))),
    result: result === undefined ? undefined : codecs.of(result),
  };
}

class TypeReader {
  readonly types: TypeDef[] = [];
  readonly #tokens: readonly string[];
  #at = 0;

  constructor(readonly text: string) {
    this.#tokens = text.match(/->|[a-z0-9-]*[a-z0-9]|\S/g) ?? [];
  }

  /** Whether `token` comes next; then it is behind. */
  takes(token: string): boolean {
    if (this.#tokens[this.#at] !== token) return false;
    this.#at++;
    return true;
  }

  #take(token?: string): string {
    const found = this.#tokens[this.#at++];
    if (found === undefined || (token !== undefined && found !== token)) {
      throw new Error(`${this.text}: ${found ?? "its end"}, wanted ${token ?? "a word"}`);
    }
    return found;
  }

  end(): void {
    if (this.#at < this.#tokens.length) this.#take("its end");
  }

  list<T>(open: string, close: string, read: () => T): T[] {
    this.#take(open);
    const items: T[] = [];
    while (!this.takes(close)) {
      if (items.length > 0) this.#take(",");
      items.push(read());
    }
    return items;
  }

  type(): TypeRef {
    const kind = this.#take();
    const refs = () => this.list("<", ">", () => this.takes("_") ? null : this.type());
    switch (kind) {
      case "list":
      case "option":
        return this.#add({ kind, of: refs()[0]! });
      case "tuple":
        return this.#add({ kind, of: refs().map((ref) => ref!) });
      case "result": {
        const [ok = null, err = null] = this.#tokens[this.#at] === "<" ? refs() : [];
        return this.#add({ kind, ok, err });
      }
      case "record":
        return this.#add({
          kind,
          fields: this.list("{", "}", () => {
            const name = this.#take();
            this.#take(":");
            return [name, this.type()] as const;
          }),
        });
      case "variant":
        return this.#add({
          kind,
          cases: this.list("{", "}", () => {
            const name = this.#take();
            const isBare = this.#tokens[this.#at] !== "(";
            return [name, isBare ? null : this.list("(", ")", () => this.type())[0]!] as const;
          }),
        });
      case "enum":
      case "flags":
        return this.#add({ kind, names: this.list("{", "}", () => this.#take()) });
      case "bool":
      case "char":
      case "f32":
      case "f64":
      case "string":
      case "u8":
      case "s8":
      case "s16":
      case "s32":
      case "s64":
      case "u16":
      case "u32":
      case "u64":
        return kind;
      default:
        throw new Error(`${this.text}: ${kind} is no type of a value`);
    }
  }

  #add(type: TypeDef): TypeRef {
    return this.types.push(type) - 1;
  }
}

/** The functions of every interface of the contract, by interface and name. */
export const SIGNATURES: ReadonlyMap<string, ReadonlyMap<string, Signature>> = new Map(
  Object.entries(INTERFACES).map(([name, functions]) => [
    name,
    new Map(Object.entries(functions).map(([fn, text]) => [fn, signatureOf(text)])),
  ]),
);
