/**
 * Streams and futures: two ends of which the guest has one or both, and the host the others.
 *
 * The host gives elements by a {@link StreamSource} and takes bytes by a {@link StreamSink}, which
 * are asked for as much as the guest has room for: nothing is kept between the two ends, so that
 * a stream needs no bound of its own.
 *
 * @see https://github.com/WebAssembly/component-model/blob/main/design/mvp/Concurrency.md
 * @module
 */
import type { Readiness } from "../wasi/io.ts";
import type { GuestBuffer } from "./buffer.ts";

/** Results of a read or write, as the guest is told them. */
export const COPY = { completed: 0, dropped: 1, cancelled: 2 } as const;
/** How a read or write ended. */
export type CopyResult = typeof COPY[keyof typeof COPY];

/** What a guest reads. */
export interface StreamSource extends Readiness {
  /** At most so many elements: none while there is nothing, `null` at the end. */
  take(max: number): Uint8Array | readonly unknown[] | null;
  /** The guest wants no more. */
  close(): void;
}

/** What a guest writes to. */
export interface StreamSink extends Readiness {
  /** How many bytes it takes now; `null` once it takes no more for good. */
  permit(): number | null;
  /** Takes so many bytes at most as were permitted. */
  write(bytes: Uint8Array): void;
  /** The guest has written everything. */
  end(): void;
}

/** A read or write of the guest under way. */
export interface Copy {
  readonly buffer: GuestBuffer;
  readonly done: (result: CopyResult) => void;
  /** Elements were copied, and more may be until the guest is told. */
  readonly progressed: () => void;
}

/** What runs outside of the guest's calls: failures in it end the guest. */
export type Guarded = (act: () => void) => void;

/** Bytes that pass from source to sink in one turn, where the host has both. */
const RELAY_BYTES_MAX = 262_144;

/** What the two ends of a stream share. */
export class Stream {
  #source: StreamSource | undefined;
  #sink: StreamSink | undefined;
  #read: Copy | undefined;
  #write: Copy | undefined;
  #dropped = false;
  #unwait: (() => void) | undefined;
  #turn: number | undefined;

  constructor(readonly guarded: Guarded, source?: StreamSource) {
    this.#source = source;
  }

  /** Whether the host has an end that what is under way waits for. */
  get hasHost(): boolean {
    return this.#source !== undefined || this.#sink !== undefined;
  }

  /** The guest reads. */
  read(copy: Copy): void {
    if (this.#dropped) return copy.done(COPY.dropped);
    if (this.#source) {
      this.#read = copy;
      return this.#pull(this.#source);
    }
    const write = this.#write;
    if (!write) {
      this.#read = copy;
      return;
    }
    if (write.buffer.remaining > 0) {
      if (copy.buffer.remaining > 0) {
        copy.buffer.copyFrom(write.buffer);
        write.progressed();
      }
      return copy.done(COPY.completed);
    }
    this.#write = undefined;
    write.done(COPY.completed);
    this.#read = copy;
  }

  /** The guest writes. */
  write(copy: Copy): void {
    if (this.#dropped) return copy.done(COPY.dropped);
    if (this.#sink) {
      this.#write = copy;
      return this.#push(this.#sink);
    }
    const read = this.#read;
    if (!read) {
      this.#write = copy;
      return;
    }
    if (read.buffer.remaining > 0) {
      if (copy.buffer.remaining > 0) {
        read.buffer.copyFrom(copy.buffer);
        read.progressed();
      }
      return copy.done(COPY.completed);
    }
    if (copy.buffer.remaining === 0) return copy.done(COPY.completed);
    this.#read = undefined;
    read.done(COPY.completed);
    this.#write = copy;
  }

  /** Nobody adds to it any more: the guest was told of it. */
  forget(copy: Copy): void {
    if (this.#read === copy) this.#read = undefined;
    if (this.#write === copy) this.#write = undefined;
    this.#stopWaiting();
  }

  /** The guest dropped the end that it reads. */
  dropReadable(): void {
    this.#end();
    this.#source?.close();
    const write = this.#write;
    this.#write = undefined;
    write?.done(COPY.dropped);
  }

  /** The guest dropped the end that it writes. */
  dropWritable(): void {
    this.#end();
    const read = this.#read;
    this.#read = undefined;
    read?.done(COPY.dropped);
    this.#sink?.end();
  }

  /** The host reads: what the guest writes goes to the sink from now on. */
  connect(sink: StreamSink): void {
    this.#sink = sink;
    if (this.#source) this.#relay(this.#source, sink);
    else if (this.#dropped) sink.end();
    else if (this.#write) this.#push(sink);
  }

  #end(): void {
    this.#dropped = true;
    this.#stopWaiting();
  }

  #stopWaiting(): void {
    this.#unwait?.();
    this.#unwait = undefined;
    clearTimeout(this.#turn);
  }

  #wait(on: Readiness, again: () => void): void {
    this.#unwait = on.wait(() => {
      this.#unwait = undefined;
      this.guarded(again);
    });
  }

  /** From the host to the guest. */
  #pull(source: StreamSource): void {
    const read = this.#read;
    if (!read) return;
    const { buffer } = read;
    const elements = buffer.remaining > 0 ? source.take(buffer.remaining) : NOTHING;
    if (elements !== null && elements.length === 0 && (buffer.length > 0 || !source.ready())) {
      return this.#wait(source, () => this.#pull(source));
    }
    this.#read = undefined;
    if (elements === null) {
      this.#dropped = true;
      return read.done(COPY.dropped);
    }
    buffer.put(elements);
    read.done(COPY.completed);
  }

  /** From the guest to the host. */
  #push(sink: StreamSink): void {
    const write = this.#write;
    if (!write) return;
    const { buffer } = write;
    const permit = sink.permit();
    if (permit === 0) return this.#wait(sink, () => this.#push(sink));
    if (permit !== null && buffer.remaining > 0) {
      sink.write(buffer.takeBytes(Math.min(permit, buffer.remaining)));
    }
    this.#write = undefined;
    if (permit === null) this.#dropped = true;
    write.done(permit === null ? COPY.dropped : COPY.completed);
  }

  /** From host to host, without the guest; a bit at a time, as nothing else runs meanwhile. */
  #relay(source: StreamSource, sink: StreamSink): void {
    for (let left = RELAY_BYTES_MAX; left > 0;) {
      const permit = sink.permit();
      if (permit === null) return source.close();
      if (permit === 0) return this.#wait(sink, () => this.#relay(source, sink));
      const bytes = source.take(Math.min(permit, left));
      if (bytes === null) return sink.end();
      if (bytes.length === 0) return this.#wait(source, () => this.#relay(source, sink));
      sink.write(bytes as Uint8Array);
      left -= bytes.length;
    }
    this.#turn = setTimeout(() => this.guarded(() => this.#relay(source, sink)), 0);
  }

