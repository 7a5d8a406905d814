/**
 * An agent in a process of its own: this very program, started again.
 *
 * @module
 */
import { RealmError } from "../../agent/kernel/error.ts";
import { programWords } from "../../agent/program.ts";

/** What `realm agent --json` prints once it is ready. */
export interface Ready {
  readonly node: string;
  readonly key: string;
  readonly owner: string | null;
  readonly proxy: string;
  readonly metrics: string | null;
  readonly control: string;
  /** Of its key. */
  readonly fingerprint: string;
}

/** From its start to being ready, on a machine that does much else. */
const READY_MS = 30_000;
/** From being told to end to being killed. */
const STOP_MS = 6_000;

/** A running agent; ends with this process at the latest. */
export class ChildAgent {
  readonly #ended: Promise<Deno.CommandStatus>;
  #hasEnded = false;
  #errors = "";
  /** Nothing may leave the agent behind, not even a `Deno.exit` elsewhere. */
  readonly #kill = () => {
    if (!this.#hasEnded) this.process.kill("SIGKILL");
  };

  private constructor(readonly process: Deno.ChildProcess) {
    globalThis.addEventListener("unload", this.#kill);
    this.#ended = process.status.finally(() => {
      this.#hasEnded = true;
      globalThis.removeEventListener("unload", this.#kill);
    });
    this.#collectErrors();
  }

  /**
   * Starts `realm agent` with these words and waits until it is ready.
   *
   * Throws RealmError `failed` with what it said when it ends instead, or the signal's reason.
   */
  static async start(
    words: readonly string[],
    signal: AbortSignal,
  ): Promise<{ agent: ChildAgent; ready: Ready }> {
    const [program, ...first] = programWords();
    const agent = new ChildAgent(
      new Deno.Command(program, {
        args: [...first, "agent", "--json", ...words],
        stdin: "null",
        stdout: "piped",
        stderr: "piped",
      }).spawn(),
    );
    try {
      const late = AbortSignal.any([signal, AbortSignal.timeout(READY_MS)]);
      return { agent, ready: await agent.#ready(late) };
    } catch (error) {
      await agent.stop();
      throw error;
    }
  }

  get pid(): number {
    return this.process.pid;
  }

  /** What it wrote to standard error so far. */
  get errors(): string {
    return this.#errors;
  }

  /** Lets it go on after it was stopped by SIGSTOP. */
  resume(): void {
    if (!this.#hasEnded) this.process.kill("SIGCONT");
  }

  /** Ends it, gently first; whether it ended well by itself. */
  async stop(): Promise<boolean> {
    if (!this.#hasEnded) this.process.kill("SIGTERM");
    const timer = setTimeout(this.#kill, STOP_MS);
    const { success } = await this.#ended;
    clearTimeout(timer);
    return success;
  }

  async #ready(signal: AbortSignal): Promise<Ready> {
    const lines = this.process.stdout.pipeThrough(
      // The cast: the types of TextDecoderStream and of streams of bytes differ in BufferSource.
      new TextDecoderStream() as unknown as TransformStream<Uint8Array, string>,
    );
    const aborted = Promise.withResolvers<never>();
    const abort = () => aborted.reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    const read = async () => {
      let text = "";
      for await (const part of lines) {
        text += part;
        const end = text.indexOf("\n");
        if (end >= 0) return JSON.parse(text.slice(0, end)) as Ready;
      }
      await this.#ended;
      throw new RealmError("failed", `Cannot start the agent: ${this.#errors.trim()}`);
    };
    try {
      return await Promise.race([read(), aborted.promise]);
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  async #collectErrors(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of this.process.stderr) {
      this.#errors = (this.#errors + decoder.decode(bytes, { stream: true })).slice(-8_192);
    }
  }
}
