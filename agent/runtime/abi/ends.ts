/**
 * The ends of streams and futures: those that a guest holds, and what the host gets for one that it
 * is given.
 *
 * @module
 */
import type { GuestBuffer } from "./buffer.ts";
import {
  COPY,
  type Copy,
  type CopyResult,
  type Future,
  type Stream,
  type StreamSink,
} from "./channels.ts";
import { EVENT, Waitable } from "./handles.ts";

/** What the guest is told of a read or write that has not ended yet. */
export const BLOCKED = -1;

/** An end that the guest holds. */
export class End extends Waitable {
  #copy: Copy | undefined;
  #isDone = false;

  constructor(
    /** Index of the type of stream or future. */
    readonly type: number,
    readonly side: "readable" | "writable",
    readonly shared: Stream | Future,
    readonly kind: "stream" | "future",
  ) {
    super();
  }

  get isCopying(): boolean {
    return this.#copy !== undefined;
  }

  get isDone(): boolean {
    return this.#isDone;
  }

  get awaitsHost(): boolean {
    return this.isCopying && this.shared.hasHost;
  }

  /** Begins to read or write; an event tells of its end, maybe at once. Throws what is a trap. */
  copy(buffer: GuestBuffer): void {
    if (this.#copy) throw new Error(`the end of the ${this.kind} is in use`);
    if (this.#isDone) throw new Error(`the ${this.kind} has ended`);
    const copy: Copy = {
      buffer,
      done: (result) => this.#tell(copy, result),
      progressed: () => this.#tell(copy, COPY.completed),
    };
    this.#copy = copy;
    if (this.side === "readable") this.shared.read(copy);
    else this.shared.write(copy);
  }

  /** Ends what is under way; an event tells how far it came. Throws what is a trap. */
  cancel(): void {
    const copy = this.#copy;
    if (!copy) throw new Error(`nothing of the ${this.kind} is under way`);
    if (!this.hasEvent) this.#tell(copy, COPY.cancelled);
  }

  #tell(copy: Copy, result: CopyResult): void {
    const isRead = this.side === "readable";
    const code = this.kind === "stream"
      ? isRead ? EVENT.streamRead : EVENT.streamWrite
      : isRead
      ? EVENT.futureRead
      : EVENT.futureWrite;
    this.setEvent(() => {
      this.shared.forget(copy);
      this.#copy = undefined;
      if (result === COPY.dropped || (this.kind === "future" && result === COPY.completed)) {
        this.#isDone = true;
      }
      const progress = this.kind === "stream" ? copy.buffer.progress << 4 : 0;
      return [code, this.index, result | progress];
    });
  }

  /** The guest drops it, or gives it away. Throws what is a trap. */
  checkIdle(): void {
    if (this.#copy) throw new Error(`the end of the ${this.kind} is in use`);
  }

  drop(): void {
    this.checkIdle();
    if (this.side === "readable") return this.shared.dropReadable();
    if ("dropWritable" in this.shared) return this.shared.dropWritable();
    if (!this.#isDone) throw new Error("a future is dropped before it is written");
  }
}

/** The readable end of a stream that the guest gave to the host. */
export class GivenStream {
  constructor(readonly stream: Stream) {}

  /** Reads it to its end. */
  connect(sink: StreamSink): void {
    this.stream.connect(sink);
  }

  /** Wants nothing of it. */
  drop(): void {
    this.stream.dropReadable();
  }
}

/** The readable end of a future that the guest gave to the host. */
export class GivenFuture {
  constructor(readonly future: Future) {}

  /** `taker` gets the value once the guest writes it, maybe at once; a guest that ended never does. */
  take(taker: (value: unknown) => void): void {
    this.future.take(taker);
  }

  /** Wants no value. */
  drop(): void {
    this.future.dropReadable();
  }
}
