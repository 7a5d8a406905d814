/**
 * `wasi:keyvalue`, `wasi:config` and `wasi:logging` from inside a guest.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  BATCH_MAX,
  KEY_BYTES_MAX,
  keyValueService,
  KeyValueStore,
  VALUE_BYTES_MAX,
} from "../agent/kernel/key_value.ts";
import { secretsService } from "../agent/kernel/secret_bucket.ts";
import { MemoryKeyValue } from "../agent/store/memory_key_value.ts";
import {
  endOf,
  type GuestOptions,
  onEachEngine,
  runGuest,
  type WithEngine,
  withEngine,
} from "./guest.ts";

/** Runs calls on one store; gives a function that runs more of them. */
async function withStore(
  test: (
    run: (...calls: string[]) => Promise<string[]>,
    store: KeyValueStore,
  ) => Promise<void>,
  withOne: WithEngine = withEngine,
): Promise<void> {
  await withOne(async (engine) => {
    const store = new KeyValueStore(new MemoryKeyValue());
    const options: GuestOptions = {
      grants: { keyvalue: true },
      services: { keyvalue: keyValueService(store) },
    };
    await test(async (...calls) => {
      const { exit, stdout } = await runGuest(engine, "keyvalue", {
        ...options,
        args: ["open|default", ...calls],
      });
      assert.deepEqual(exit, { kind: "exit", status: 0 });
      return stdout.trimEnd().split("\n").slice(1);
    }, store);
  });
}

/** Runs calls, each with the line that it has to print. */
function expectAll(run: (...calls: string[]) => Promise<string[]>, script: [string, string][]) {
  return run(...script.map(([call]) => call)).then((lines) =>
    assert.deepEqual(script.map(([call], i) => [call, lines[i]]), script)
  );
}

Deno.test("keyvalue: a guest sets, gets, deletes and lists", () =>
  withStore((run) =>
    expectAll(run, [
      ["get|a", "none"],
      ["exists|a", "false"],
      ["set|a|one", "ok"],
      ["set|b|", "ok"],
      ["set||empty", "ok"],
      ["get|a", "one"],
      ["get|b", ""],
      ["get|", "empty"],
      ["exists|b", "true"],
      ["set|a|zwei ü", "ok"],
      ["get|a", "zwei ü"],
      ["keys", " a b"],
      ["delete|a", "ok"],
      ["delete|a", "ok"],
      ["exists|a", "false"],
      ["list", "2 from b"],
    ])
  ));

Deno.test("keyvalue: a guest pages through its keys", () =>
  withStore((run) =>
    expectAll(run, [
      ["list", "0 from -"],
      ["fill|600|1|k", "600"],
      ["list", "256 from k0, 256 from k256, 88 from k512"],
      ["list|600", "0 keys, cursor false"],
      ["list|soon", "other: the cursor is not one that list-keys gave"],
      ["list|-1", "other: the cursor is not one that list-keys gave"],
      ["list|99999999999999999999", "other: the cursor is not one that list-keys gave"],
    ])
  ));

Deno.test("keyvalue: increment and compare-and-swap are exact", () =>
  withStore((run) =>
    expectAll(run, [
      ["increment|n|5", "5"],
      ["increment|n|-8", "-3"],
      ["get|n", "-3"],
      ["increment|n|9223372036854775807", "9223372036854775804"],
      ["increment|n|9", "other: the sum 9223372036854775813 does not fit 64 bits"],
      ["set|t|text", "ok"],
      ["increment|t|1", "other: the value is not a whole number in decimal"],
      ["cas|c", "none"],
      ["swap|first", "swapped"],
      ["cas|c", "first"],
      ["set|c|meanwhile", "ok"],
      ["swap|mine", "cas-failed, now meanwhile"],
      ["get|c", "meanwhile"],
      ["swap|mine", "swapped"],
      ["get|c", "mine"],
      ["cas|c", "mine"],
      ["delete|c", "ok"],
      ["swap|late", "cas-failed, now none"],
      ["swap|late", "swapped"],
      ["cas|c", "late"],
      [
        `swap|*${VALUE_BYTES_MAX + 1}`,
        "other: the value's length in bytes is 1048577, the most is 1048576",
      ],
    ])
  ));

onEachEngine(
  "keyvalue: two guests that increment and swap at once lose nothing",
  (withEngine) =>
    withStore(async (run, store) => {
      const calls = Array.from({ length: 100 }, () => "increment|n|1");
      const lines = (await Promise.all([run(...calls), run(...calls)])).flat();
      assert.equal(new Set(lines).size, 200);
      assert.equal(new TextDecoder().decode(store.get(["n"])[0]), "200");
    }, withEngine),
);