  /** Nobody reads or writes any more. */
  close(): void {
    this.#stopWaiting();
  }
}

const NOTHING = new Uint8Array();

/** What the two ends of a future share. */
export class Future {
  /** Makes the value that the host gave, each time it is delivered: once. */
  #value: (() => unknown) | undefined;
  #read: Copy | undefined;
  #write: Copy | undefined;
  #taker: ((value: unknown) => void) | undefined;
  #dropped = false;

  constructor(readonly guarded: Guarded, readonly isOfHost: boolean) {}

  /** Whether what is under way waits for the host. */
  get hasHost(): boolean {
    return this.isOfHost || this.#taker !== undefined;
  }

  /** The host's value, which is made when the guest reads it. */
  resolve(value: () => unknown): void {
    this.#value = value;
    const read = this.#read;
    this.#read = undefined;
    if (this.#taker) this.guarded(() => this.#taker!(value()));
    else if (read) this.guarded(() => this.#deliver(read));
  }

  #deliver(read: Copy): void {
    read.buffer.put([this.#value!()]);
    read.done(COPY.completed);
  }

  read(copy: Copy): void {
    if (this.#value) return this.#deliver(copy);
    const write = this.#write;
    if (!write) {
      this.#read = copy;
      return;
    }
    this.#write = undefined;
    copy.buffer.copyFrom(write.buffer);
    write.done(COPY.completed);
    copy.done(COPY.completed);
  }

  write(copy: Copy): void {
    if (this.#dropped) return copy.done(COPY.dropped);
    if (this.#taker) {
      this.#taker(copy.buffer.take());
      return copy.done(COPY.completed);
    }
    const read = this.#read;
    if (!read) {
      this.#write = copy;
      return;
    }
    this.#read = undefined;
    read.buffer.copyFrom(copy.buffer);
    read.done(COPY.completed);
    copy.done(COPY.completed);
  }

  forget(copy: Copy): void {
    if (this.#read === copy) this.#read = undefined;
    if (this.#write === copy) this.#write = undefined;
  }

  /** Whoever had the end that is read wants no value. */
  dropReadable(): void {
    this.#dropped = true;
    const write = this.#write;
    this.#write = undefined;
    write?.done(COPY.dropped);
  }

  /** The host reads: gets the value once it is written. */
  take(taker: (value: unknown) => void): void {
    this.#taker = taker;
    if (this.#value) return taker(this.#value());
    const write = this.#write;
    if (!write) return;
    this.#write = undefined;
    taker(write.buffer.take());
    write.done(COPY.completed);
  }
}
