import assert from "node:assert/strict";
import { STATUS } from "../../agent/control/fake_api.ts";
import { lookAtAddresses, lookAtAgent, lookAtPorts } from "./network.ts";

Deno.test("the doctor compares versions and hands on alarms", () => {
  const [same] = lookAtAgent(STATUS, STATUS.node.program);
  assert.equal(same!.level, "ok");
  const [other] = lookAtAgent(STATUS, "9.9.9");
  assert.equal(other!.level, "warning");
  assert.match(other!.message, /the agent is 0\.1\.0, this executable 9\.9\.9/);
  const nodes = STATUS.nodes.map((each) => ({
    ...each,
    live: true,
    program: each.self ? "0.1.0" : "0.0.9",
  }));
  const old = lookAtAgent({ ...STATUS, nodes }, "0.1.0").filter(({ message }) =>
    /0\.0\.9/.test(message)
  );
  assert.equal(old.length, STATUS.nodes.length - 1);
  const alarms = lookAtAgent(STATUS, "0.1.0").filter(({ check }) => check === "alarms");
  assert.deepEqual(
    alarms.map(({ message, fix }) => [message, fix]),
    STATUS.alarms.map(({ message, hint }) => [message, hint]),
  );
  assert.deepEqual(alarms.map(({ level }) => level), ["warning", "problem"]);
});

Deno.test("the doctor takes an agent without an owner that runs apps for what it may be meant to be", () => {
  const alarms = [{ ...STATUS.alarms[0]!, code: "unclaimed", severity: "critical" as const }];
  const level = (topics: typeof STATUS.topics) =>
    lookAtAgent({ ...STATUS, alarms, topics }, "0.1.0").find(({ check }) => check === "alarms")!
      .level;
  assert.equal(level(STATUS.topics), "warning");
  assert.equal(level([]), "problem");
});

Deno.test("the doctor says whether others can dial this machine", () => {
  const levels: [addresses: string[], others: number, level: string, message: RegExp][] = [
    [[], 0, "warning", /does not listen/],
    [["/ip4/127.0.0.1/tcp/4001"], 0, "warning", /this machine alone/],
    [
      ["/ip4/192.168.1.2/tcp/4001", "/ip6/fd00::1/tcp/4001"],
      0,
      "warning",
      /private addresses only/,
    ],
    [["/ip4/192.168.1.2/tcp/4001"], 2, "ok", /others are connected/],
    [["/ip4/192.168.1.2/tcp/4001", "/ip4/9.9.9.9/tcp/4001"], 0, "ok", /others can dial/],
    [["/ip4/9.9.9.9/tcp/1/p2p/X/p2p-circuit"], 0, "ok", /by way of a member/],
  ];
  for (const [addresses, others, level, message] of levels) {
    const finding = lookAtAddresses(addresses, others);
    assert.equal(finding.level, level, addresses.join());
    assert.match(finding.message, message);
  }
});

Deno.test("the doctor dials the ports of the agent, and no address of others", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const status = (at: number) => ({
    ...STATUS,
    proxy: `http://127.0.0.1:${at}`,
    nodes: STATUS.nodes.map((each) => ({
      ...each,
      addresses: each.self
        ? [`/ip4/127.0.0.1/tcp/${at}/p2p/X`, "/ip4/9.9.9.9/tcp/1/p2p/X/p2p-circuit"]
        : ["/ip4/127.0.0.1/tcp/1"],
    })),
  });
  const findings = await lookAtPorts(status(port));
  assert.deepEqual(findings.map(({ level }) => level), ["ok", "ok"]);
  listener.close();
  const gone = await lookAtPorts(status(1)); // where nobody listens
  assert.deepEqual(gone.map(({ level }) => level), ["problem", "problem"]);
  assert.match(gone[0]!.message, /^127\.0\.0\.1:1 does not answer, for the proxy/);
});
