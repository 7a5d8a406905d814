/**
 * A server for tests of outbound HTTP that misbehaves as it is told: it speaks over the bare
 * connection, so that every byte of an answer can be chosen.
 *
 * @module
 */

/** A request as it came over the wire. */
export interface Received {
  readonly conn: Deno.Conn;
  readonly method: string;
  readonly path: string;
  /** In the order and spelling of the wire. */
  readonly headers: readonly (readonly [string, string])[];
  /** The first header of that name, in lower case. */
  header(name: string): string | undefined;
  /** The body as it comes; afterwards {@link trailers} are there. */
  body(): AsyncGenerator<Uint8Array>;
  text(): Promise<string>;
  readonly trailers: [string, string][];
  /** Writes text, a character a byte. */
  write(text: string): Promise<void>;
  send(bytes: Uint8Array): Promise<void>;
  /** Answers with a body of known length. */
  answer(body: string, status?: string, headers?: string): Promise<void>;
}

/** What to do with a request; `false` ends the connection. */
export type Route = (request: Received) => Promise<boolean | void> | boolean | void;

export interface Upstream {
  readonly port: number;
  /** `METHOD path` of every request. */
  readonly requests: string[];
  /** Connections that were accepted, that are open, and that were open at once at most. */
  readonly connections: { accepted: number; open: number; peak: number };
  close(): void;
}

/** Certificate chain and key in PEM. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

class Source {
  #rest: Uint8Array<ArrayBufferLike> = new Uint8Array();

  constructor(readonly conn: Deno.Conn) {}

  async #more(): Promise<boolean> {
    const buffer = new Uint8Array(65_536);
    const read = await this.conn.read(buffer).catch(() => null);
    if (read === null) return false;
    const joined = new Uint8Array(this.#rest.length + read);
    joined.set(this.#rest);
    joined.set(buffer.subarray(0, read), this.#rest.length);
    this.#rest = joined;
    return true;
  }

  async line(): Promise<string | undefined> {
    for (;;) {
      const end = this.#rest.indexOf(0x0a);
      if (end >= 0) {
        const line = this.#rest.subarray(0, end);
        this.#rest = this.#rest.subarray(end + 1);
        return new TextDecoder("latin1").decode(line).replace(/\r$/, "");
      }
      if (!await this.#more()) return undefined;
    }
  }

  /** At most `max` bytes, at least one; none at the end. */
  async some(max: number): Promise<Uint8Array | undefined> {
    if (this.#rest.length === 0 && !await this.#more()) return undefined;
    const bytes = this.#rest.subarray(0, max);
    this.#rest = this.#rest.subarray(bytes.length);
    return bytes;
  }
}

async function fields(source: Source): Promise<[string, string][] | undefined> {
  const all: [string, string][] = [];
  for (;;) {
    const line = await source.line();
    if (line === undefined) return undefined;
    if (line === "") return all;
    const [, name, value] = /^([^:]*): ?(.*)$/.exec(line)!;
    all.push([name!, value!]);
  }
}

const bytesOf = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));

async function serve(conn: Deno.Conn, upstream: Upstream, routes: Record<string, Route>) {
  const source = new Source(conn);
  const send = async (bytes: Uint8Array) => {
    for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
  };
  const write = (text: string) => send(bytesOf(text));
  for (;;) {
    const line = await source.line();
    if (line === undefined) return;
    const [method, path] = line.split(" ") as [string, string];
    upstream.requests.push(`${method} ${path}`);
    const headers = await fields(source);
    if (!headers) return;
    const header = (name: string) => headers.find(([n]) => n.toLowerCase() === name)?.[1];
    const trailers: [string, string][] = [];
    let drained = false;
    const body = async function* () {
      if (header("transfer-encoding") === "chunked") {
        for (;;) {
          let left = parseInt(await source.line() ?? "", 16);
          if (Number.isNaN(left)) throw new Error("the request broke off");
          if (left === 0) break;
          while (left > 0) {
            const bytes = await source.some(left);
            if (!bytes) throw new Error("the request broke off");
            left -= bytes.length;
            yield bytes;
          }
          await source.line();
        }
        trailers.push(...await fields(source) ?? []);
      } else {
        for (let left = Number(header("content-length") ?? 0); left > 0;) {
          const bytes = await source.some(left);
          if (!bytes) throw new Error("the request broke off");
          left -= bytes.length;
          yield bytes;
        }
      }
      drained = true;
    };
    const text = async () => {
      let all = "";
      for await (const bytes of body()) all += new TextDecoder("latin1").decode(bytes);
      return all;
    };
    const answer = (body: string, status = "200 OK", more = "") =>
      write(
        `HTTP/1.1 ${status}\r\n${more}content-length: ${body.length}\r\n\r\n` +
          (method === "HEAD" ? "" : body),
      );
    const route = routes[path.split("?")[0]!] ?? (() => answer("no such path\n", "404 Not Found"));
    const received = { conn, method, path, headers, header, body, text, trailers, write, send };
    if (await route({ ...received, answer }) === false) return;
    if (!drained) { for await (const _ of body()); }
  }
}

