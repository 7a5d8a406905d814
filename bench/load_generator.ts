/**
 * A load generator for where there is no wrk: `load_generator.ts URL CONNECTIONS SECONDS` keeps so
 * many connections busy, one request at a time each, and prints {@link Load} in JSON. With
 * `SECONDS` 0 every connection makes one request, and the whole takes as long as the slowest.
 *
 * HTTP/1.1 with keep-alive; takes answers with a content length or in chunks.
 *
 * @module
 */
import { median } from "./report.ts";

/** What came of a load. Latencies in milliseconds. */
export interface Load {
  readonly requests: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Connections that failed, and answers that are not 200. */
  readonly errors: number;
  readonly wallMs: number;
}

/** Length of the response that `bytes` begin with; undefined while it is not complete. */
export function responseLength(bytes: Uint8Array): number | undefined {
  const text = new TextDecoder("latin1").decode(bytes);
  const head = text.indexOf("\r\n\r\n");
  if (head < 0) return undefined;
  const body = head + 4;
  const length = /\r\ncontent-length: *(\d+)/i.exec(text.slice(0, head));
  if (length) {
    return body + Number(length[1]) <= bytes.length ? body + Number(length[1]) : undefined;
  }
  for (let at = body;;) {
    const line = text.indexOf("\r\n", at);
    if (line < 0) return undefined;
    const size = parseInt(text.slice(at, line), 16);
    if (Number.isNaN(size)) throw new Error("Cannot read the response: it has no length");
    at = line + 2 + size + 2;
    if (at > bytes.length) return undefined;
    if (size === 0) return at;
  }
}

class Client {
  #buffer = new Uint8Array(65_536);
  #filled = 0;

  constructor(readonly connection: Deno.Conn, readonly request: Uint8Array) {}

  /** One request and its answer; whether that was a 200. */
  async ask(): Promise<boolean> {
    await this.connection.write(this.request);
    for (;;) {
      const bytes = this.#buffer.subarray(0, this.#filled);
      const length = this.#filled === 0 ? undefined : responseLength(bytes);
      if (length !== undefined) {
        const isGood = new TextDecoder().decode(bytes.subarray(9, 12)) === "200";
        this.#buffer.copyWithin(0, length, this.#filled);
        this.#filled -= length;
        return isGood;
      }
      const read = await this.connection.read(this.#buffer.subarray(this.#filled));
      if (read === null) throw new Error("Cannot read the response: the connection ended");
      this.#filled += read;
    }
  }
}

async function generate(url: URL, connections: number, seconds: number): Promise<Load> {
  const request = new TextEncoder().encode(
    `GET ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\n\r\n`,
  );
  const opened = await Promise.all(
    Array.from(
      { length: connections },
      () => Deno.connect({ hostname: url.hostname, port: Number(url.port) }),
    ),
  );
  const latencies: number[] = [];
  let errors = 0;
  const from = performance.now();
  await Promise.all(opened.map(async (connection) => {
    const client = new Client(connection, request);
    try {
      do {
        const asked = performance.now();
        if (!await client.ask()) errors++;
        latencies.push(performance.now() - asked);
      } while (performance.now() - from < seconds * 1000);
    } catch {
      errors++;
    }
  }));
  const wallMs = performance.now() - from;
  for (const connection of opened) connection.close();
  latencies.sort((a, b) => a - b);
  return {
    requests: latencies.length,
    perSecond: latencies.length * 1000 / wallMs,
    p50Ms: median(latencies),
    p99Ms: latencies[Math.floor(latencies.length * 0.99)] ?? NaN,
    errors,
    wallMs,
  };
}

if (import.meta.main) {
  const [url, connections, seconds] = Deno.args as [string, string, string];
  console.log(JSON.stringify(await generate(new URL(url), Number(connections), Number(seconds))));
}
