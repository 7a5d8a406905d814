/**
 * `kill -9` of an agent while a behavior makes its requests: each is made at most once.
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import type { EventVerdict } from "../../agent/control/apps_api.ts";
import { parsePublicKey } from "../../agent/kernel/key.ts";
import { succeeded, until } from "./agent_process.ts";
import { app, type Person, portOf, startPerson, topicOf } from "./app_machine.ts";
import { ROOT, type Sandbox, withSandbox } from "./executable.ts";

/** When the agent is killed. */
const MOMENTS = [
  "some time after somebody else began to ask for it",
  "some time after it began to be asked for",
  "when the request is there",
  "when half of the answer is gone",
  "some time after the answer",
  "when the answer is written down",
] as const;
type Moment = typeof MOMENTS[number];

const ROUNDS = MOMENTS.length * (Deno.env.get("SLOW") ? 10 : 1);
/** To ask takes a command, and two to write it down a few of these. */
const ASKED_MS_MAX = 500;
const ANSWERED_MS_MAX = 40;

/** No app reaches loopback; any other address of this machine may be granted as such. */
const ADDRESS = Deno.networkInterfaces().find(({ family, address }) =>
  family === "IPv4" && !address.startsWith("127.")
)?.address;

/** Whom the requests go to, one path for each round. */
class Host {
  /** How many came, by path. */
  readonly came = new Map<string, number>();
  /** What the next request meets. */
  moment: Moment = MOMENTS[0];
  kill: () => void = () => {};
  /** Some requests are never answered: nobody is left to hear it. */
  readonly #end = new AbortController();
  readonly #server = Deno.serve(
    { hostname: ADDRESS!, port: 0, onListen: () => {}, signal: this.#end.signal },
    (request) => this.#answer(new URL(request.url).pathname),
  );

  get url(): string {
    return `http://${ADDRESS}:${this.#server.addr.port}`;
  }

  #answer(path: string): Response | Promise<Response> {
    this.came.set(path, (this.came.get(path) ?? 0) + 1);
    switch (this.moment) {
      case "when the request is there":
        this.kill();
        return new Promise(() => {});
      case "when half of the answer is gone":
        return new Response(
          new ReadableStream({
            start: (controller) => controller.enqueue(new Uint8Array(1000)),
            pull: () => this.kill(),
          }, { highWaterMark: 0 }),
          { headers: { "content-length": "2000" } },
        );
      case "some time after the answer":
        setTimeout(this.kill, Math.random() * ANSWERED_MS_MAX);
        break;
    }
    return new Response("done");
  }

  async close(): Promise<void> {
    this.#end.abort();
    await this.#server.finished;
  }
}

/** Phase and status of every errand that a person's machine knows, by path. */
async function errands(sandbox: Sandbox, person: Person): Promise<Map<string, [number, bigint]>> {
  const { entries } = succeeded(await app(sandbox, person, "state", "errand", "errand/"));
  return new Map(entries.map(({ value }: { readonly value: string }) => {
    const bytes = Uint8Array.fromBase64(value);
    const url = new TextDecoder().decode(bytes.subarray(41));
    return [new URL(url).pathname, [bytes[0], new DataView(bytes.buffer).getBigUint64(1)]];
  }));
}
const ENDED = 2;

/** The fixture with a grant for this host. */
async function buildErrand({ folder, realm }: Sandbox, host: string): Promise<string> {
  const from = path.join(ROOT, "fixtures", "apps", "errand");
  const to = path.join(folder, "errand");
  await Deno.mkdir(to);
  for (const part of ["state-apply.wasm", "state-propose.wasm", "behavior.wasm"]) {
    await Deno.copyFile(path.join(from, part), path.join(to, part));
  }
  const manifest = await Deno.readTextFile(path.join(from, "bundle.toml"));
  await Deno.writeTextFile(
    path.join(to, "bundle.toml"),
    manifest.replace("https://errand.example", host),
  );
  const file = path.join(folder, "errand.bundle");
  succeeded(await realm("app", "build", to, "--output", file, "--json"));
  return file;
}

