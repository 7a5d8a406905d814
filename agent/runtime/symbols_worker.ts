/**
 * The Worker in which backtraces are named: `{id, source, origins, frames}` in, `{id, begun}` and then
 * `{id, frames}` out; without frames where the debug information of the guest could not be read.
 *
 * @module
 */
import { type Origins, symbolize } from "./symbols/symbolize.ts";
import type { RawFrame } from "./trap.ts";

/** What the Worker is asked. */
export interface SymbolsRequest {
  readonly id: number;
  readonly source: Uint8Array;
  readonly origins: Origins;
  readonly frames: readonly RawFrame[];
}

const scope = self as unknown as {
  onmessage: (event: MessageEvent<SymbolsRequest>) => void;
  postMessage(message: unknown): void;
};

scope.onmessage = ({ data: { id, source, origins, frames } }) => {
  scope.postMessage({ id, begun: true });
  try {
    scope.postMessage({ id, frames: symbolize(source, origins, frames) });
  } catch {
    scope.postMessage({ id });
  }
};
