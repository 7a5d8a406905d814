/**
 * Answers of the proxy itself: which status, and a short body that says which component and why.
 *
 * @module
 */

/** How a request ended. */
export type Outcome =
  /** The whole response was sent. */
  | "ok"
  /** Not a request that the proxy takes: malformed, too large, an upgrade. */
  | "refused"
  | "no-route"
  | "no-replica"
  | "overloaded"
  | "timeout"
  /** The component trapped, or could not answer, before it gave the head of a response. */
  | "failed"
  /** The client left before there was a response. */
  | "canceled"
  /** The head was sent and the body was not: the client left, or the component trapped. */
  | "incomplete";

/** What to answer when no component does. */
export interface Failure {
  readonly outcome: Outcome;
  readonly status: number;
  readonly reason: string;
  readonly component?: string;
}

/** The response: one line of text, or JSON where the client asks for that. */
export function failureResponse(failure: Failure, accept: string | null): Response {
  const { outcome, status, reason, component } = failure;
  const headers = new Headers({ "cache-control": "no-store" });
  if (status === 503) headers.set("retry-after", "1");
  if (accept !== null && /\bapplication\/(?:[\w.-]+\+)?json\b/i.test(accept)) {
    headers.set("content-type", "application/json");
    const error = {
      code: outcome,
      status,
      ...(component === undefined ? {} : { component }),
      reason,
    };
    return new Response(`${JSON.stringify({ error })}\n`, { status, headers });
  }
  headers.set("content-type", "text/plain; charset=utf-8");
  const who = component === undefined ? "" : `component ${JSON.stringify(component)}: `;
  return new Response(`${status} ${who}${reason}\n`, { status, headers });
}

/** Why a component gave no answer, for anybody to read: no paths, no backtrace. */
export function reasonOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  switch (code) {
    case "trap":
      return "it trapped";
    case "out-of-fuel":
      return "it trapped: it used all of its fuel";
    case "epoch-timeout":
      return "it trapped: it computed for longer than epoch_timeout_ms";
    case "memory-limit":
      return "it trapped: it wanted more memory than its limit";
    case "timeout":
      return "it was stopped: its time was over";
    default:
      return "it did not answer";
  }
}