/** Starts a server on a free port of loopback. A greeting is sent before a request came. */
export function startUpstream(
  routes: Record<string, Route>,
  options: { tls?: Certificate; greeting?: string } = {},
): Upstream {
  const { tls, greeting } = options;
  const at = { hostname: "127.0.0.1", port: 0 };
  const listener = tls ? Deno.listenTls({ ...at, ...tls }) : Deno.listen(at);
  const open = new Set<Deno.Conn>();
  const upstream: Upstream = {
    port: (listener.addr as Deno.NetAddr).port,
    requests: [],
    connections: { accepted: 0, open: 0, peak: 0 },
    close() {
      listener.close();
      for (const conn of open) shut(conn);
    },
  };
  const shut = (conn: Deno.Conn) => {
    if (!open.delete(conn)) return;
    upstream.connections.open--;
    try {
      conn.close();
    } catch {
      // the other side was quicker
    }
  };
  (async () => {
    for (;;) {
      let conn: Deno.Conn;
      try {
        conn = await listener.accept();
      } catch (error) {
        if (error instanceof Deno.errors.BadResource) return;
        continue; // a handshake that failed
      }
      open.add(conn);
      upstream.connections.accepted++;
      upstream.connections.open++;
      upstream.connections.peak = Math.max(upstream.connections.peak, open.size);
      if (greeting) conn.write(bytesOf(greeting)).catch(() => {});
      serve(conn, upstream, routes).catch(() => {}).finally(() => shut(conn));
    }
  })();
  return upstream;
}

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const hold = () => new Promise<never>(() => {});
const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;
const CHUNKED = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";

/** Those that `/together` holds. */
const waiting: ((text: string) => void)[] = [];

/** What `/bomb` got rid of. */
export const bombed = { bytes: 0 };

