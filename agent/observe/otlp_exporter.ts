/**
 * Sends finished spans by OTLP over HTTP, as JSON:
 * https://opentelemetry.io/docs/specs/otlp/#otlphttp. In place of the SDK, which is a hundred times
 * as large and has no bound of its own over all that a process records.
 *
 * Spans wait in a bounded queue and go together, one request at a time. What does not fit, or cannot
 * be sent, is counted and gone: a trace is worth no memory and no second try.
 *
 * @module
 */
import type { FinishedSpan } from "./tracer.ts";

/** What becomes of spans. */
export type SpanOutcome = "sent" | "dropped" | "failed";

/** What an {@link OtlpExporter} is made with. */
export interface OtlpInit {
  /** Where spans go, such as `http://127.0.0.1:4318/v1/traces`. */
  readonly url: string;
  /** Name of this node. */
  readonly node: () => string;
  /** Version of the program. */
  readonly program: string;
  /** `failed`: the collector did not take them; `dropped`: the queue was full. */
  readonly counted: (outcome: SpanOutcome, spans: number) => void;
  /** The global one unless given. */
  readonly fetch?: typeof fetch;
  /** Spans are sent after so long at the latest; 2 s unless given. */
  readonly pauseMs?: number;
}

/** Spans that wait. */
export const QUEUE_MAX = 4_096;
/** Spans of one request. */
export const SPANS_EACH_MAX = 512;
const PAUSE_MS = 2_000;
/** A collector has this long to answer. */
const TIMEOUT_MS = 10_000;
/** And so long in all when the agent stops. */
const CLOSE_MS = 2_000;

/** Numbers of the specification. */
const KINDS = { internal: 1, server: 2, client: 3 } as const;
const STATUS_ERROR = 2;

/** See the module. */
export class OtlpExporter {
  #queue: FinishedSpan[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #sending: Promise<void> | undefined;
  #isClosed = false;
  readonly #late = new AbortController();

  constructor(readonly init: OtlpInit) {}

  /** Takes a span that is over. */
  add(span: FinishedSpan): void {
    if (this.#isClosed || this.#queue.length >= QUEUE_MAX) return this.init.counted("dropped", 1);
    this.#queue.push(span);
    if (this.#queue.length >= SPANS_EACH_MAX) this.#send();
    else this.#timer ??= setTimeout(() => this.#send(), this.init.pauseMs ?? PAUSE_MS);
  }

  /** Sends what waits, once and not for long, and takes no more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const late = setTimeout(() => this.#late.abort(), CLOSE_MS);
    await this.#sending;
    this.#send();
    await this.#sending;
    clearTimeout(late);
    clearTimeout(this.#timer);
    if (this.#queue.length > 0) this.init.counted("dropped", this.#queue.length);
    this.#queue = [];
  }

  #send(): void {
    if (this.#sending !== undefined || this.#queue.length === 0) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#sending = this.#post(this.#queue.splice(0, SPANS_EACH_MAX)).finally(() => {
      this.#sending = undefined;
      if (this.#isClosed || this.#queue.length === 0) return;
      if (this.#queue.length >= SPANS_EACH_MAX) this.#send();
      else this.#timer ??= setTimeout(() => this.#send(), this.init.pauseMs ?? PAUSE_MS);
    });
  }

  async #post(spans: readonly FinishedSpan[]): Promise<void> {
    const { url, node, program, counted, fetch: send = fetch } = this.init;
    try {
      const response = await send(url, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(encodeSpans(spans, { node: node(), program })),
        signal: AbortSignal.any([this.#late.signal, AbortSignal.timeout(TIMEOUT_MS)]),
        redirect: "error",
      });
      await response.body?.cancel();
      counted(response.ok ? "sent" : "failed", spans.length);
    } catch {
      counted("failed", spans.length);
    }
  }
}

/** An `ExportTraceServiceRequest` as JSON; a resource for each service. */
export function encodeSpans(
  spans: readonly FinishedSpan[],
  { node, program }: { readonly node: string; readonly program: string },
) {
  return {
    resourceSpans: [...Map.groupBy(spans, ({ service }) => service)].map(([service, all]) => ({
      resource: { attributes: attributesOf({ "service.name": service, "host.name": node }) },
      scopeSpans: [{
        scope: { name: "realm", version: program },
        spans: all.map((span) => ({
          traceId: span.traceId,
          spanId: span.spanId,
          ...(span.parentId === undefined ? {} : { parentSpanId: span.parentId }),
          name: span.name,
          kind: KINDS[span.kind],
          startTimeUnixNano: nanoseconds(span.startAtMs),
          endTimeUnixNano: nanoseconds(span.endAtMs),
          attributes: attributesOf(span.attributes),
          status: span.problem === undefined ? {} : { code: STATUS_ERROR, message: span.problem },
        })),
      }],
    })),
  };
}

/** 64-bit numbers are texts in JSON of protobuf. */
function nanoseconds(ms: number): string {
  return String(BigInt(Math.round(ms * 1_000)) * 1_000n);
}

function attributesOf(attributes: Readonly<Record<string, string | number>>) {
  return Object.entries(attributes).map(([key, value]) => ({
    key,
    value: typeof value === "number" ? { intValue: String(Math.round(value)) } : {
      stringValue: value,
    },
  }));
}
