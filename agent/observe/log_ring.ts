/**
 * The newest lines of one component, bounded in lines, bytes and lines a second.
 *
 * A follower is a place in the ring, not a queue: it costs the same whether it reads or not, slows
 * nobody, and is told how many lines were overwritten before it came to them. Text is kept as the
 * component wrote it, escape sequences included; whoever shows it on a terminal neutralises them.
 *
 * @module
 */
import type { Clock, LogLevel, LogLine } from "../kernel/ports.ts";
import { LineSplitter } from "./line_splitter.ts";

/** Bounds of a {@link LogRing}. */
export interface LogBounds {
  /** Lines kept; 5,000. */
  readonly linesMax?: number;
  /** Characters and overhead of the lines kept, in bytes; 1 MiB. */
  readonly bytesMax?: number;
  /** A longer line is cut; 8 KiB. */
  readonly lineBytesMax?: number;
  /** Lines taken in any one second, of all replicas together; more are dropped and counted; 1,000. */
  readonly linesPerSecMax?: number;
}

/** A kept line. */
export interface LogEntry extends LogLine {
  /** `null`: said about the component as a whole. */
  readonly replica: number | null;
}

/** What a reader gets: a line, or the number of lines that were overwritten before it read them. */
export type LogEvent =
  | { readonly kind: "line" } & LogEntry
  | { readonly kind: "missed"; readonly lines: number };

/** Which lines a reader wants; all of them unless it says otherwise. */
export interface ReadOptions {
  /** Only lines from this wall time on. */
  readonly sinceMs?: number;
  /** Only the last so many of those that are there. */
  readonly tail?: number;
  /** Only this replica's, and what is said about the component as a whole. */
  readonly replica?: number;
  /** Only what was written for this one: see {@link LogRing.writer}. */
  readonly of?: string;
}

/** A line, and for whom it was written. */
interface Kept {
  readonly entry: LogEntry;
  readonly of: string | undefined;
}

/** Takes the output of one stream of one replica. */
export interface LogWriter {
  write(bytes: Uint8Array): void;
  /** Gives out a last line that has no line feed. */
  close(): void;
}

/** What a line costs besides its characters: the objects, their fields, its place in the ring. */
const LINE_OVERHEAD_BYTES = 100;

export class LogRing {
  readonly #clock: Clock;
  readonly #linesMax: number;
  readonly #bytesMax: number;
  readonly #lineBytesMax: number;
  readonly #linesPerSecMax: number;

  /** Entries from number `#first` on; the array is a circle of `#linesMax` places. */
  readonly #entries: (Kept | undefined)[] = [];
  #first = 0;
  #next = 0;
  #bytes = 0;

  /** The second that is being counted, by the monotonic clock, and what came in it. */
  #secondStartMs = -Infinity;
  #secondLines = 0;
  #droppedInSecond = 0;
  #droppedLines = 0;

  /** Followers that have read everything. */
  readonly #waiting = new Set<() => void>();
  readonly #closed = new AbortController();

  constructor(clock: Clock, bounds: LogBounds = {}) {
    this.#clock = clock;
    this.#linesMax = bounds.linesMax ?? 5_000;
    this.#bytesMax = bounds.bytesMax ?? 1024 * 1024;
    this.#lineBytesMax = bounds.lineBytesMax ?? 8 * 1024;
    this.#linesPerSecMax = bounds.linesPerSecMax ?? 1_000;
  }

  /** How many lines came too fast and were dropped, ever. */
  get droppedLines(): number {
    return this.#droppedLines;
  }

