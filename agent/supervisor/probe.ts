/**
 * Asks a replica how it is: one request to a path of its own, as the proxy would send it.
 *
 * @module
 */
import type { Clock, HandlerResponse, Replica } from "../kernel/ports.ts";

/** What came of one probe. */
export interface Probe {
  /** Whether the status was 200 to 399, in time. */
  readonly isGood: boolean;
  readonly path: string;
  /** `null` where there was no answer. */
  readonly status: number | null;
  /** The beginning of the body, or why there is no answer. */
  readonly text: string;
}

/** Of a body that is bad news so much is kept. */
const TEXT_BYTES_MAX = 300;

/** Probes once. Never rejects; ends with the signal. */
export async function probe(
  replica: Pick<Replica, "handle">,
  path: string,
  timeoutMs: number,
  clock: Clock,
  signal: AbortSignal,
): Promise<Probe> {
  const over = new AbortController();
  const ended = AbortSignal.any([over.signal, signal]);
  const late = clock.sleep(timeoutMs, ended).then(() => {
    throw new Error(`no answer in ${timeoutMs} ms`);
  });
  late.catch(() => {}); // whoever waits is told
  try {
    const answer = replica.handle({
      method: "GET",
      url: `http://localhost${path}`,
      headers: [["host", "localhost"], ["user-agent", "realm-health"]],
      body: null,
      signal: ended,
    });
    answer.catch(() => {}); // it may fail after its time
    const response = await Promise.race([answer, late]);
    const isGood = response.status >= 200 && response.status < 400;
    const text = await Promise.race([beginningOf(response), late]);
    return { isGood, path, status: response.status, text };
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    return { isGood: false, path, status: null, text };
  } finally {
    over.abort();
  }
}

/** `GET /healthz: 503 "no database"` */
export function formatProbe({ path, status, text }: Probe): string {
  return status === null
    ? `GET ${path}: ${text}`
    : `GET ${path}: ${status} ${JSON.stringify(text)}`;
}

async function beginningOf({ body }: HandlerResponse): Promise<string> {
  if (body === null) return "";
  if (body instanceof Uint8Array) return textOf(body);
  const chunks: number[] = [];
  const reader = body.getReader();
  while (chunks.length < TEXT_BYTES_MAX) {
    const { value, done } = await reader.read();
    if (done) return textOf(Uint8Array.from(chunks));
    chunks.push(...value.subarray(0, TEXT_BYTES_MAX));
  }
  reader.cancel().catch(() => {});
  return textOf(Uint8Array.from(chunks));
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes.subarray(0, TEXT_BYTES_MAX)).trim();
}