/** Answers of every kind, by path. */
export const ROUTES: Readonly<Record<string, Route>> = {
  "/hello": (r) => r.answer("hello\n", "200 OK", "content-type: text/plain\r\n"),
  "/bare": (r) => r.answer("", "204 No Content"),
  /** What came: method, path and headers. */
  "/request": async (r) => {
    const body = await r.text();
    const told = [...r.headers, ...r.trailers.map(([n, v]) => [`trailer ${n}`, v])]
      .map(([name, value]) => `${name}: ${value.replace(/:\d+$/, ":PORT")}`).sort();
    await r.answer(`${r.method} ${r.path}|${told.join("|")}|${body}`);
  },
  "/echo": async (r) => {
    await r.write(`${CHUNKED}\r\n`);
    for await (const bytes of r.body()) {
      await r.write(`${bytes.length.toString(16)}\r\n`);
      await r.send(bytes);
      await r.write("\r\n");
    }
    await r.write("0\r\n\r\n");
  },
  /** Answers before it reads. */
  "/early": async (r) => {
    await r.write(`${CHUNKED}\r\n${chunk("first ")}`);
    await r.write(`${chunk(await r.text())}0\r\n\r\n`);
  },
  "/trailers": (r) =>
    r.write(`${CHUNKED}trailer: x-sum\r\n\r\n${chunk("hello")}0\r\nx-sum: 5\r\nx-two: b\r\n\r\n`),
  "/empty-trailers": (r) => r.write(`${CHUNKED}\r\n0\r\nx-sum: 0\r\n\r\n`),
  "/until-close": async (r) => {
    await r.write("HTTP/1.1 200 OK\r\n\r\nuntil it ends");
    return false;
  },
  "/old": async (r) => {
    await r.write("HTTP/1.0 200 OK\r\nx-old: yes\r\n\r\nold");
    return false;
  },
  "/early-hints": (r) =>
    r.write(
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" +
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfinal",
    ),
  "/redirect": (r) => r.answer("", "302 Found", "location: http://169.254.169.254/latest\r\n"),
  "/gzip": (r) => r.answer("not unpacked", "200 OK", "content-encoding: gzip\r\n"),
  "/cookie": (r) =>
    r.answer(r.header("cookie") ?? "none", "200 OK", "set-cookie: a=1\r\nset-cookie: b=2\r\n"),
  "/odd-bytes": (r) => r.answer("", "200 OK", "x-odd: \xfc\xff\r\nX-Case: Kept\r\n"),
  "/switch": (r) => r.write("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"),
  /** Once so many wait here; alone after a minute. */
  "/together": async (r) => {
    const { promise, resolve } = Promise.withResolvers<string>();
    waiting.push(resolve);
    if (waiting.length === Number(r.path.split("?")[1])) {
      for (const met of waiting.splice(0)) met("together\n");
    }
    const late = setTimeout(resolve, 60_000, "alone\n");
    await r.answer(await promise.finally(() => clearTimeout(late)));
  },
  "/never": hold,
  /** Reads no body. */
  "/deaf": hold,
  "/slow-head": async (r) => {
    await r.write("HTTP/1.1 200 OK\r\n");
    for (let i = 0; i < 100; i++) {
      await sleep(20);
      await r.write(`x-slow: ${i}\r\n`);
    }
  },
  "/head-only": async (r) => {
    await r.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n");
    await hold();
  },
  "/stalls": async (r) => {
    await r.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf.");
    await hold();
  },
  "/truncated": async (r) => {
    await r.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf.");
    return false;
  },
  "/truncated-chunks": async (r) => {
    await r.write(`${CHUNKED}\r\n${chunk("half.")}a\r\nhal`);
    return false;
  },
  "/cut-head": async (r) => {
    await r.write("HTTP/1.1 200 OK\r\ncontent-le");
    return false;
  },
  "/closes": () => false,
  "/garbage": async (r) => {
    await r.write("SSH-2.0-OpenSSH_9.6\r\n\r\n");
    await hold();
  },
  "/bad-chunk": async (r) => {
    await r.write(`${CHUNKED}\r\n${chunk("good")}nothex\r\n`);
    await hold();
  },
  "/bad-length": (r) => r.write("HTTP/1.1 200 OK\r\ncontent-length: 5, 6\r\n\r\nhello"),
  "/two-lengths": (r) =>
    r.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nhello"),
  "/coded": (r) => r.write("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
  "/bad-header": (r) => r.write("HTTP/1.1 200 OK\r\nbad name: 1\r\ncontent-length: 0\r\n\r\n"),
  "/huge-header": (r) => r.answer("", "200 OK", `x-huge: ${"h".repeat(200_000)}\r\n`),
  "/many-headers": (r) => r.answer("", "200 OK", "x-many: 1\r\n".repeat(20_000)),
  "/huge-trailers": (r) =>
    r.write(`${CHUNKED}\r\n${chunk("hello")}0\r\nx-huge: ${"h".repeat(200_000)}\r\n\r\n`),
  "/bomb": async (r) => {
    await r.write(`${CHUNKED}\r\n`);
    const piece = new Uint8Array(65_536);
    for (let i = 0; i < 1600; i++) {
      await r.write("10000\r\n");
      await r.send(piece);
      await r.write("\r\n");
      bombed.bytes += piece.length;
    }
    await r.write("0\r\n\r\n");
  },
  /** Says more than it promised. */
  "/more": (r) => r.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n"),
  /** Refuses a body before it is there, and ends the connection. */
  "/refuses-body": async (r) => {
    await r.write("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
    return false;
  },
};
