/**
 * Why the host stops a guest: what every peer finds alike. Anything else that is thrown while a guest
 * runs is a failure of the host.
 *
 * @module
 */

/** The guest broke a rule of the canonical ABI, or a bound. */
export class GuestFault extends Error {
  override readonly name = "GuestFault";

  /** `kind` is what becomes of the event. */
  constructor(readonly kind: "trapped" | "out-of-fuel", message: string) {
    super(message);
  }
}

/** The guest did what the canonical ABI answers with a trap. */
export function trap(why: string): GuestFault {
  return new GuestFault("trapped", why);
}
