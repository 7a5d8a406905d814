import assert from "node:assert/strict";
import { restart, type Run, serviceOf } from "./service.ts";

/** A machine on which these commands say that; others are not there. */
function machine(says: Record<string, string>): Run {
  return (...words) => {
    const output = says[words.join(" ")];
    return Promise.resolve(output === undefined ? undefined : { status: 0, output });
  };
}

const SHOW = "show --property=MainPID --value realm.service";

Deno.test("serviceOf() finds the service whose process it is", async () => {
  const user = { [`systemctl --user ${SHOW}`]: "42\n", [`systemctl ${SHOW}`]: "0\n" };
  assert.deepEqual((await serviceOf(42, machine(user), 1000))?.restart, [
    ...["systemctl", "--user", "restart", "realm.service"],
  ]);
  const system = { [`systemctl --user ${SHOW}`]: "0\n", [`systemctl ${SHOW}`]: "42\n" };
  assert.deepEqual((await serviceOf(42, machine(system), 1000))?.restart, [
    ...["systemctl", "restart", "realm.service"],
  ]);
  const launchd = {
    "launchctl print gui/501/dev.realm.agent": "{\n\tstate = running\n\tpid = 42\n}",
  };
  assert.deepEqual((await serviceOf(42, machine(launchd), 501))?.restart, [
    ...["launchctl", "kickstart", "-k", "gui/501/dev.realm.agent"],
  ]);
});

Deno.test("serviceOf() takes no service of another process", async () => {
  const says = {
    [`systemctl --user ${SHOW}`]: "420\n",
    "launchctl print system/dev.realm.agent": "\tpid = 421\n",
  };
  assert.equal(await serviceOf(42, machine(says), 0), undefined);
  assert.equal(await serviceOf(42, machine({}), 0), undefined);
});

Deno.test("restart() says what the command said", async () => {
  const denied: Run = () => Promise.resolve({ status: 1, output: "Access denied\n" });
  await assert.rejects(restart(["systemctl", "restart", "realm"], denied), /Access denied$/);
  await assert.rejects(restart(["none"], machine({})), /there is no such program/);
});
