/**
 * What the steps of the demo are made of: a folder, commands that run in this process as their users
 * run them, requests, waiting, and telling what was seen.
 *
 * @module
 */
import * as path from "node:path";
import { RealmError } from "../../agent/kernel/error.ts";
import { main } from "../app.ts";
import { type Context, PERMISSIONS, type Shell } from "../context.ts";
import { pause } from "./load.ts";

/** A step that takes longer has failed. */
const STEP_MS_MAX = 60_000;
const POLL_MS = 50;

/** See the module. */
export class Stage {
  readonly interrupted: AbortSignal;

  constructor(readonly context: Context, readonly folder: string) {
    this.interrupted = context.shell.interrupted();
  }

  /** Data folder of the demo's owner, whose agent is the first one. */
  get data(): string {
    return path.join(this.folder, "data");
  }

  get manifest(): string {
    return path.join(this.folder, "realm.toml");
  }

  /** Runs a step and says how it went. Throws {@link NotSeen} when it went wrong. */
  async step<T>(
    title: string,
    act: (see: (detail: string) => void) => Promise<T>,
    { always = false } = {},
  ): Promise<T> {
    let detail = "";
    try {
      if (!always) this.interrupted.throwIfAborted();
      const result = await act((said) => detail = said);
      this.tell(true, title, detail);
      return result;
    } catch (error) {
      const known = error instanceof RealmError;
      const reason = known ? error.message : error instanceof Error ? error.stack : String(error);
      this.tell(false, title, reason ?? "");
      throw new NotSeen(title, { cause: error });
    }
  }

  tell(ok: boolean, title: string, detail: string): void {
    const mark = ok ? "ok    " : "FAILED";
    this.say(
      { event: "step", ok, title, detail },
      `${mark}  ${title}` + detail.trim().replace(/^(?=.)/gm, "        ").replace(/^(?=.)/, "\n"),
    );
  }

  /** A command and what it printed. */
  quote(words: string, output: string): void {
    this.say(
      { event: "output", command: words, output },
      `\n$ ${words}\n${output.trimEnd()}\n`,
    );
  }

  say(event: Record<string, unknown>, text: string): void {
    this.context.printLine(event, () => text);
  }

  /** Runs a command on the demo's data folder; its standard output. */
  async realm(...words: string[]): Promise<string> {
    const said = { stdout: "", stderr: "" };
    const decoder = new TextDecoder();
    const shell: Shell = {
      cwd: this.folder,
      env: () => undefined,
      terminal: { stdin: false, stdout: false, stderr: false },
      columns: 80,
      write(stream, data) {
        said[stream] += typeof data === "string" ? data : decoder.decode(data);
      },
      put(stream, bytes) {
        this.write(stream, bytes);
        return Promise.resolve();
      },
      written: () => Promise.resolve(),
      readLine: () => Promise.resolve(null),
      readHidden: () => Promise.resolve(""),
      readAll: () => Promise.resolve(new Uint8Array()),
      interrupted: () => this.interrupted,
      deaf: () => {},
      keepPermissions: () => PERMISSIONS, // this process goes on
    };
    const status = await main([...words, "--data", this.data], shell);
    if (status === 0) return said.stdout;
    throw new RealmError(
      "failed",
      `Cannot run realm ${words.join(" ")}: status ${status}\n${said.stderr}`,
    );
  }

  /** One request: status and body of its answer. */
  async get(url: string): Promise<string> {
    const response = await fetch(url, {
      signal: AbortSignal.any([this.interrupted, AbortSignal.timeout(STEP_MS_MAX)]),
    });
    const body = (await response.text()).trim();
    return body.startsWith(`${response.status} `) ? body : `${response.status} ${body}`;
  }

  /** Looks again and again until it is so. */
  async wait(what: string, isSo: () => Promise<boolean> | boolean): Promise<void> {
    const late = performance.now() + STEP_MS_MAX;
    while (!await isSo()) {
      this.interrupted.throwIfAborted();
      require(performance.now() < late, `waited ${STEP_MS_MAX / 1000} s in vain until ${what}`);
      await pause(POLL_MS, this.interrupted);
    }
  }
}

/** A step did not see what it wanted; it was told. */
export class NotSeen extends Error {}

/** Throws RealmError with what was seen otherwise. */
export function require(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new RealmError("failed", otherwise);
}