Deno.test("keyvalue: a list of keys is one call, all or nothing", () =>
  withStore((run) =>
    expectAll(run, [
      ["set-many|a|1|b|2|a|3", "ok"],
      ["get-many|a|x|b|a", "a=3 none b=2 a=3"],
      [
        `set-many|a|4|*${KEY_BYTES_MAX + 1}|5`,
        "other: the key's length in bytes is 1025, the most is 1024",
      ],
      ["delete-many|b|x|b", "ok"],
      ["get-many|a|b", "a=3 none"],
      ["get-many", ""],
      [`many|get|${BATCH_MAX}`, String(BATCH_MAX)],
      [`many|get|${BATCH_MAX + 1}`, "other: the length of the list is 1001, the most is 1000"],
      [`many|set|${BATCH_MAX + 1}`, "other: the length of the list is 1001, the most is 1000"],
      [`many|delete|${BATCH_MAX + 1}`, "other: the length of the list is 1001, the most is 1000"],
    ])
  ));

onEachEngine(
  "keyvalue: keys, values and the store are bounded",
  (withEngine) =>
    withStore((run) =>
      expectAll(run, [
        [`set|*${KEY_BYTES_MAX}|v`, "ok"],
        [`set|k|*${VALUE_BYTES_MAX}`, "ok"],
        ["get|k", `${VALUE_BYTES_MAX} bytes`],
        [`set-many|a|*${VALUE_BYTES_MAX}|b|*${VALUE_BYTES_MAX}|c|*${VALUE_BYTES_MAX}`, "ok"],
        [
          `set-many|a${`|*${VALUE_BYTES_MAX}|b`.repeat(20)}|x`,
          "other: the list's length in bytes is 4194308, the most is 4194304",
        ],
        ["delete-many|a|b|c", "ok"],
        ...["set|KEY|v", "get|KEY", "exists|KEY", "delete|KEY", "increment|KEY|1", "cas|KEY"].map(
          (call): [string, string] => [
            call.replace("KEY", `*${KEY_BYTES_MAX + 1}`),
            "other: the key's length in bytes is 1025, the most is 1024",
          ],
        ),
        [
          `set|k|*${VALUE_BYTES_MAX + 1}`,
          "other: the value's length in bytes is 1048577, the most is 1048576",
        ],
        [
          "fill|100|1000000|f",
          "66, then other: the size of the store in bytes is 70054343, the most is 67108864",
        ],
        ["exists|f66", "false"],
        ["delete|k", "ok"],
        ["set|more|*1000", "ok"],
      ]), withEngine),
);

Deno.test("keyvalue: the first draft's cursors and increments work too", () =>
  withStore((run) =>
    expectAll(run, [
      ["fill|300|1|k", "300"],
      ["draft|n|18446744073709551615", "refused, pages of 256 44"],
      ["draft|n|7", "7, pages of 256 45"],
    ])
  ));

onEachEngine(
  "keyvalue: other stores are not there, and none without a grant",
  (withEngine) =>
    withEngine(async (engine) => {
      const services = { keyvalue: keyValueService(new KeyValueStore(new MemoryKeyValue())) };
      const args = ["open|default", "open|", "open|other", "open|secrets", "set|k|v"];
      const granted = await runGuest(engine, "keyvalue", {
        args,
        services,
        grants: { keyvalue: true },
      });
      assert.equal(granted.stdout, "opened\nno-such-store\nno-such-store\naccess-denied\nok\n");
      assert.match(granted.notices.join("\n"), /secrets in realm.toml/);
      const denied = await runGuest(engine, "keyvalue", { args, services });
      assert.equal(denied.stdout, "access-denied\n".repeat(4) + "nothing open\n");
      assert.match(denied.notices.join("\n"), /keyvalue = true in realm.toml, or --keyvalue DIR/);
      // Granted by one who does not have it: an error for the guest, no trap.
      const none = await runGuest(engine, "keyvalue", {
        args: ["open|default", "get|k"],
        grants: { keyvalue: true },
      });
      assert.equal(none.stdout, "opened\nother: the store cannot be used now\n");
    }),
);

