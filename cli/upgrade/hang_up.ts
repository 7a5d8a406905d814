/**
 * The end of the terminal, which must not leave an upgrade half done.
 *
 * @module
 */
import { RealmError } from "../../agent/kernel/error.ts";

/**
 * A signal that is aborted as `interrupted` is, and by SIGHUP, which ends nothing from now on until
 * it is disposed of.
 */
export function orHungUp(
  interrupted: AbortSignal,
): { readonly signal: AbortSignal } & Disposable {
  if (Deno.build.os === "windows") return { signal: interrupted, [Symbol.dispose]() {} };
  const hungUp = new AbortController();
  const listener = () => hungUp.abort(new RealmError("failed", "Stopped: SIGHUP"));
  Deno.addSignalListener("SIGHUP", listener);
  return {
    signal: AbortSignal.any([interrupted, hungUp.signal]),
    [Symbol.dispose]: () => Deno.removeSignalListener("SIGHUP", listener),
  };
}
