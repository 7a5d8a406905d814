/**
 * Listening, with an error for the operator when an address cannot be had; and the server of
 * `realm serve`.
 *
 * @module
 */
import { RealmError } from "./kernel/error.ts";

export { serveHandler } from "./proxy/proxy.ts";

/**
 * Calls `serve`, which listens at `at`; `what` is for, in words.
 *
 * Throws RealmError `failed` that names the address when it is taken or not of this machine.
 */
export function listen<T>(
  what: string,
  at: { readonly hostname: string; readonly port: number },
  serve: () => T,
): T {
  try {
    return serve();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new RealmError(
      "failed",
      `Cannot listen on ${at.hostname}:${at.port} for ${what}: ${reason}`,
      { hint: "Name another address, or port 0 for any that is free", cause: error },
    );
  }
}
