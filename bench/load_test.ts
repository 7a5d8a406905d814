import assert from "node:assert/strict";
import { burst, load, parseWrk } from "./load.ts";
import { responseLength } from "./load_generator.ts";
import type { Programs } from "./programs.ts";

const WRK = `Running 3s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.52ms    1.10ms  30.42ms   95.10%
    Req/Sec    21.69k     2.13k   24.87k    76.67%
  Latency Distribution
     50%  870.00us
     75%    1.61ms
     90%    2.03ms
     99%    1.20s
  64731 requests in 3.00s, 9.01MB read
  Socket errors: connect 1, read 2, write 0, timeout 4
  Non-2xx or 3xx responses: 10
Requests/sec:  21571.11
Transfer/sec:      3.00MB
`;

Deno.test("parseWrk() reads rates, latencies of any unit, and every kind of error", () => {
  assert.deepEqual(parseWrk(WRK), {
    requests: 64731,
    perSecond: 21571.11,
    p50Ms: 0.87,
    p99Ms: 1200,
    errors: 17,
    wallMs: 3000,
  });
  assert.equal(parseWrk(WRK.replace(/ {2}(Socket|Non-2xx).*\n/g, "")).errors, 0);
  assert.throws(() => parseWrk("unable to connect"), /Cannot read the output of wrk/);
});

Deno.test("responseLength() finds the end of bodies with a length and of chunked ones", () => {
  const length = (text: string) => responseLength(new TextEncoder().encode(text));
  const plain = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
  const chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
  for (const whole of [plain, chunked]) {
    assert.equal(length(whole), whole.length);
    assert.equal(length(whole + "HTTP/1.1 200 OK\r\n"), whole.length);
    for (let n = 0; n < whole.length; n++) assert.equal(length(whole.slice(0, n)), undefined);
  }
});

Deno.test("our own generator counts requests, and answers that are not 200", async () => {
  let served = 0;
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => {
    return new Response("hello\n", { status: ++served % 4 === 0 ? 500 : 200 });
  });
  const url = `http://127.0.0.1:${server.addr.port}/`;
  try {
    const once = await burst(url, 8);
    assert.deepEqual([once.requests, once.errors, served], [8, 2, 8]);
    // A busy machine gets little done in a short time.
    for (let seconds = 0.2, requests = 0; requests <= 8; seconds *= 2) {
      assert.ok(seconds < 60, `${requests} requests`);
      const before = served;
      const more = await load({ wrk: undefined } as Programs, url, { connections: 4, seconds });
      requests = more.requests;
      assert.equal(requests, served - before);
      assert.ok(more.p50Ms <= more.p99Ms && more.wallMs >= 1_000 * seconds);
    }
  } finally {
    await server.shutdown();
  }
});
