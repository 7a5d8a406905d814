/**
 * A process for tests of commands: its input is given, its output is kept.
 *
 * @module
 */
import { type OutputStream, PERMISSIONS, type Shell } from "./context.ts";

/** A {@link Shell} that remembers what was written. */
export interface FakeShell extends Shell {
  /** All that was written to the stream so far. */
  text(stream: OutputStream): string;
}

/** Makes one; without options there is no environment, no terminal and no input. */
export function testShell(
  options: {
    cwd?: string;
    env?: Readonly<Record<string, string>>;
    terminal?: Shell["terminal"];
    input?: readonly string[];
    interrupted?: AbortSignal;
  } = {},
): FakeShell {
  const written = { stdout: "", stderr: "" };
  const input = [...options.input ?? []];
  const decoder = new TextDecoder();
  return {
    cwd: options.cwd ?? "/",
    env: (name) => options.env?.[name],
    terminal: options.terminal ?? { stdin: false, stdout: false, stderr: false },
    columns: 80,
    write(stream, data) {
      written[stream] += typeof data === "string" ? data : decoder.decode(data);
    },
    put(stream, bytes) {
      this.write(stream, bytes);
      return Promise.resolve();
    },
    written: () => Promise.resolve(),
    readLine: () => Promise.resolve(input.shift() ?? null),
    readHidden: () => Promise.resolve(input.shift() ?? ""),
    readAll: (bytesMax) =>
      Promise.resolve(new TextEncoder().encode(input.splice(0).join("\n")).slice(0, bytesMax)),
    interrupted: () => options.interrupted ?? new AbortController().signal,
    deaf: () => {},
    keepPermissions: () => PERMISSIONS, // the process of a test goes on
    text: (stream) => written[stream],
  };
}