  /**
   * A writer for one stream of one replica; each has its own unfinished line. Where two instances
   * write at once for one replica, `of` tells their lines apart.
   */
  writer(replica: number, stream: "stdout" | "stderr", of?: string): LogWriter {
    const splitter = new LineSplitter(this.#lineBytesMax);
    const accept = () => this.#admit();
    const emit = (text: string) =>
      this.#append({ wallMs: this.#clock.wallMs(), stream, text, replica }, of);
    return {
      write: (bytes) => splitter.push(bytes, accept, emit),
      close: () => splitter.end(accept, emit),
    };
  }

  /** A line with a level, of `wasi:logging`. */
  log(level: LogLevel, text: string, replica: number, of?: string): void {
    if (!this.#admit()) return;
    const line = text.slice(0, this.#lineBytesMax);
    const wallMs = this.#clock.wallMs();
    this.#append({ wallMs, stream: "stderr", level, text: line, replica }, of);
  }

  /** A line that realm says about the component. Never dropped for coming too fast. */
  notice(text: string, replica: number | null = null, of?: string): void {
    this.#append({ wallMs: this.#clock.wallMs(), stream: "realm", text, replica }, of);
  }

  /** The lines that are there, oldest first. */
  lines(options: ReadOptions = {}): LogEntry[] {
    const found: LogEntry[] = [];
    for (let number = this.#start(options); number < this.#next; number++) {
      const kept = this.#at(number);
      if (wanted(kept, options)) found.push(kept.entry);
    }
    return found;
  }

  /**
   * The lines that are there, then those to come, until the signal is aborted, the ring is closed
   * or the loop is left.
   *
   * Missed lines are counted before the filter by replica or time: what was overwritten is gone,
   * and so is what it was.
   */
  follow(
    options: ReadOptions = {},
    signal?: AbortSignal,
  ): AsyncGenerator<LogEvent, void, undefined> {
    // Where to begin is decided now and not, as in a generator, with the first read.
    return this.#followFrom(this.#start(options), options, signal);
  }

  async *#followFrom(
    number: number,
    options: ReadOptions,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<LogEvent, void, undefined> {
    let wake = () => {};
    const stop = () => wake();
    const signals = signal ? [signal, this.#closed.signal] : [this.#closed.signal];
    for (const s of signals) s.addEventListener("abort", stop);
    try {
      while (!signal?.aborted) {
        if (number < this.#first) {
          const lines = this.#first - number;
          number = this.#first; // Before the yield: what is overwritten during it counts again.
          yield { kind: "missed", lines };
        } else if (number < this.#next) {
          const kept = this.#at(number++);
          if (wanted(kept, options)) yield { kind: "line", ...kept.entry };
        } else if (this.#closed.signal.aborted) {
          return;
        } else {
          await new Promise<void>((resolve) => this.#waiting.add(wake = resolve));
        }
      }
    } finally {
      this.#waiting.delete(wake);
      for (const s of signals) s.removeEventListener("abort", stop);
    }
  }

  /** No more lines will come: followers read to the end and are done. */
  close(): void {
    this.#reportDropped();
    this.#closed.abort();
  }

  #at(number: number): Kept {
    return this.#entries[number % this.#linesMax]!;
  }

  /** Where a reader begins: the oldest line, or the one that `tail` wanted lines are behind. */
  #start(options: ReadOptions): number {
    if (options.tail === undefined) return this.#first;
    let left = options.tail;
    let number = this.#next;
    while (left > 0 && number > this.#first) {
      if (wanted(this.#at(--number), options)) left--;
    }
    return number;
  }

  /** Whether one more line may come in this second. */
  #admit(): boolean {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#secondStartMs >= 1_000) {
      this.#reportDropped();
      this.#secondStartMs = nowMs;
      this.#secondLines = 0;
    }
    if (this.#secondLines < this.#linesPerSecMax) {
      this.#secondLines++;
      return true;
    }
    this.#droppedLines++;
    if (this.#droppedInSecond++ === 0) {
      // Told also when the component falls silent right after the flood.
      const restMs = this.#secondStartMs + 1_000 - nowMs;
      this.#clock.sleep(restMs, this.#closed.signal).then(() => this.#reportDropped(), () => {});
    }
    return false;
  }

  #reportDropped(): void {
    if (this.#droppedInSecond === 0) return;
    const count = this.#droppedInSecond;
    this.#droppedInSecond = 0;
    this.notice(`${count} lines dropped: more than ${this.#linesPerSecMax} lines in one second`);
  }

  #append(entry: LogEntry, of?: string): void {
    if (this.#closed.signal.aborted) return;
    if (this.#next - this.#first === this.#linesMax) this.#dropOldest();
    this.#entries[this.#next++ % this.#linesMax] = { entry, of };
    this.#bytes += sizeOf(entry);
    while (this.#bytes > this.#bytesMax && this.#next - this.#first > 1) this.#dropOldest();
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  #dropOldest(): void {
    const place = this.#first++ % this.#linesMax;
    this.#bytes -= sizeOf(this.#entries[place]!.entry);
    this.#entries[place] = undefined;
  }
}

function wanted({ entry, of }: Kept, { sinceMs, replica, of: wantedOf }: ReadOptions): boolean {
  if (wantedOf !== undefined && of !== wantedOf) return false;
  if (sinceMs !== undefined && entry.wallMs < sinceMs) return false;
  return replica === undefined || entry.replica === null || entry.replica === replica;
}

/** JavaScript keeps text in two bytes a character unless all of it is Latin-1. */
function sizeOf(entry: LogEntry): number {
  return LINE_OVERHEAD_BYTES + 2 * entry.text.length;
}
