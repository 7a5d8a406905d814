/**
 * Headless Chromium for tests, driven by its own protocol over a WebSocket:
 * https://chromedevtools.github.io/devtools-protocol/
 *
 * @module
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";

/** The Chromium of this machine; `undefined`: there is none. */
export const CHROMIUM = ["chromium", "chromium-browser", "google-chrome", "chrome"].find((name) =>
  spawnSync(name, ["--version"]).status === 0
);

/** Waits are this long at most: a busy machine may take its time. */
const PATIENCE_MS = 60_000;

// deno-lint-ignore no-explicit-any
type Json = any;

/** A running browser. */
export interface Browser {
  /** A tab of its own. */
  page(): Promise<Page>;
  close(): Promise<void>;
}

/** Starts one with a profile of its own. */
export async function startBrowser(): Promise<Browser> {
  const profile = await Deno.makeTempDir({ prefix: "realm-chromium-" });
  const child = new Deno.Command(CHROMIUM!, {
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-background-networking",
      "--disable-dev-shm-usage",
      "--no-first-run",
      "--no-proxy-server",
      "--remote-debugging-port=0",
      `--user-data-dir=${profile}`,
      "about:blank",
    ],
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const { url, drained } = await debuggerUrl(child.stderr);
  const link = await Link.open(url);
  return {
    page: async () => {
      const { targetId } = await link.send("Target.createTarget", { url: "about:blank" });
      const { sessionId } = await link.send("Target.attachToTarget", { targetId, flatten: true });
      const page = new Page(link, sessionId);
      await page.send("Page.enable");
      await page.send("Runtime.enable");
      await page.send("Network.enable");
      await page.send("Log.enable");
      await page.send("Page.bringToFront"); // what is behind is hidden, and draws nothing
      return page;
    },
    async close() {
      link.close();
      child.kill("SIGKILL");
      await child.status;
      await drained;
      await Deno.remove(profile, { recursive: true });
    },
  };
}

/** Chromium says on standard error where it listens; the rest is read and dropped. */
async function debuggerUrl(stderr: ReadableStream<Uint8Array>) {
  const found = Promise.withResolvers<string>();
  const drained = (async () => {
    let text = "";
    for await (const chunk of stderr) {
      text = (text + new TextDecoder().decode(chunk)).slice(-100_000);
      const url = /DevTools listening on (ws:\S+)/.exec(text)?.[1];
      if (url !== undefined) found.resolve(url);
    }
    found.reject(new Error(`Chromium ended: ${text.slice(-2_000)}`));
  })();
  return { url: await found.promise, drained };
}

/** Commands and their answers. */
class Link {
  #id = 0;
  readonly #waiting = new Map<number, PromiseWithResolvers<Json>>();
  readonly #listeners = new Set<(sessionId: string, method: string, params: Json) => void>();

  private constructor(readonly socket: WebSocket) {
    socket.onmessage = ({ data }) => {
      const { id, result, error, sessionId, method, params } = JSON.parse(data);
      if (id === undefined) {
        for (const listener of this.#listeners) listener(sessionId, method, params);
        return;
      }
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(result);
      else waiting?.reject(new Error(error.message));
    };
  }

  static async open(url: string): Promise<Link> {
    const socket = new WebSocket(url);
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = reject;
    });
    return new Link(socket);
  }

  listen(listener: (sessionId: string, method: string, params: Json) => void): void {
    this.#listeners.add(listener);
  }

  async send(method: string, params: Json = {}, sessionId?: string): Promise<Json> {
    const id = ++this.#id;
    const waiting = Promise.withResolvers<Json>();
    this.#waiting.set(id, waiting);
    this.socket.send(JSON.stringify({ id, method, params, sessionId }));
    return await waiting.promise;
  }

  close(): void {
    this.socket.close();
  }
}

/** A tab. */
export class Page {
  /** What the page said was wrong: exceptions, refused by its policy, failed to load. */
  readonly problems: string[] = [];
  /** Addresses that were asked for. */
  readonly requests: string[] = [];

  constructor(readonly link: Link, readonly sessionId: string) {
    link.listen((session, method, params) => {
      if (session !== sessionId) return;
      if (method === "Runtime.exceptionThrown") {
        const { exception, text } = params.exceptionDetails;
        this.problems.push(exception?.description ?? text);
      } else if (method === "Log.entryAdded" && params.entry.level === "error") {
        this.problems.push(`${params.entry.text} ${params.entry.url ?? ""}`);
      } else if (method === "Network.requestWillBeSent") this.requests.push(params.request.url);
    });
  }

