/**
 * Asks a replica how it is: one request to a path of its own, as the proxy would send it, or a call
 * of its health export. What it says is shown to operators: bounded, one line, and no control
 * characters.
 *
 * @module
 */
import { CHECK, HEALTH_EXPORT, REASON_BYTES_MAX } from "../kernel/health_check.ts";
import type { Clock, HandlerResponse, Replica } from "../kernel/ports.ts";
import type { HealthSpec } from "../realm/manifest.ts";

/** What came of one probe. */
export interface Probe {
  /** Whether the status was 200 to 399, or the component said that it is well, in time. */
  readonly isGood: boolean;
  /** `GET /healthz`, or the name of the export. */
  readonly what: string;
  /** Of an HTTP answer; `null` where there was none. */
  readonly status: number | null;
  /** Whether it answered. */
  readonly isAnswer: boolean;
  /** The beginning of the answer, or why there is none. */
  readonly text: string;
}

/** Probes once. Never rejects; ends with the signal. */
export async function probe(
  replica: Pick<Replica, "handle">,
  { http, timeoutMs }: Pick<HealthSpec, "http" | "timeoutMs">,
  clock: Clock,
  signal: AbortSignal,
): Promise<Probe> {
  const what = http === undefined ? HEALTH_EXPORT : `GET ${http}`;
  const over = new AbortController();
  const ended = AbortSignal.any([over.signal, signal]);
  const late = clock.sleep(timeoutMs, ended).then(() => {
    throw new Error(`no answer in ${timeoutMs} ms`);
  });
  late.catch(() => {}); // whoever waits is told
  try {
    const answer = replica.handle({
      method: http === undefined ? CHECK : "GET",
      url: `http://localhost${http ?? "/"}`,
      headers: [["host", "localhost"], ["user-agent", "realm-health"]],
      body: null,
      signal: ended,
    });
    answer.catch(() => {}); // it may fail after its time
    const response = await Promise.race([answer, late]);
    const isGood = response.status >= 200 && response.status < 400;
    const text = await Promise.race([beginningOf(response), late]);
    const status = http === undefined ? null : response.status;
    return { isGood, what, status, isAnswer: true, text };
  } catch (error) {
    const text = plain(error instanceof Error ? error.message : String(error));
    return { isGood: false, what, status: null, isAnswer: false, text };
  } finally {
    over.abort();
  }
}

/** `GET /healthz: 503 "no database"`, `realm:health/check@0.1.0: "no database"` */
export function formatProbe({ what, status, isAnswer, text }: Probe): string {
  if (!isAnswer) return `${what}: ${text}`;
  return `${what}: ${status === null ? "" : `${status} `}${JSON.stringify(text)}`;
}

async function beginningOf({ body }: HandlerResponse): Promise<string> {
  if (body === null) return "";
  if (body instanceof Uint8Array) return textOf(body);
  const chunks: number[] = [];
  const reader = body.getReader();
  while (chunks.length < REASON_BYTES_MAX) {
    const { value, done } = await reader.read();
    if (done) return textOf(Uint8Array.from(chunks));
    chunks.push(...value.subarray(0, REASON_BYTES_MAX));
  }
  reader.cancel().catch(() => {});
  return textOf(Uint8Array.from(chunks));
}

function textOf(bytes: Uint8Array): string {
  const isCut = bytes.length >= REASON_BYTES_MAX;
  return plain(new TextDecoder().decode(bytes.subarray(0, REASON_BYTES_MAX), { stream: isCut }));
}

/** One line without what moves, colours or hides text on a terminal or page, and not too long. */
function plain(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]+/gu, " ").slice(0, REASON_BYTES_MAX).toWellFormed()
    .trim();
}
