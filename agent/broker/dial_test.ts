import assert from "node:assert/strict";
import { type IpAddress, parseIp } from "../kernel/ip_address.ts";
import { parseOutbound } from "../kernel/network_grant.ts";
import { type NetworkGrants, NO_NETWORK } from "../kernel/ports.ts";
import { Dialer, interleave } from "./dial.ts";
import { NetworkError } from "./network_error.ts";
import { NetworkPolicy, type Target } from "./network_policy.ts";
import { createResolver, type Resolver } from "./resolve.ts";

const ips = (...list: string[]): IpAddress[] => list.map((text) => parseIp(text)!);
const tcp = (host: string, port = 80): Target => ({ scheme: "tcp", host, port });

function dialer(grants: Partial<NetworkGrants>, resolver: Resolver, refusals: string[] = []) {
  return new Dialer({
    policy: new NetworkPolicy({ ...NO_NETWORK, ...grants }),
    resolver,
    refused: ({ message }) => refusals.push(message),
  });
}

const outbound = (...texts: string[]) => texts.map((text) => parseOutbound(text)!);
const reasonOf = (promise: Promise<unknown>) =>
  promise.then(() => "ok", (error) => (error as NetworkError).reason);

/** A connection that remembers where it leads. */
function fakes(behave: (address: string) => "ok" | "refused" | "hangs" = () => "ok") {
  const dialled: string[] = [];
  const closed: string[] = [];
  const connect = (address: string, port: number, signal: AbortSignal) => {
    dialled.push(`${address}:${port}`);
    const behaviour = behave(address);
    if (behaviour === "ok") return Promise.resolve({ address, close: () => closed.push(address) });
    return new Promise<never>((_, reject) => {
      if (behaviour === "refused") reject(new Deno.errors.ConnectionRefused());
      signal.addEventListener("abort", () => (closed.push(address), reject(signal.reason)));
    });
  };
  return { dialled, closed, connect };
}

Deno.test("dial() asks once, and dials the very address that was checked", async () => {
  let asked = 0;
  // Rebinding: whoever asks a second time is led to the machine itself.
  const resolver: Resolver = () => Promise.resolve(ips(asked++ ? "127.0.0.1" : "93.184.216.34"));
  const { dialled, connect } = fakes();
  const broker = dialer({ outbound: outbound("tcp://a.example:80"), loopback: [80] }, resolver);
  await broker.dial(tcp("a.example"), {}, connect);
  assert.deepEqual([asked, dialled], [1, ["93.184.216.34:80"]]);
  assert.equal(await reasonOf(broker.dial(tcp("a.example"), {}, connect)), "address-prohibited");
  assert.deepEqual(dialled, ["93.184.216.34:80"], "nothing more was dialled");
});

Deno.test("dial() leaves out the prohibited ones of several addresses", async () => {
  const { dialled, connect } = fakes(() => "refused");
  const resolver = () =>
    Promise.resolve(ips("169.254.169.254", "::ffff:127.0.0.1", "10.0.0.1", "93.184.216.34"));
  const broker = dialer({ outbound: outbound("tcp://a.example:80") }, resolver);
  assert.equal(await reasonOf(broker.dial(tcp("a.example"), {}, connect)), "connection-refused");
  assert.deepEqual(dialled, ["93.184.216.34:80"]);
});

Deno.test("dial() asks nobody about a host that is not granted", async () => {
  const refusals: string[] = [];
  const broker = dialer({}, () => assert.fail("looked up"), refusals);
  assert.equal(await reasonOf(broker.dial(tcp("a.example"))), "access-denied");
  assert.match(refusals[0]!, /allowed_outbound/);
});

Deno.test("dial() tries the next address when one fails, and at last says why", async () => {
  const resolver = () => Promise.resolve(ips("1.1.1.1", "1.1.1.2"));
  const { dialled, connect } = fakes((address) => address === "1.1.1.1" ? "refused" : "ok");
  const broker = dialer({ outbound: outbound("tcp://a.example:80") }, resolver);
  const connection = await broker.dial(tcp("a.example"), {}, connect);
  assert.deepEqual([connection.address, dialled.length], ["1.1.1.2", 2]);
});

Deno.test("dial() does not wait for an address that does not answer, and gives it up", async () => {
  const resolver = () => Promise.resolve(ips("2606:4700::1", "1.1.1.1"));
  const { closed, connect } = fakes((address) => address.includes(":") ? "hangs" : "ok");
  const broker = dialer({ outbound: outbound("tcp://a.example:80") }, resolver);
  const { address } = await broker.dial(tcp("a.example"), {}, connect);
  assert.deepEqual([address, closed], ["1.1.1.1", ["2606:4700::1"]]);
});

Deno.test("dial() ends with the time that was given, and with the signal", async () => {
  const resolver = () => Promise.resolve(ips("1.1.1.1"));
  const { closed, connect } = fakes(() => "hangs");
  const broker = dialer({ outbound: outbound("tcp://a.example:80") }, resolver);
  const timedOut = broker.dial(tcp("a.example"), { timeoutMs: 5 }, connect);
  assert.equal(await reasonOf(timedOut), "timeout");
  const abort = new AbortController();
  const aborted = reasonOf(broker.dial(tcp("a.example"), { signal: abort.signal }, connect));
  setTimeout(() => abort.abort(), 1);
  assert.equal(await aborted, "aborted");
  const before = broker.dial(tcp("a.example"), { signal: abort.signal }, connect);
  assert.equal(await reasonOf(before), "aborted");
  assert.deepEqual(closed, ["1.1.1.1", "1.1.1.1"]);
});

