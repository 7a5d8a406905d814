/**
 * An agent outlives the errors that nobody waited for.
 *
 * A promise of a library that is rejected when a peer cuts a connection at the wrong moment must not
 * end the replicas of everybody else. What is kept on disk does not depend on it: a crash may come at
 * any moment anyway.
 *
 * @module
 */

/** From now on such an error is told with its stack, on one line, and ends nothing. */
export function outliveStrayErrors(note: (text: string) => void): void {
  const tell = (event: Event, error: unknown) => {
    event.preventDefault();
    const text = error instanceof Error ? error.stack ?? String(error) : String(error);
    note(`internal error, the agent goes on: ${text.replaceAll(/\s*\n\s*/g, " ")}`);
  };
  globalThis.addEventListener("unhandledrejection", (event) => tell(event, event.reason));
  globalThis.addEventListener("error", (event) => tell(event, event.error));
}
