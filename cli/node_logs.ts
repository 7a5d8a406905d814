/**
 * The logs of one component on several nodes as one.
 *
 * @module
 */

/** What came of a node. */
interface Came<T> {
  readonly node: string;
  readonly log: AsyncIterator<T>;
  readonly event: T;
}

/** How logs are put together. */
export interface MergeOptions {
  /** By time, which means to wait for every node before each line; else as lines come. */
  readonly inOrder: boolean;
  /** The log of a node broke; those of the others go on. */
  readonly failed: (node: string, error: unknown) => void;
}

/**
 * The events of all logs, each with the name of its node. Of each node no more is read than is asked
 * for here, so that a slow reader slows the nodes down, or is told what it missed.
 */
export async function* mergeLogs<T extends object>(
  logs: ReadonlyMap<string, AsyncIterable<T>>,
  { inOrder, failed }: MergeOptions,
): AsyncGenerator<T & { readonly node: string }, void, undefined> {
  const came: Came<T>[] = [];
  /** Logs that are being read. */
  let reading = 0;
  let wake = () => {};
  const read = (node: string, log: AsyncIterator<T>) => {
    reading++;
    log.next().then(
      ({ done, value }) => void (done || came.push({ node, log, event: value })),
      (error) => failed(node, error),
    ).finally(() => {
      reading--;
      wake();
    });
  };
  const iterators = [...logs].map(([node, log]) => [node, log[Symbol.asyncIterator]()] as const);
  try {
    for (const [node, log] of iterators) read(node, log);
    while (reading > 0 || came.length > 0) {
      if (came.length === 0 || inOrder && reading > 0) {
        await new Promise<void>((resolve) => wake = resolve);
        continue;
      }
      if (inOrder) came.sort((a, b) => timeOf(a.event) - timeOf(b.event));
      const { node, log, event } = came.shift()!;
      yield { ...event, node };
      read(node, log);
    }
  } finally {
    // Not awaited: one that waits for its next line returns only after that.
    for (const [, log] of iterators) void log.return?.()?.catch(() => {});
  }
}

/** The last lines of a log that ends, and what was missed between them. */
export async function* lastLines<T extends object>(
  log: AsyncIterable<T>,
  count: number,
): AsyncGenerator<T, void, undefined> {
  const kept: T[] = [];
  let lines = 0;
  for await (const event of log) {
    kept.push(event);
    if (isLine(event)) lines++;
    while (lines > count) if (isLine(kept.shift()!)) lines--;
  }
  if (count > 0) yield* kept;
}

function isLine(event: object): boolean {
  return "wallMs" in event;
}

/** Of a line; what is none comes at once. */
function timeOf(event: object): number {
  return isLine(event) ? Number((event as { wallMs: number }).wallMs) : -Infinity;
}
