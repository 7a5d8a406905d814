/**
 * Traces: what took how long on the way of a request, from the proxy through a component to the
 * requests that it makes. Context comes and goes by W3C `traceparent`
 * (https://www.w3.org/TR/trace-context/); finished spans go to `otlp_exporter.ts`.
 *
 * Whether a trace is recorded is decided once, where it begins, by the id that is drawn for it. Who
 * calls the proxy with a context of its own has decided already, but anybody may write one: that a
 * trace is wanted counts for so many a second, and for the others an id is drawn and decides as for
 * those that begin here, since theirs were chosen by who calls. The flag passes on what was decided,
 * so traces stay whole. What is not recorded costs next to nothing.
 *
 * @module
 */
import type { Clock, Span, SpanOptions, Tracer } from "../kernel/ports.ts";

/** A span that is over. Times are wall time in milliseconds, ids hex. */
export interface FinishedSpan {
  readonly name: string;
  readonly kind: SpanOptions["kind"];
  readonly service: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentId: string | undefined;
  readonly startAtMs: number;
  readonly endAtMs: number;
  readonly attributes: Readonly<Record<string, string | number>>;
  readonly problem: string | undefined;
}

/** What a {@link SpanRecorder} is made with. */
export interface TracerInit {
  readonly clock: Pick<Clock, "wallMs" | "monotonicMs">;
  /** The part of the traces that begin here that is recorded, 0 to 1. */
  readonly ratio: number;
  /** Requests a second, at most, that are recorded because their caller wants it. */
  readonly callersPerSecond: number;
  readonly ended: (span: FinishedSpan) => void;
  /** Fills bytes that nobody can guess. */
  readonly random: (bytes: Uint8Array<ArrayBuffer>) => void;
}

interface Context {
  readonly traceId: string;
  readonly spanId: string;
  readonly isSampled: boolean;
}

/** Version 0, and what later ones have in the same place; `undefined` for what is none. */
function parse(traceparent: string | undefined): Context | undefined {
  const match = /^([\da-f]{2})-([\da-f]{32})-([\da-f]{16})-([\da-f]{2})(-.*)?$/
    .exec(traceparent ?? "");
  const [, version, traceId = "", spanId = "", flags = "", more] = match ?? [];
  const isNone = match === null || version === "ff" || version === "00" && more !== undefined;
  if (isNone || /^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId, isSampled: (parseInt(flags, 16) & 1) === 1 };
}

/** See the module. */
export class SpanRecorder implements Tracer {
  /** A trace is recorded where the first 32 bits of an id that is drawn for it are below it. */
  readonly #below: number;
  /** Requests that may be recorded because their caller wants it, and when they were counted. */
  #wishes: number;
  #countedMs: number;

  constructor(readonly init: TracerInit) {
    this.#below = Math.round(init.ratio * 2 ** 32);
    this.#wishes = init.callersPerSecond;
    this.#countedMs = init.clock.monotonicMs();
  }

  start(name: string, { kind, service, parent: given }: SpanOptions): Span | undefined {
    const { clock, ended } = this.init;
    const parent = parse(given);
    if (parent === undefined && kind !== "server" || parent?.isSampled === false) return undefined;
    const isGranted = parent !== undefined && (kind !== "server" || this.#grantWish());
    // Who calls chose the id of its trace; one that it did not choose decides.
    const drawn = isGranted ? parent.traceId : this.#id(16);
    if (!isGranted && parseInt(drawn.slice(0, 8), 16) >= this.#below) return undefined;
    const traceId = parent?.traceId ?? drawn;
    const spanId = this.#id(8);
    const [startAtMs, startMs] = [clock.wallMs(), clock.monotonicMs()];
    let isOver = false;
    return {
      traceparent: `00-${traceId}-${spanId}-01`,
      end: (attributes = {}, problem) => {
        if (isOver) return;
        isOver = true;
        ended({
          name,
          kind,
          service,
          traceId,
          spanId,
          parentId: parent?.spanId,
          startAtMs,
          endAtMs: startAtMs + clock.monotonicMs() - startMs,
          attributes,
          problem,
        });
      },
    };
  }

  unrecorded(given: string | undefined): string | undefined {
    const parent = parse(given);
    // Whoever changes the flag is a part of its own: section 3.4 of the specification.
    return parent?.isSampled ? `00-${parent.traceId}-${this.#id(8)}-00` : given;
  }

  #grantWish(): boolean {
    const { clock, callersPerSecond } = this.init;
    const nowMs = clock.monotonicMs();
    const more = callersPerSecond * (nowMs - this.#countedMs) / 1_000;
    this.#wishes = Math.min(callersPerSecond, this.#wishes + more);
    this.#countedMs = nowMs;
    if (this.#wishes < 1) return false;
    this.#wishes--;
    return true;
  }

  #id(length: number): string {
    const bytes = new Uint8Array(length);
    this.init.random(bytes);
    return bytes.toHex();
  }
}
