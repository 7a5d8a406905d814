/**
 * Signatures that were verified before anybody asks: on another thread, while this one had other work.
 *
 * Nothing is decided here. {@link VerifiedAhead.verify} answers as the function that it stands for, for
 * every input: what is known is that this function, or the same elsewhere, said yes to these very bytes.
 * Of everything else, and so of every bad signature, the function itself is asked.
 *
 * @module
 */
import { textOf } from "./byte_string.ts";
import { bytesEqual } from "./key.ts";
import type { VerifySync } from "./verify.ts";

/** A signature, of what and by whom. */
export interface SignedMessage {
  readonly publicKey: Uint8Array;
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
}

/** See the module. */
export class VerifiedAhead {
  /** By their signatures. */
  #known: ReadonlyMap<string, SignedMessage> = new Map();

  constructor(readonly strict: VerifySync) {}

  /** The strict function; it need not be asked while something is known. */
  readonly verify: VerifySync = (publicKey, message, signature) => {
    const known = this.#known.size === 0 ? undefined : this.#known.get(textOf(signature));
    return known !== undefined && bytesEqual(known.publicKey, publicKey) &&
        bytesEqual(known.message, message) || this.strict(publicKey, message, signature);
  };

  /** Does something while these are known, to which the strict function said yes; then forgets them. */
  during<T>(verified: readonly SignedMessage[], act: () => T): T {
    const before = this.#known;
    this.#known = new Map(verified.map((each) => [textOf(each.signature), each]));
    try {
      return act();
    } finally {
      this.#known = before;
    }
  }
}
