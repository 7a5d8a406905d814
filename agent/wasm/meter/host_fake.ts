/**
 * The host side of metering as the tests need it: a budget that is handed out in slices, and a
 * record of what the guest asked for.
 *
 * @module
 */
import { parse, print } from "../../../tests/wasm_tools.ts";
import { meter, type Metered, type MeterOptions } from "./meter.ts";

/** The text format of a module. */
export { print };

/** Bounds that no test module reaches unless it means to. */
export const OPTIONS: MeterOptions = { memoryPagesMax: 4096, tableElementsMax: 100_000 };

/** The bytes of a module in the text format. */
export async function assemble(wat: string): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await parse(wat));
}

/** The five imports. */
export class TestHost {
  readonly fuel = new WebAssembly.Global({ value: "i32", mutable: true }, 0);
  readonly stack = new WebAssembly.Global({ value: "i32", mutable: true }, 0);
  readonly outline = new WebAssembly.Global({ value: "i32", mutable: true }, 0);
  /** Units handed out so far. */
  granted = 0;
  refuels = 0;
  /** Arguments of every call of "grow". */
  readonly asked: [kind: number, units: number][] = [];
  allowed = true;

  /** `slice` units at a time; after `budget` units the guest is stopped. */
  constructor(
    readonly slice = 1_000_000_000,
    readonly budget = Infinity,
    stackBytes = 256 * 1024,
    outlineBytes = 64 * 1024,
  ) {
    this.outline.value = outlineBytes;
    this.stack.value = stackBytes;
    this.#grant();
  }

  #grant(): void {
    this.fuel.value += this.slice;
    this.granted += this.slice;
  }

  /** Units used so far. Exact while the guest is not running. */
  get used(): number {
    return this.granted - this.fuel.value;
  }

  readonly imports = {
    fuel: this.fuel,
    stack: this.stack,
    outline: this.outline,
    refuel: (): number => {
      this.refuels++;
      if (this.used > this.budget) return 1;
      while (this.fuel.value < 0) this.#grant();
      return 0;
    },
    grow: (kind: number, units: number): number => {
      this.asked.push([kind, units]);
      return this.allowed ? 0 : 1;
    },
  };
}

/** Meters and instantiates a module. */
export async function run(
  module: string | Uint8Array,
  { host = new TestHost(), imports = {}, options = OPTIONS }: {
    host?: TestHost;
    imports?: WebAssembly.Imports;
    options?: MeterOptions;
  } = {},
): Promise<{ host: TestHost; metered: Metered; exports: Record<string, any> }> {
  const bytes = typeof module === "string" ? await assemble(module) : module;
  const metered = meter(bytes, options);
  const { instance } = await WebAssembly.instantiate(metered.bytes, {
    ...imports,
    realm: host.imports,
  });
  return { host, metered, exports: instance.exports };
}
