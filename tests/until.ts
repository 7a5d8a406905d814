/**
 * Waiting in tests: as long as a busy machine may take, and not for ever.
 *
 * @module
 */
import assert from "node:assert/strict";

const LOOKS_MAX = 6_000;
const EVERY_MS = 20;

/**
 * Waits until something is so. Fails where that never comes, or `over` is settled first: what is
 * waited for cannot come after it.
 */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  over?: Promise<unknown>,
): Promise<void> {
  let isOver = false;
  const end = () => void (isOver = true);
  over?.then(end, end);
  for (let i = 0; i < LOOKS_MAX; i++) {
    const wasOver = isOver;
    if (await holds()) return;
    if (wasOver) assert.fail(`never saw ${what}: it was over before`);
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
  assert.fail(`never saw ${what}`);
}
