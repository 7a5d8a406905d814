/**
 * Five machines under load that enters at one of them: a new release, a bad one, blue to green, a
 * machine that is drained and one that is killed. No request fails, but for those that the killed
 * machine had taken and that nobody may repeat.
 */
import assert from "node:assert/strict";
import { type Lane, Load } from "../../cli/demo/load.ts";
import { succeeded } from "./agent_process.ts";
import { withSandbox } from "./executable.ts";
import { isComplete, type Machine, REPLICAS, ShopRealm } from "./shop_realm.ts";

const NAMES = ["a", "b", "c", "d", "e"];
/** So many of each kind are under way at once. */
const READS = 4;
const WRITES = 2;

/** Requests that may be repeated and requests that may not, to one machine. */
function lanes({ proxy }: Machine): Lane[] {
  const read = (number: number): Lane => ({
    name: `read ${number}`,
    url: `${proxy}/healthz`,
    check: (body) => body === "ok\n" ? undefined : `body ${body}`,
  });
  const write = (number: number): Lane => ({
    name: `write ${number}`,
    url: `${proxy}/echo`,
    request: { method: "POST", body: `order ${number}` },
    check: (body) => body === `order ${number}` ? undefined : `body ${body}`,
  });
  return [
    ...Array.from({ length: READS }, (_, number) => read(number)),
    ...Array.from({ length: WRITES }, (_, number) => write(number)),
  ];
}

/** `wrk` asks as fast as it can until it is stopped: how many answers were no good, and of how many. */
function wrk(url: string): () => Promise<{ readonly answered: number; readonly lost: number }> {
  const child = new Deno.Command("wrk", {
    args: ["-t1", `-c${READS}`, "-d3600s", "--timeout", "60s", url],
    stdout: "piped",
  }).spawn();
  const stop = async () => {
    child.kill("SIGINT");
    const text = new TextDecoder().decode((await child.output()).stdout);
    console.log(text);
    const counts = (of: RegExp) => Number(of.exec(text)?.[1] ?? 0);
    const [errors = ""] = /Socket errors: .*/.exec(text) ?? [];
    const broken = errors.match(/\d+/g)?.map(Number) ?? [];
    const lost = broken.reduce((sum, count) => sum + count, counts(/3xx responses: (\d+)/));
    return { answered: counts(/(\d+) requests in/), lost };
  };
  let stopped: ReturnType<typeof stop> | undefined;
  return () => stopped ??= stop();
}

Deno.test("five machines under load: no request fails, but what the machine that is killed had taken", async (t) => {
  await withSandbox((sandbox) => ShopRealm.with(sandbox, NAMES, (realm) => play(t, realm)));
});

async function play(t: Deno.TestContext, realm: ShopRealm): Promise<void> {
  const [owner] = realm.machines as [Machine];
  const first = await realm.untilSpread();
  // One that runs nothing at first: all that it is asked goes to others.
  const entry = realm.machines.find(({ name }) => !first.includes(name) && name !== owner.name)!;
  const load = new Load(lanes(entry));
  const stopWrk = Deno.env.get("SLOW") === undefined ? undefined : wrk(`${entry.proxy}/healthz`);
  /** Under load, and each follows on those before it. */
  const step = async (name: string, run: () => Promise<void>) => {
    const before = load.answered;
    if (await t.step(name, run)) return assert.ok(load.answered > before, "there was load");
    await load.stop({ forgive: true });
    await stopWrk?.();
    throw new Error(`Each step follows on those before it: ${name}`);
  };
  const lostNone = () => assert.deepEqual(load.lost, []);
  /** A machine with a replica whose end ends neither the load nor the commands. */
  const busy = async () => {
    const placed = await realm.untilSpread();
    return realm.machines.findLast((each) =>
      placed.includes(each.name) && each !== entry && each !== owner
    )!;
  };

  await step("a new release comes", async () => {
    await realm.untilComplete(await realm.apply({ blue: { release: "two" } }));
    assert.deepEqual(await realm.releases(), new Set(["two"]));
    lostNone();
  });

  await step("a bad release goes back by itself", async () => {
    const version = await realm.apply({ blue: { release: "bad", code: 503 } });
    await realm.untilReturned(version);
    assert.deepEqual(await realm.releases(), new Set(["two"]));
    lostNone();
  });

  await step("blue is followed by green", async () => {
    const blue = { release: "two" };
    const green = { release: "three" };
    for (const weight of [10, 100]) {
      const labels = { blue: { ...blue, weight: 100 - weight }, green: { ...green, weight } };
      await realm.untilComplete(await realm.apply(labels));
    }
    assert.deepEqual(await realm.releases(), new Set(["three"]));
    await realm.untilComplete(await realm.apply({ green }));
    assert.deepEqual(await realm.releases(), new Set(["three"]));
    lostNone();
  });

  await step("a machine that is drained gives its replica away first", async () => {
    const drained = await busy();
    succeeded(await realm.realm("nodes", "drain", drained.name));
    await realm.untilIdle(drained);
    await realm.untilAll("the others run all of it", ({ settled }) => settled === REPLICAS);
    succeeded(await realm.realm("nodes", "undrain", drained.name));
    await realm.untilSpread();
    await realm.untilAll("all of it runs again", isComplete);
    lostNone();
  });

  await step("a machine that is killed loses what it had taken, at most", async () => {
    await realm.kill(await busy());
    await load.stop();
    const fast = await stopWrk?.();
    if (fast !== undefined) assert.equal(fast.lost, 0, `of ${fast.answered}`);
    // It had one request of each at most, and those that only read were asked elsewhere.
    const lost = load.counts.filter(({ lost }) => lost.length > 0);
    const isTaken = lost.every(({ name, lost: [why, ...more] }) =>
      more.length === 0 &&
      (name.startsWith("write") && why!.startsWith("status 502") || /reading a body/.test(why!))
    );
    assert.ok(isTaken, JSON.stringify(lost, null, 1));
    const { length } = lost;
    console.log(`five: ${load.answered} answered, ${length} lost on the machine that was killed`);
  });
}
