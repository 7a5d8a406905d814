/**
 * `wasi:filesystem` of WASI 0.3: the descriptors of 0.2 in other words, with streams.
 *
 * @see https://github.com/WebAssembly/wasi-filesystem
 * @module
 */
import type { StreamSource } from "../../abi/channels.ts";
import type { GivenStream } from "../../abi/ends.ts";
import type { Datetime } from "../clocks.ts";
import type { WasiInstance } from "../context.ts";
import {
  type createFilesystem,
  Descriptor,
  type DescriptorFlags,
  type OpenFlags,
  type PathFlags,
} from "../filesystem.ts";
import { FileSink, FileSource } from "../filesystem_file.ts";
import type { DescriptorStat, DescriptorType, NewTimestamp } from "../filesystem_stat.ts";
import type { IoErrorInit } from "../io.ts";
import { guardResource } from "../resource.ts";
import { OK, reading, refusedReading, type Result, writing } from "./streams.ts";

/** `error-code`, a variant since 0.3. */
interface ErrorCode {
  readonly tag: string;
}

function failed(error: unknown): never {
  throw typeof error === "string" ? { tag: error } satisfies ErrorCode : error;
}

const codeOf = (error: IoErrorInit | undefined): ErrorCode => ({
  tag: error?.filesystem ?? "pipe",
});

function answer<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    return failed(error);
  }
}

const typeOf = (type: DescriptorType) => ({ tag: type === "unknown" ? "other" : type });
const statOf = (stat: DescriptorStat) => ({ ...stat, type: typeOf(stat.type) });

/** Seconds before 1970 are of 0.3 only; the nearest that can be said is taken. */
function timeOf(time: NewTimestamp): NewTimestamp {
  if (time.tag !== "timestamp" || time.val.seconds >= 0n) return time;
  return { tag: "timestamp", val: { seconds: 0n, nanoseconds: 0 } satisfies Datetime };
}

/** Entries of a directory. */
class Entries implements StreamSource {
  readonly #ended = Promise.withResolvers<Result>();
  readonly result = this.#ended.promise;

  constructor(readonly entries: ReturnType<Descriptor["readDirectory"]>) {}

  ready(): boolean {
    return true;
  }

  wait(): () => void {
    return () => {};
  }

  take(max: number): readonly unknown[] | null {
    const taken: unknown[] = [];
    while (taken.length < max) {
      const entry = this.entries.readDirectoryEntry();
      if (!entry) break;
      taken.push({ type: typeOf(entry.type), name: entry.name });
    }
    if (taken.length > 0) return taken;
    this.close();
    return null;
  }

  close(): void {
    this.entries[Symbol.dispose]();
    this.#ended.resolve(OK);
  }
}

/** Resource `descriptor`. */
export class Descriptor3 {
  readonly host: WasiInstance;

  constructor(readonly inner: Descriptor) {
    this.host = inner.host;
  }

  [Symbol.dispose](): void {
    this.inner[Symbol.dispose]();
  }

  readViaStream(offset: bigint) {
    const { opened } = this.inner;
    if (opened.kind === "directory") return refusedReading({ tag: "is-directory" });
    return reading(new FileSource(opened.file.retain(), offset), codeOf);
  }

  writeViaStream(data: GivenStream, offset: bigint): Promise<Result> {
    return this.#write(data, offset);
  }

  appendViaStream(data: GivenStream): Promise<Result> {
    return this.#write(data);
  }

  #write(data: GivenStream, offset?: bigint): Promise<Result> {
    const { opened } = this.inner;
    if (opened.kind === "directory" || !opened.file.mount.writable || !opened.file.writable) {
      data.drop();
      const tag = opened.kind === "directory" ? "bad-descriptor" : "not-permitted";
      return Promise.resolve({ tag: "err", val: { tag } });
    }
    return writing(this.host, data, new FileSink(opened.file.retain(), offset), codeOf);
  }

  readDirectory(): [StreamSource, Promise<Result>] {
    try {
      const entries = new Entries(this.inner.readDirectory());
      return [entries, entries.result];
    } catch (error) {
      if (typeof error !== "string") throw error;
      return refusedReading({ tag: error });
    }
  }

  advise(offset: bigint, length: bigint, advice: string) {
    return answer(() => this.inner.advise(offset, length, advice));
  }

  syncData() {
    return answer(() => this.inner.syncData());
  }

  getFlags() {
    return answer(() => this.inner.getFlags());
  }

  getType() {
    return answer(() => typeOf(this.inner.getType()));
  }

  setSize(size: bigint) {
    return answer(() => this.inner.setSize(size));
  }

  setTimes(access: NewTimestamp, modification: NewTimestamp) {
    return answer(() => this.inner.setTimes(timeOf(access), timeOf(modification)));
  }

  sync() {
    return answer(() => this.inner.sync());
  }

  createDirectoryAt(path: string) {
    return answer(() => this.inner.createDirectoryAt(path));
  }

  stat() {
    return answer(() => statOf(this.inner.stat()));
  }

  statAt(flags: PathFlags, path: string) {
    return answer(() => statOf(this.inner.statAt(flags, path)));
  }

  setTimesAt(flags: PathFlags, path: string, access: NewTimestamp, modification: NewTimestamp) {
    return answer(() => this.inner.setTimesAt(flags, path, timeOf(access), timeOf(modification)));
  }

  linkAt(flags: PathFlags, oldPath: string, parent: Descriptor3, newPath: string) {
    return answer(() => this.inner.linkAt(flags, oldPath, parent.inner, newPath));
  }

  openAt(pathFlags: PathFlags, path: string, openFlags: OpenFlags, flags: DescriptorFlags) {
    return answer(() => new Descriptor3(this.inner.openAt(pathFlags, path, openFlags, flags)));
  }

  readlinkAt(path: string) {
    return answer(() => this.inner.readlinkAt(path));
  }

  removeDirectoryAt(path: string) {
    return answer(() => this.inner.removeDirectoryAt(path));
  }

  renameAt(oldPath: string, parent: Descriptor3, newPath: string) {
    return answer(() => this.inner.renameAt(oldPath, parent.inner, newPath));
  }

  symlinkAt(target: string, path: string) {
    return answer(() => this.inner.symlinkAt(target, path));
  }

  unlinkFileAt(path: string) {
    return answer(() => this.inner.unlinkFileAt(path));
  }

  isSameObject(other: Descriptor3) {
    return this.inner.isSameObject(other.inner);
  }

  metadataHash() {
    return answer(() => this.inner.metadataHash());
  }

  metadataHashAt(flags: PathFlags, path: string) {
    return answer(() => this.inner.metadataHashAt(flags, path));
  }
}

Object.setPrototypeOf(Descriptor3, null); // as of `Resource`
Object.setPrototypeOf(Descriptor3.prototype, null);
guardResource("wasi:filesystem/types", "descriptor", Descriptor3, [
  "readViaStream",
  "writeViaStream",
  "appendViaStream",
]);

/** The functions of `wasi:filesystem`, by interface. */
export function createFilesystem3(filesystem: ReturnType<typeof createFilesystem>) {
  return {
    preopens: {
      getDirectories: (): [Descriptor3, string][] =>
        filesystem.preopens.getDirectories().map(([d, path]) => [new Descriptor3(d), path]),
    },
  };
}
