/**
 * Frames by which two peers make a log equal: see `log_exchange.ts`.
 *
 * @module
 */
import { type AnyFrame, bytesOf, type Fields, FRAME_ITEMS_MAX, keys, list } from "./fields.ts";

/** One thing that is said about a log. */
export type ExchangeFrame =
  /** New events, in the form of `encodeSigned()`, parents first. */
  | { readonly frame: "events"; readonly events: readonly Uint8Array[] }
  /** Something is missing: the side that begins sessions is to begin one. */
  | { readonly frame: "again" }
  /** A message of the session that reconciles the log: `kernel/sync/`. */
  | { readonly frame: "sync"; readonly message: Uint8Array };

/** The frame of fields; `undefined` for another kind. Throws RealmError `corrupt`. */
export function exchangeFrameOf(value: Fields & AnyFrame): ExchangeFrame | undefined {
  switch (value.frame) {
    case "events":
      keys(value, "events frame");
      return {
        frame: "events",
        events: list(value.events, FRAME_ITEMS_MAX, (item) => bytesOf(item)),
      };
    case "again":
      keys(value, "frame");
      return { frame: "again" };
    case "sync":
      keys(value, "frame message");
      return { frame: "sync", message: bytesOf(value.message) };
    default:
      return undefined;
  }
}