onEachEngine(
  "keyvalue: secrets are read by the names that were granted, newest value first, and never written",
  (withEngine) =>
    withEngine(async (engine) => {
      const values = new Map([["jwt", "v1"], ["other", "hidden"]]);
      const asked: string[] = [];
      const services = {
        secrets: secretsService({
          names: new Set(["jwt", "unset"]),
          read: (name) => {
            asked.push(name);
            if (asked.length === 2) values.set("jwt", "v2");
            const value = values.get(name);
            return Promise.resolve(
              value === undefined ? undefined : new TextEncoder().encode(value),
            );
          },
        }),
      };
      // deno-fmt-ignore
      const args = ["open|default", "open|secrets", "get|jwt", "get|jwt", "get|other", "exists|other",
        "get|unset", "keys", "set|jwt|x", "delete|jwt", "increment|jwt|1", "cas|jwt", "swap|x",
        "get-many|jwt|other", "set-many|jwt|x", "delete-many|jwt", "get|jwt"];
      const { stdout } = await runGuest(engine, "keyvalue", {
        args,
        services,
        grants: { secrets: true },
      });
      assert.deepEqual(
        args.map((call, i) => `${call}: ${stdout.split("\n")[i]}`),
        [
          "open|default: access-denied",
          "open|secrets: opened",
          "get|jwt: v1",
          "get|jwt: v2",
          "get|other: none",
          "exists|other: false",
          "get|unset: none",
          "keys: jwt unset",
          "set|jwt|x: access-denied",
          "delete|jwt: access-denied",
          "increment|jwt|1: access-denied",
          "cas|jwt: v2",
          "swap|x: access-denied",
          "get-many|jwt|other: jwt=v2 none",
          "set-many|jwt|x: access-denied",
          "delete-many|jwt: access-denied",
          "get|jwt: v2",
        ],
      );
      assert.ok(!asked.includes("other"), "what was not granted is not even asked for");
    }),
);

onEachEngine(
  "keyvalue: buckets are handles, and bounded",
  (withEngine) =>
    withEngine(async (engine) => {
      const services = { keyvalue: keyValueService(new KeyValueStore(new MemoryKeyValue())) };
      const run = (n: number) =>
        runGuest(engine, "keyvalue", {
          args: ["open|default", `hold|${n}`],
          services,
          grants: { keyvalue: true },
        });
      assert.equal(endOf((await run(1000)).exit), "exit 0");
      const { exit } = await run(1024);
      assert.match(exit.kind === "trap" ? exit.message : "", /another bucket: 1024 are open/);
    }),
);

onEachEngine(
  "config: a guest gets its variables and nothing else",
  (withEngine) =>
    withEngine(async (engine) => {
      const { stdout } = await runGuest(engine, "config", {
        args: ["DB", "EMPTY", "PATH", "__proto__", ""],
        grants: { config: [["DB", "a\nb"], ["EMPTY", ""]], env: [["PATH", "/"]] },
      });
      assert.equal(
        stdout,
        [
          `DB: Some("a\\nb") Some("a\\nb")`,
          `EMPTY: Some("") Some("")`,
          "PATH: None None",
          "__proto__: None None",
          ": None None",
          `[("DB", "a\\nb"), ("EMPTY", "")]`,
          "true\n",
        ].join("\n"),
      );
      const none = await runGuest(engine, "config");
      assert.equal(none.stdout, "[]\ntrue\n");
    }),
);

onEachEngine(
  "logging: a guest's lines have their level, in order, one line each",
  (withEngine) =>
    withEngine(async (engine) => {
      const { logged, stderr } = await runGuest(engine, "logging");
      assert.deepEqual(logged, [
        "trace no context",
        "debug db: query",
        "info db: ready",
        "warn db: slow",
        "error db: lost",
        "critical db: ",
      ]);
      assert.equal(stderr, "");
      const lines = await runGuest(engine, "logging", { args: ["lines"] });
      assert.deepEqual(lines.logged, ["error a b: one two [31mred "]);
      const large = await runGuest(engine, "logging", { args: ["large", "100000"] });
      assert.deepEqual(large.logged, [`warn ${"c".repeat(256)}…: ${"m".repeat(8192)}…`]);
      const denied = await runGuest(engine, "logging", { grants: { stdio: false } });
      assert.deepEqual(denied.logged, []);
      assert.match(denied.notices.join(), /wasi:logging/);
    }),
);

Deno.test("logging: a flood is dropped and counted, and the guest goes on", () =>
  withEngine(async (engine) => {
    const { exit, stdout, logged, notices, usage } = await runGuest(engine, "logging", {
      args: ["flood", "50000"],
    });
    assert.equal(endOf(exit), "exit 0");
    assert.equal(stdout, "done\n");
    assert.equal(logged.length + usage.droppedLogLines, 50_000);
    assert.ok(usage.droppedLogLines > 0, `${logged.length} lines`);
    assert.equal(notices.filter((n) => n.includes("log lines are dropped")).length, 1);
    assert.deepEqual(logged.slice(0, 2), ["info flood: line 0", "info flood: line 1"]);
  }));
