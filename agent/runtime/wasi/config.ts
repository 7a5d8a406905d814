/**
 * `wasi:config`, pinned to 0.2.0-rc.1 (`store`) and 0.2.0-draft (`runtime`, its older spelling):
 * the component's variables, which do not change while it runs. Nothing here fails.
 *
 * @see https://github.com/WebAssembly/wasi-config/tree/main/wit
 * @module
 */
import type { WasiInstance } from "./context.ts";

/** The functions of both spellings. */
export function createConfig(host: WasiInstance) {
  const { config } = host.ctx.grants;
  const values = new Map(config);
  return {
    get: (key: string): string | undefined => values.get(key),
    getAll: (): [string, string][] => [...values],
  };
}