Deno.test("dial() reaches a port of the machine where loopback grants it", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const broker = dialer({ loopback: [port] }, () => assert.fail("looked up"));
  const [client, server] = await Promise.all([
    broker.dial(tcp("127.0.0.1", port)),
    listener.accept(),
  ]);
  await client.write(Uint8Array.of(1, 2, 3)); // the race is over, its connection is not
  const buffer = new Uint8Array(8);
  assert.equal(await server.read(buffer), 3);
  client.close();
  server.close();
  assert.equal(await reasonOf(broker.dial(tcp("127.0.0.1", port + 1))), "access-denied");
});

Deno.test("interleave() alternates the families, the first one's first", () => {
  const list = ips("1.1.1.1", "1.1.1.2", "1.1.1.3", "::1");
  assert.deepEqual(interleave(list), ips("1.1.1.1", "::1", "1.1.1.2", "1.1.1.3"));
  const rest = ips("::1", "1.1.1.1", "1.1.1.2");
  assert.deepEqual(interleave(rest), rest);
});

Deno.test("a resolver says what went wrong, in the words of the interface", async () => {
  const failing = (code: string) =>
    reasonOf(
      createResolver({ ask: () => Promise.reject(Object.assign(new Error(code), { code })) })("a"),
    );
  assert.equal(await failing("ENOTFOUND"), "name-unresolvable");
  assert.equal(await failing("EAI_AGAIN"), "temporary-resolver-failure");
  assert.equal(await failing("EAI_FAIL"), "permanent-resolver-failure");
  const empty = createResolver({ ask: () => Promise.resolve([]) });
  assert.equal(await reasonOf(empty("a")), "name-unresolvable");
  const slow = createResolver({ ask: () => new Promise(() => {}), timeoutMs: 5 });
  assert.equal(await reasonOf(slow("a")), "timeout");
  const abort = AbortSignal.abort();
  assert.equal(await reasonOf(slow("a", abort)), "aborted");
});

Deno.test("a resolver works on so many lookups at once, the others wait in turn", async () => {
  const asked: PromiseWithResolvers<string[]>[] = [];
  const resolver = createResolver({
    lookupsMax: 2,
    ask: () => {
      const answer = Promise.withResolvers<string[]>();
      asked.push(answer);
      return answer.promise;
    },
  });
  const all = Promise.all(["a", "b", "c", "d"].map((name) => resolver(name)));
  await Promise.resolve();
  assert.equal(asked.length, 2);
  for (let i = 0; i < 4; i++) {
    asked[i]!.resolve(["1.1.1.1"]);
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  assert.equal((await all).length, 4);
});

/** Asks whose answers come when the test says so. */
function slowAsks() {
  const asked = new Map<string, (found: string[]) => void>();
  const ask = (name: string) =>
    new Promise<string[]>((resolve) => {
      asked.set(name, resolve);
    });
  return { ask, asked };
}
const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

Deno.test("an owner whose names take for ever to look up keeps no other waiting", async () => {
  const { ask, asked } = slowAsks();
  const resolver = createResolver({ ask, timeoutMs: 600_000 });
  const [one, other] = [{}, {}];
  const stop = new AbortController();
  const endless = Array.from(
    { length: 100 },
    (_, i) => reasonOf(resolver(`n${i}`, stop.signal, one)),
  );
  const found = resolver("mine", undefined, other);
  await turn();
  assert.deepEqual([...asked.keys()], ["n0", "n1", "n2", "n3", "mine"]);
  asked.get("mine")!(["1.1.1.1"]);
  assert.equal((await found).length, 1);
  stop.abort();
  const reasons = await Promise.all(endless);
  // Those that could not even wait failed at once.
  assert.equal(reasons.filter((reason) => reason === "temporary-resolver-failure").length, 32);
  assert.equal(reasons.filter((reason) => reason === "aborted").length, 68);
  await turn();
  assert.equal(asked.size, 5, "whoever left the line is not looked up");
});

Deno.test("a turn that comes to somebody who leaves at that moment goes to the next", async () => {
  const { ask, asked } = slowAsks();
  const resolver = createResolver({ ask, lookupsMax: 1 });
  for (let i = 0; i < 20; i++) {
    const stop = new AbortController();
    const first = resolver("first", undefined, {});
    const leaving = reasonOf(resolver("leaving", stop.signal, {}));
    const third = resolver("third", undefined, {});
    asked.get("first")!(["1.1.1.1"]);
    for (let steps = 0; steps < i % 5; steps++) await null;
    stop.abort();
    await first;
    await turn();
    asked.get("leaving")?.(["1.1.1.1"]);
    await leaving;
    await turn();
    asked.get("third")!(["1.1.1.1"]);
    await third;
    asked.clear();
  }
});

Deno.test("localhost is the machine, whatever a DNS says", async () => {
  const resolver = createResolver({ ask: () => assert.fail("asked") });
  assert.deepEqual(await resolver("x.localhost"), ips("127.0.0.1", "::1"));
});

Deno.test("the system's own resolver answers", async () => {
  const found = await createResolver()(Deno.hostname()).catch((error) => error);
  // A machine need not know its own name.
  if (!(found instanceof NetworkError)) assert.ok(found.length > 0);
});
