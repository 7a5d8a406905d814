/**
 * `wasi:logging`, pinned to 0.1.0-draft: one line with a level in the component's log.
 *
 * What is too long is cut. Lines that come too fast are dropped and counted by who takes them: the
 * guest is not slowed, unlike by standard error, whose every byte counts.
 *
 * @see https://github.com/WebAssembly/wasi-logging/tree/main/wit
 * @module
 */
import type { LogLevel } from "../../kernel/ports.ts";
import { LOG_CONTEXT_LENGTH_MAX, LOG_MESSAGE_LENGTH_MAX } from "./bounds.ts";
import type { WasiInstance } from "./context.ts";

/** What ends a line or moves the cursor. */
// deno-lint-ignore no-control-regex
const CONTROLS = /[\x00-\x08\x0a-\x1f\x7f]+/g;

function cut(text: string, lengthMax: number): string {
  const line = text.length > lengthMax ? `${text.slice(0, lengthMax)}…` : text;
  return line.replace(CONTROLS, " ").toWellFormed();
}

/** The function of `wasi:logging/logging`. */
export function createLogging(host: WasiInstance) {
  const { ctx } = host;
  return {
    log(level: LogLevel, context: string, message: string): void {
      if (!ctx.grants.stdio) return host.deny("wasi:logging/logging#log", "stdio");
      ctx.log?.(level, () => {
        const about = context === "" ? "" : `${cut(context, LOG_CONTEXT_LENGTH_MAX)}: `;
        return about + cut(message, LOG_MESSAGE_LENGTH_MAX);
      });
    },
  };
}
