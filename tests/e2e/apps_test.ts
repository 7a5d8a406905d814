/**
 * Apps among people: agents as processes, without any realm, that share topics of two apps.
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import type { TopicStatus } from "../../agent/control/apps_api.ts";
import { failed, succeeded, until } from "./agent_process.ts";
import { app, type Person, portOf, startPerson, topicOf } from "./app_machine.ts";
import { ROOT, type Sandbox, withSandbox } from "./executable.ts";

const NAMES = ["ann", "ben", "cem", "dan", "eva"] as const;
const APPS = ["counter", "poll"] as const;

/** Waits until everybody has the same events and the same state of a topic. */
async function untilEqual(sandbox: Sandbox, people: readonly Person[], name: string) {
  let seen: TopicStatus[] = [];
  await until(`${people.map((each) => each.name)} agree on ${name}`, async () => {
    seen = await Promise.all(people.map((person) => topicOf(sandbox, person, name)));
    const [first] = seen;
    return seen.every(({ settled, digest, heads }) =>
      settled && digest === first!.digest && heads.join() === first!.heads.join()
    );
  }, { everyMs: 500, atMostMs: 120_000 }).catch((error) => {
    assert.fail(`${error.message}: ${JSON.stringify(seen, null, 1)}`);
  });
  return seen[0]!;
}

async function total(sandbox: Sandbox, person: Person): Promise<bigint> {
  const { entries } = succeeded(await app(sandbox, person, "state", "counter", "total"));
  return new DataView(Uint8Array.fromBase64(entries[0].value).buffer).getBigUint64(0);
}

