/**
 * Server-sent events, as far as the control API needs them.
 *
 * https://html.spec.whatwg.org/multipage/server-sent-events.html; each event is one line of JSON
 * under a name. A stream that has said all it has to say ends with `event: end`, one that failed
 * with `event: error`: a reader can tell both from an agent that died.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";

/** A named event with its data as text. */
export interface ServerSentEvent {
  readonly event: string;
  readonly data: string;
}

/** Longest event that a reader accepts, in characters. */
const EVENT_LENGTH_MAX = 1024 * 1024;
/** Events are packed into chunks of about this many characters while more are at hand. */
const CHUNK_LENGTH = 16 * 1024;
/** Names a comment that keeps an idle stream from looking dead. */
const KEEP_ALIVE = ": \n\n";

/** One event on the wire; JSON data has no line breaks. */
function encodeEvent(event: string, value: unknown): string {
  return `event: ${event}\ndata: ${JSON.stringify(value)}\n\n`;
}

/**
 * A body that sends each value of `events` under the name `nameOf` gives it, then `end`.
 *
 * Pulled by the reader: nothing is taken from `events` before there is room for it. `stop` is
 * called once, when the stream is over or its reader is gone. `describe` turns what `events`
 * throws into the data of the `error` event.
 */
export function sendEvents<T>(
  events: AsyncIterable<T>,
  options: {
    nameOf: (value: T) => string;
    describe: (error: unknown) => unknown;
    stop: () => void;
    keepAliveMs: number;
  },
): ReadableStream<Uint8Array> {
  const iterator = events[Symbol.asyncIterator]();
  const encoder = new TextEncoder();
  let next: Promise<IteratorResult<T>> | undefined;
  let stopped = false;
  const stop = () => {
    if (stopped) return;
    stopped = true;
    options.stop();
    // Not awaited: a generator that waits for its signal returns only when that was given.
    void iterator.return?.()?.catch(() => {});
  };
  return new ReadableStream<Uint8Array>({
    // The head of the answer leaves at once, also while there is nothing to say.
    start: (controller) => controller.enqueue(encoder.encode(KEEP_ALIVE)),
    async pull(controller) {
      let text = "";
      try {
        while (text.length < CHUNK_LENGTH) {
          next ??= iterator.next();
          // Waits for the first event of a chunk; takes more only while they are there already.
          const result = await within(next, text === "" ? options.keepAliveMs : 0);
          if (result === "late") {
            text ||= KEEP_ALIVE;
            break;
          }
          next = undefined;
          if (result.done) {
            controller.enqueue(encoder.encode(text + encodeEvent("end", {})));
            controller.close();
            return stop();
          }
          text += encodeEvent(options.nameOf(result.value), result.value);
        }
        if (!stopped) controller.enqueue(encoder.encode(text));
      } catch (error) {
        if (stopped) return;
        const last = encodeEvent("error", options.describe(error));
        controller.enqueue(encoder.encode(text + last));
        controller.close();
        stop();
      }
    },
    cancel: stop,
  }, { highWaterMark: 1 });
}

/** The value of the promise, or "late" when it has none after `ms` (0: after a turn of the loop). */
function within<T>(promise: Promise<T>, ms: number): Promise<T | "late"> {
  const { promise: late, resolve } = Promise.withResolvers<"late">();
  const timer = setTimeout(() => resolve("late"), ms);
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/**
 * The events of a body, until it ends or the loop is left, which cancels the body.
 *
 * Throws RealmError `failed` when an event is longer than the reader accepts.
 */
export async function* readEvents(
  body: ReadableStream<Uint8Array>,
): AsyncGenerator<ServerSentEvent, void, undefined> {
  let rest = "";
  let event = "message";
  let data: string[] = [];
  for await (const text of body.pipeThrough(new TextDecoderStream() as TransformPair)) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      if (line === "") {
        if (data.length > 0) yield { event, data: data.join("\n") };
        event = "message";
        data = [];
      } else if (line.startsWith("event:")) event = line.slice(6).trim();
      else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
    }
    if (rest.length > EVENT_LENGTH_MAX) {
      throw new RealmError("failed", "Cannot read events: one is longer than 1 MiB");
    }
  }
}

type TransformPair = ReadableWritablePair<string, Uint8Array>;
