/**
 * Requests of behaviors: only to hosts that the person granted, over the broker, as all requests of
 * guests go; nothing is followed, nothing is kept from one to the next.
 *
 * @module
 */
import type {
  FetchFailure,
  GuestRequest,
  GuestResponse,
  Result,
} from "./apps/arbiter/guest_host.ts";

/** Makes a request, where `grants` have its host: `network=https://example.com`. */
export function appRequest(
  _request: GuestRequest,
  _grants: readonly string[],
): Promise<Result<GuestResponse, FetchFailure>> {
  return Promise.resolve({ tag: "err", val: { tag: "denied" } });
}