Deno.test("five people use counter and poll at once, are parted, and come to one state", async (t) => {
  await withSandbox(async (sandbox) => {
    const bundles: string[] = [];
    for (const name of APPS) {
      const file = path.join(sandbox.folder, `${name}.bundle`);
      const folder = path.join(ROOT, "fixtures", "apps", name);
      succeeded(await sandbox.realm("app", "build", folder, "--output", file, "--json"));
      bundles.push(file);
    }
    const people: Person[] = [];
    for (const name of NAMES) people.push(await startPerson(sandbox, name));
    const [ann, ben, cem, dan, eva] = people as [Person, Person, Person, Person, Person];

    await t.step("all join by tickets, and have the bundles from one another", async () => {
      for (const file of bundles) succeeded(await app(sandbox, ann, "install", file, "--yes"));
      const tickets: string[] = [];
      for (const name of APPS) {
        succeeded(await app(sandbox, ann, "create", name));
        tickets.push(succeeded(await app(sandbox, ann, "invite", name)).ticket);
      }
      for (const person of people.slice(1)) {
        for (const [i, ticket] of tickets.entries()) {
          const words = ["join", ticket, "--name", APPS[i]!, "--yes", "--wait", "60s"];
          const joined: TopicStatus = succeeded(await app(sandbox, person, ...words));
          assert.equal(joined.state, "running", `${person.name}: ${joined.why}`);
        }
      }
      for (const name of APPS) await untilEqual(sandbox, people, name);
    });

    await t.step("what they do at the same time comes to one state", async () => {
      const calls = people.flatMap((person, i) =>
        [1, 2, 3].map((n) => app(sandbox, person, "call", "counter", "add", `${10 ** i * n}`))
      );
      for (const call of calls) {
        const { events } = succeeded(await call);
        assert.equal(events[0].verdict, "accepted");
      }
      await untilEqual(sandbox, people, "counter");
      for (const person of people) assert.equal(await total(sandbox, person), 66_666n);
    });

    await t.step("one vote a key; only who made a poll closes it", async () => {
      const asked = '"Tea?\\nyes\\nno"';
      const { events } = succeeded(await app(sandbox, ben, "call", "poll", "create", asked));
      const poll = await untilEqual(sandbox, people, "poll");
      assert.ok(poll.heads.includes(events[0].event));
      const { entries } = succeeded(await app(sandbox, ann, "state", "poll", "poll/"));
      const name = Uint8Array.fromBase64(entries[0].key).slice(5).toHex();
      for (const [i, person] of people.entries()) {
        for (const option of [0, i % 2]) {
          succeeded(await app(sandbox, person, "call", "poll", "vote", `${name} ${option}`));
        }
      }
      assert.deepEqual(
        failed(await app(sandbox, cem, "call", "poll", "close", name)),
        [3, "refused"],
      );
      await untilEqual(sandbox, people, "poll");
      const tally = succeeded(await app(sandbox, dan, "state", "poll", "tally/")).entries;
      const votes = tally.map(({ value }: { value: string }) => Uint8Array.fromBase64(value)[7]);
      assert.deepEqual(votes, [3, 2]);
    });

    await t.step("two parts go on without one another, and come together again", async () => {
      // Nobody reaches the two that are stopped; they write on while the others are away.
      const away = [ann, ben, cem];
      for (const { running } of away) {
        running.kill("SIGTERM");
        await running.ended;
      }
      for (const person of [dan, eva]) {
        succeeded(await app(sandbox, person, "call", "counter", "add", "1"));
      }
      const parted = await untilEqual(sandbox, [dan, eva], "counter");
      for (const { running } of [dan, eva]) {
        running.kill("SIGTERM");
        await running.ended;
      }
      const back: Person[] = [];
      for (const person of away) back.push(await startPerson(sandbox, person.name, portOf(person)));
      for (const person of back) {
        succeeded(await app(sandbox, person, "call", "counter", "add", "100"));
      }
      const others = await untilEqual(sandbox, back, "counter");
      assert.notEqual(others.digest, parted.digest);
      for (const person of [dan, eva]) {
        back.push(await startPerson(sandbox, person.name, portOf(person)));
      }
      const healed = await untilEqual(sandbox, back, "counter");
      await untilEqual(sandbox, back, "poll");
      assert.equal(await total(sandbox, back[4]!), 66_666n + 2n + 300n);
      for (const person of back) {
        const proof = succeeded(await app(sandbox, person, "verify", "counter"));
        assert.deepEqual([proof.equal, proof.digest], [true, healed.digest]);
        assert.deepEqual((await topicOf(sandbox, person, "counter")).alarms, []);
      }
      people.splice(0, 5, ...back);
    });

    await t.step("a grant that is taken back stops the app at once", async () => {
      const [person] = people as [Person];
      succeeded(await app(sandbox, person, "grants", "counter", "--revoke", "state-write"));
      assert.equal((await topicOf(sandbox, person, "counter")).state, "not-granted");
      const words = ["call", "counter", "add", "1"];
      assert.deepEqual(failed(await app(sandbox, person, ...words)), [3, "refused"]);
      assert.equal((await topicOf(sandbox, person, "poll")).state, "running");
      succeeded(await app(sandbox, person, "install", bundles[0]!, "--yes"));
      succeeded(await app(sandbox, person, ...words));
    });

    await t.step(
      "an upgrade: who lacks the bundle stops there, says so, and goes on with it",
      async () => {
        // The next version is made beside the one that it follows.
        for (const name of ["counter", "counter-v2"]) {
          const from = path.join(ROOT, "fixtures", "apps", name);
          await Deno.mkdir(path.join(sandbox.folder, name));
          for (const { name: file, isFile } of Deno.readDirSync(from)) {
            if (!isFile) continue;
            await Deno.copyFile(path.join(from, file), path.join(sandbox.folder, name, file));
          }
        }
        const file = path.join(sandbox.folder, "counter-2.bundle");
        const folder = path.join(sandbox.folder, "counter-v2");
        const { bundle } = succeeded(
          await sandbox.realm("app", "build", folder, "--output", file, "--json"),
        );
        const [first, second] = people as [Person, Person];
        await untilEqual(sandbox, people, "counter");
        const all = await total(sandbox, first);
        succeeded(await app(sandbox, first, "install", file, "--yes"));
        succeeded(await app(sandbox, first, "upgrade", "counter", bundle));
        succeeded(await app(sandbox, first, "call", "counter", "add", "1"));
        const sum = async (person: Person) => {
          const { entries } = succeeded(await app(sandbox, person, "state", "counter", "sum"));
          const view = new DataView(Uint8Array.fromBase64(entries[0].value).buffer);
          return [view.getBigUint64(0), view.getBigUint64(8)];
        };
        assert.deepEqual(await sum(first), [all + 1n, 5n]);
        await until("the second one stops there", async () => {
          const { state, why } = await topicOf(sandbox, second, "counter");
          return state === "needs-bundle" && why?.includes(bundle) === true;
        }, { everyMs: 500, atMostMs: 60_000 });
        const before = succeeded(await app(sandbox, second, "state", "counter", "total")).entries;
        assert.equal(before.length, 1);
        for (const person of people.slice(1)) {
          succeeded(await app(sandbox, person, "install", file, "--yes"));
        }
        await untilEqual(sandbox, people, "counter");
        assert.deepEqual(await sum(second), await sum(first));
      },
    );
  });
});