  send(method: string, params: Json = {}): Promise<Json> {
    return this.link.send(method, params, this.sessionId);
  }

  async goto(url: string): Promise<void> {
    await this.send("Page.navigate", { url });
  }

  /** The value of an expression in the page. */
  async evaluate(expression: string): Promise<Json> {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", {
      expression,
      awaitPromise: true,
      returnByValue: true,
    });
    if (exceptionDetails) {
      throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    }
    return result.value;
  }

  /** Waits until an expression is true in the page; its value. */
  async until(what: string, expression: string): Promise<Json> {
    const late = performance.now() + PATIENCE_MS;
    while (true) {
      const value = await this.evaluate(`Promise.resolve(${expression}).catch(() => null)`)
        .catch(() => undefined); // between two documents there is none
      if (value) return value;
      if (performance.now() > late) {
        const text = await this.evaluate(
          '`${location.origin} ${document.hidden ? "hidden" : ""}\\n${document.body.innerText}`',
        )
          .catch(String);
        assert.fail(`waited in vain until ${what}; ${this.problems.join("; ")}\n${text}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Waits until the text is seen. */
  async sees(text: string): Promise<void> {
    await this.until(`"${text}" is seen`, `document.body.innerText.includes(${quote(text)})`);
  }

  /** Clicks, with the mouse, on what a button, link or field is called; waits until it is there. */
  async click(name: string): Promise<void> {
    const place = await this.until(`there is ${name}`, `(${FIND})(${quote(name)})`);
    for (const type of ["mousePressed", "mouseReleased"]) {
      await this.send("Input.dispatchMouseEvent", {
        type,
        ...place,
        button: "left",
        clickCount: 1,
      });
    }
  }

  /** Types into what has the focus. */
  async type(text: string): Promise<void> {
    await this.send("Input.insertText", { text });
  }

  /** Presses a key such as `Tab`, `Enter`, `Escape`. */
  async press(key: string): Promise<void> {
    const code = { Tab: 9, Enter: 13, Escape: 27, ArrowLeft: 37, ArrowRight: 39 }[key] ?? 0;
    const text = key === "Enter" ? "\r" : undefined;
    for (const type of ["keyDown", "keyUp"]) {
      await this.send("Input.dispatchKeyEvent", {
        type,
        key,
        code: key,
        windowsVirtualKeyCode: code,
        ...(text && type === "keyDown" ? { text } : {}),
      });
    }
  }

  /** Shows the page on a screen of this size, in light or dark. */
  async resize(
    width: number,
    height: number,
    { mobile = false, dark = false, scale = 1 } = {},
  ): Promise<void> {
    const size = { width, height, deviceScaleFactor: scale, mobile };
    await this.send("Emulation.setDeviceMetricsOverride", size);
    const value = dark ? "dark" : "light";
    await this.send("Emulation.setEmulatedMedia", {
      features: [{ name: "prefers-color-scheme", value }],
    });
  }

  /** A picture of what is seen, or of the whole page. */
  async screenshot(file: string, whole = false): Promise<void> {
    const { data } = await this.send("Page.captureScreenshot", { captureBeyondViewport: whole });
    await Deno.writeFile(file, Uint8Array.fromBase64(data));
  }
}

function quote(text: string): string {
  return JSON.stringify(text);
}

/** In the page: where the middle of the first seen control of that name is. */
const FIND = `(name) => {
  for (const each of document.querySelectorAll("button, a, input, select, summary")) {
    const label = each.getAttribute("aria-label") ?? each.innerText ?? each.textContent;
    const labels = [...each.labels ?? []].map((l) => l.innerText.trim());
    if ((label ?? "").trim() !== name && !labels.some((l) => l.startsWith(name))) continue;
    if (each.disabled) continue;
    each.scrollIntoView({ block: "center" });
    const { x, y, width, height } = each.getBoundingClientRect();
    if (width === 0) continue;
    const at = { x: x + width / 2, y: y + height / 2 };
    const top = document.elementFromPoint(at.x, at.y);
    if (top === null || !(each.contains(top) || top.contains(each))) continue;
    return at;
  }
  return null;
}`;