Deno.test({
  name: "a behavior makes a request at most once, whenever its agent is killed",
  ignore: ADDRESS === undefined,
  fn: () =>
    withSandbox(async (sandbox) => {
      const host = new Host();
      const file = await buildErrand(sandbox, host.url);
      const ann = await startPerson(sandbox, "ann");
      let bot = await startPerson(sandbox, "bot");
      const port = portOf(bot);
      succeeded(await app(sandbox, ann, "install", file, "--yes"));
      succeeded(await app(sandbox, ann, "create", "errand"));
      const { ticket } = succeeded(await app(sandbox, ann, "invite", "errand"));
      const words = ["join", ticket, "--name", "errand", "--yes", "--wait", "60s"];
      succeeded(await app(sandbox, bot, ...words));
      const { behaviorKey } = await topicOf(sandbox, bot, "errand");
      const key = parsePublicKey(behaviorKey!).toHex();

      for (let round = 0; round < ROUNDS; round++) {
        const moment = MOMENTS[round % MOMENTS.length]!;
        const about = `round ${round}, killed ${moment}`;
        let isDead = false;
        host.moment = moment;
        host.kill = () => {
          bot.running.kill("SIGKILL");
          bot.running.ended.then(() => isDead = true);
        };
        const asker = moment === MOMENTS[0] || round % 4 === 3 ? ann : bot;
        const asked = app(sandbox, asker, "call", "errand", "ask", `${key} ${host.url}/${round}`);
        if (moment === MOMENTS[0] || moment === MOMENTS[1]) {
          setTimeout(host.kill, Math.random() * ASKED_MS_MAX);
        } else if (moment === "when the answer is written down") {
          await until(`${about}: it is`, async () => {
            const [phase] = (await errands(sandbox, bot)).get(`/${round}`) ?? [];
            return phase === ENDED;
          });
          host.kill();
        }
        await until(`${about}: it is dead`, () => isDead, { everyMs: 10 });
        // One that was asked of the agent that died may be there without anybody having heard of it.
        const isSure = (await asked).status === 0;

        host.moment = "when the answer is written down";
        bot = await startPerson(sandbox, "bot", port);
        const all = await until(`${about}: all are ended`, async () => {
          const all = await errands(sandbox, bot).catch(() => undefined);
          const isHere = !isSure || all?.has(`/${round}`);
          return isHere && [...all?.values() ?? []].every(([phase]) => phase === ENDED) && all;
        }, { atMostMs: 120_000 });
        for (const [path, [, status]] of all) {
          const came = host.came.get(path) ?? 0;
          assert.ok(came <= 1, `${about}: ${path} came ${came} times`);
          assert.ok(status === 0n || status === 200n && came === 1, `${about}: ${path}: ${status}`);
        }
        const [, status] = all.get(`/${round}`) ?? [];
        if (moment === "when the answer is written down") assert.equal(status, 200n, about);
        if (moment === "when the request is there") assert.equal(status, 0n, about);
        if (moment === "when half of the answer is gone") assert.equal(status, 0n, about);
      }
      const [mine, hers] = await until("both have the same", async () => {
        const both = await Promise.all([bot, ann].map((each) => topicOf(sandbox, each, "errand")));
        return both[0]!.settled && both[0]!.digest === both[1]!.digest && both;
      });
      assert.equal(mine!.digest, hers!.digest);
      assert.ok([...host.came.values()].every((came) => came === 1));
      // It never went by less of the state than it had stored, or it would do again what it did.
      const { events } = succeeded(await app(sandbox, ann, "log", "errand"));
      const rejected = events.filter(({ verdict }: EventVerdict) => verdict === "rejected");
      assert.deepEqual(rejected, []);
      await host.close();
    }),
});
