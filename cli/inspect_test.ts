import assert from "node:assert/strict";
import { withFakeAgent } from "./agent_fake.ts";

const fixture = (name: string) => new URL(`../fixtures/${name}`, import.meta.url).pathname;

Deno.test("inspect names the health export of a handler that has one", () =>
  withFakeAgent(async ({ realm }) => {
    const { stdout } = await realm("inspect", fixture("health.wasm"));
    assert.match(
      stdout,
      /^health {2}by realm:health\/check@0\.1\.0, for health = \{ export = true \}$/m,
    );
    assert.match(stdout, /^exports .*realm:health\/check@0\.1\.0/m);
    const json = JSON.parse((await realm("inspect", fixture("health.wasm"), "--json")).stdout);
    assert.equal(json.health, true);
    const other = await realm("inspect", fixture("greeter.wasm"));
    assert.equal(other.status, 0);
    assert.doesNotMatch(other.stdout, /^health/m);
  }));
