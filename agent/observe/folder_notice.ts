/**
 * Tells once when the data folder cannot be looked at any more, and when it can again.
 *
 * What is open goes on as if nothing were, and nobody could ask for an alarm by the socket.
 *
 * @module
 */

/** See the module. */
export class FolderNotice {
  /** What was told last; undefined where all is well. */
  #told: "gone" | "unreadable" | undefined;

  constructor(readonly notice: (text: string) => void) {}

  /** It was looked at. */
  seen(): void {
    if (this.#told === undefined) return;
    // Who made another in its place has one with nothing in it.
    this.notice(
      this.#told === "gone" ? "There is a data folder again" : "The data folder can be read again",
    );
    this.#told = undefined;
  }

  /** It could not be looked at, for the reason that the system gave. */
  failed(error: Error & { readonly code?: string }): void {
    const problem = error.code === "ENOENT" ? "gone" : "unreadable";
    if (problem === this.#told) return;
    this.#told = problem;
    this.notice(
      problem === "gone"
        ? `The data folder is gone, and what is in it with it: ${error.message}`
        : `The data folder cannot be read: ${error.message}`,
    );
  }
}
