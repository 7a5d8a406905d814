/**
 * The web page in headless Chromium: every button against a realm of three agents, and, over an
 * agent that is made up, logs that pour and a large realm. Where there is no Chromium all of it is
 * skipped; what needs no browser is tested in `web/`.
 *
 * With `SCREENSHOTS` set to a folder, pictures of the views are left there to be looked at.
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import type { Status } from "../../agent/control/api.ts";
import { connectControl } from "../../agent/control/client.ts";
import { serveControl } from "../../agent/control/server.ts";
import { systemClock } from "../../agent/node/system_clock.ts";
import { pageFiles } from "../../web/files.ts";
import { FakeRealm } from "../../web/realm_fake.ts";
import { serveUi } from "../../web/server.ts";
import { RealmError } from "../../agent/kernel/error.ts";
import { SimulatedApi } from "../simulated_realm.ts";
import { type Browser, CHROMIUM, type Page, startBrowser } from "../browser.ts";
import { succeeded, until } from "./agent_process.ts";
import { type Running, type Sandbox, withSandbox } from "./executable.ts";

const ignore = CHROMIUM === undefined;

async function withBrowser(run: (browser: Browser) => Promise<void>): Promise<void> {
  const browser = await startBrowser();
  try {
    await run(browser);
  } finally {
    await browser.close();
  }
}

/** Pictures in the sizes and colours that people have. */
async function picture(page: Page, name: string): Promise<void> {
  const folder = Deno.env.get("SCREENSHOTS");
  if (folder === undefined) return;
  await Deno.mkdir(folder, { recursive: true });
  for (const dark of [false, true]) {
    for (const [device, width, height] of [["desktop", 1280, 860], ["phone", 390, 844]] as const) {
      const mobile = device === "phone";
      await page.resize(width, height, { mobile, dark, scale: mobile ? 2 : 1 });
      await new Promise((resolve) => setTimeout(resolve, 300));
      await page.screenshot(`${folder}/${name}-${device}-${dark ? "dark" : "light"}.png`);
    }
  }
  await page.resize(1280, 860);
}

interface Machine {
  readonly name: string;
  readonly data: string;
  readonly running: Running;
}

async function startMachine(sandbox: Sandbox, name: string, ...args: string[]): Promise<Machine> {
  const data = path.join(sandbox.folder, name);
  await Deno.mkdir(data, { mode: 0o700, recursive: true });
  await sandbox.shareCache(data);
  const at = ["--http", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0"];
  const running = sandbox.start("agent", "--json", "--data", data, "--name", name, ...at, ...args);
  if (await running.line() === null) {
    assert.fail(`${name} did not start: ${(await running.ended).stderr}`);
  }
  return { name, data, running };
}

const MANIFEST = `
[nodes.a]
tags = ["t"]
[nodes.b]
tags = ["t"]
[nodes.c]
tags = ["t"]
[components.shop]
source = "file:./http-counter.wasm"
world = "wasi:http/proxy"
[components.worker]
source = "file:./worker.wasm"
world = "wasi:cli/command"
clock = true
args = ["0", "50"]
[routing]
"tag:t" = [{ path = "/...", component = "shop", replicas = 3 }]
`;

const statusOf = async (sandbox: Sandbox, { data }: { readonly data: string }): Promise<Status> =>
  succeeded(await sandbox.realm("status", "--json", "--data", data));

Deno.test({
  name: "the page shows a realm of three agents, and every button does what it says",
  ignore,
  fn: (t) =>
    withSandbox((sandbox) =>
      withBrowser(async (browser) => {
        // What follows a step that failed would only wait in vain.
        const step = async (name: string, run: () => unknown) => {
          assert.ok(await t.step({ name, fn: async () => void await run() }), name);
        };
        await sandbox.fixtures("http-counter", "worker");
        const home = path.join(sandbox.folder, "a");
        const init = await sandbox.realm("init", "--data", home, "--name", "shop", "--json");
        const { owner } = succeeded(init);
        const realm = (...words: string[]) => sandbox.realm(...words, "--json", "--data", home);
        const a = await startMachine(sandbox, "a", "--owner", owner);
        const manifest = `[owner]\npubkey = "${owner}"\n[realm]\nname = "shop"\n${MANIFEST}`;
        await Deno.writeTextFile(path.join(sandbox.folder, "realm.toml"), manifest);
        succeeded(await realm("apply", "realm.toml", "--yes"));
        const { ticket } = succeeded(await realm("invite"));
        for (const name of ["b", "c"]) {
          await startMachine(sandbox, name, "--ticket", ticket);
          await until(`${name} asks to join`, async () =>
            (await statusOf(sandbox, a)).nodes.some((n) =>
              n.name === name && n.state === "pending"
            ));
          succeeded(await realm("nodes", "approve", name));
        }
        const shop = async () =>
          (await statusOf(sandbox, a)).components.find(({ name }) => name === "shop")!;
        await until("one runs on each", async () =>
          (await shop()).placed.filter(({ running }) => running === 1).length === 3);

        const ui = sandbox.start("ui", "--json", "--data", home);
        const { link, url } = JSON.parse((await ui.line())!);
        const page = await browser.page();
        await page.resize(1280, 860);

        await step("the link logs in, is gone from the address, and is good once", async () => {
          await page.goto(link);
          await page.sees("Kingdom");
          await page.until("all machines are live", seen("Machines\n3 of 3 live"));
          assert.equal(await page.evaluate("location.href"), url);
          const again = await browser.page();
          await again.goto(link);
          await again.sees("the link was used already");
          assert.doesNotMatch(await again.evaluate("document.body.innerText"), /shop|Kingdom/);
          await page.send("Page.bringToFront");
          // The tab keeps its session; another has none.
          await page.send("Page.reload");
          await page.sees("Kingdom");
        });
        await picture(page, "overview");

        await step("the map has every machine, and leads to it", async () => {
          await page.until(
            "the three",
            `[..."abc"].every((name) =>
            document.querySelector('.map a[aria-label^="' + name + ':"]') !== null)`,
          );
          await page.until(
            "how long it takes from one to another",
            `
            [...document.querySelectorAll(".map .latency")].some((e) => / ms$/.test(e.textContent))`,
          );
          await page.evaluate(`document.querySelector('.map a[aria-label^="c:"]').focus()`);
          await page.press("Enter");
          await page.sees("Fingerprint");
        });

        await step("drain and undrain", async () => {
          const drained = async () =>
            (await statusOf(sandbox, a)).nodes.find(({ name }) =>
              name === "c"
            )!.drained;
          await page.click("Drain c");
          await page.sees("Drain c?");
          await picture(page, "dialog");
          await page.click("Drain");
          await page.sees("c: drained");
          assert.equal(await drained(), true);
          await page.click("Undrain c");
          await page.click("Cancel");
          assert.equal(await drained(), true, "nothing is done that was not confirmed");
          await page.click("Undrain c");
          await page.click("Undrain");
          await page.sees("c: undrained");
          assert.equal(await drained(), false);
          await page.click("Close this notice");
          await page.until("it is closed", "document.querySelector('.banner') === null");
        });

        await step("a change from elsewhere is seen", async () => {
          await page.click("Components");
          await page.until("three run", rowOf("shop", "3/3"));
          await page.evaluate(`new MutationObserver((_, o) => {
            if (!${rowOf("shop", "set by hand")}) return;
            window.seenAtMs = Date.now();
            o.disconnect();
          }).observe(document.body, { subtree: true, childList: true, characterData: true })`);
          succeeded(await realm("scale", "shop", "4"));
          const doneAtMs = Date.now();
          const seenAtMs = await page.until("it is seen", "window.seenAtMs");
          console.log(`seen ${seenAtMs - doneAtMs} ms after the command had ended`);
          await page.until("it runs", rowOf("shop", "4/4"));
        });
        await picture(page, "components");

        await step("scale, everywhere, on one node, and back to the manifest", async () => {
          await page.click("Scale shop");
          await page.until("the dialog is open", "document.querySelector('dialog').open");
          await page.click("Replicas (empty: as in the manifest)");
          await page.type("5");
          await page.press("Enter");
          await page.sees("shop: 5 wanted, until the manifest changes it");
          await page.until("five run", rowOf("shop", "5/5"));
          await page.click("Scale shop");
          await page.click("Scale");
          await page.sees("shop: 3 wanted, as in the manifest");
          await page.click("shop");
          await page.sees("On each node");
          await page.click("Scale shop on b");
          await page.click("Replicas (empty: as in the manifest)");
          await page.type("2");
          await page.click("Scale");
          await page.sees("shop: 2 wanted on b");
          await until("two on b", async () =>
            (await shop()).placed.find(({ node }) => node === "b")!.replicas === 2);
        });

        await step("restart, everywhere and on one node", async () => {
          const startedAt = async () =>
            (await statusOf(sandbox, a)).replicas.find(({ component }) =>
              component === "shop"
            )!
              .startedAtMs;
          const before = await startedAt();
          await page.click("Restart shop on a");
          await page.click("Restart");
          await page.sees("shop: restarted 1 replica");
          const between = await until("it is started anew", async () => {
            const at = await startedAt();
            return at !== null && at !== before && at;
          });
          await page.click("Restart shop");
          await page.click("Restart");
          await page.sees("shop: restarted 4 replicas");
          await until("it is started anew", async () => {
            const at = await startedAt();
            return at !== null && at !== between;
          });
        });
        await picture(page, "component");

        await step("the log is followed, searched and paused", async () => {
          await page.click("Components");
          await page.click("Log of worker");
          await page.until("it ticks", seen("tick "));
          const lastLine = "[...document.querySelectorAll('.lines > div')].at(-1)?.innerText";
          const line = await page.evaluate(lastLine);
          await page.until("it goes on", `${lastLine} !== ${JSON.stringify(line)}`);
          await page.click("Search");
          await page.type("warning");
          await page.until(
            "only what fits",
            `(() => {
            const lines = [...document.querySelectorAll(".lines > div")];
            return lines.length > 0 && lines.every((e) => e.innerText.includes("warning"));
          })()`,
          );
          await page.click("Pause");
          await page.until("lines wait", `/Go on \\([1-9]/.test(document.body.innerText)`);
          const shown = await page.evaluate(lastLine);
          await page.until("more wait", `/Go on \\([1-9]\\d/.test(document.body.innerText)`);
          assert.equal(await page.evaluate(lastLine), shown);
          await page.evaluate(`document.querySelector("button[aria-pressed=true]").click()`);
          await page.until("it goes on", `${lastLine} !== ${JSON.stringify(shown)}`);
        });
        await picture(page, "logs");

        await step("history, a plan to go back, and one of a file", async () => {
          await page.click("History");
          await page.sees("in force");
          await page.click("Plan version 1");
          await page.sees("Plan: back to version 1");
          await page.click("Close the plan");
          const file = path.join(sandbox.folder, "other.toml");
          await Deno.writeTextFile(file, manifest.replace("replicas = 3", "replicas = 1"));
          await page.send("DOM.enable");
          const { root } = await page.send("DOM.getDocument");
          const input = { nodeId: root.nodeId, selector: "input[type=file]" };
          const { nodeId } = await page.send("DOM.querySelector", input);
          await page.send("DOM.setFileInputFiles", { nodeId, files: [file] });
          await page.sees("Plan: other.toml");
          await page.sees("replicas: 3 → 1");
        });
        await picture(page, "history");

        await step(
          "the realm is seen from another machine, and from the first again",
          async () => {
            await page.click("Overview");
            await page.evaluate(`(() => {
            const select = document.querySelector("header select");
            select.value = "b";
            select.dispatchEvent(new Event("change"));
          })()`);
            await page.sees("The last hour of b");
            await page.click("Components");
            await page.click("shop");
            await page.until("its replicas there", seen("shop/1"));
            await page.evaluate(`(() => {
            const select = document.querySelector("header select");
            select.value = "a";
            select.dispatchEvent(new Event("change"));
          })()`);
            await page.click("Overview");
            await page.sees("The last hour of a");
          },
        );

        await step("charts have points, apps say that there are none", async () => {
          await page.until(
            "a line",
            `document.querySelector(".line")?.getAttribute("d").includes("L")`,
          );
          await page.click("Apps");
          await page.sees("No topics");
        });

        await step("it says that the agent is gone, and goes on when it is back", async () => {
          a.running.kill("SIGTERM");
          await a.running.ended;
          await page.sees("no answer");
          await startMachine(sandbox, "a");
          await page.until("it is live again", `!document.body.innerText.includes("no answer")`);
        });

        await step("nothing was refused by the policy, and nobody else was asked", () => {
          const { origin } = new URL(url);
          const others = page.requests.filter((each) => !each.startsWith(origin));
          assert.deepEqual(others, []);
          // What is not reached is no problem of the page: it said so, above.
          assert.deepEqual(page.problems.filter((each) => !/503|Failed to load/.test(each)), []);
        });
        ui.kill("SIGTERM");
        assert.equal((await ui.ended).status, 0);
      })
    ),
});

/** An expression: the text is seen. */
function seen(text: string): string {
  return `document.body.innerText.includes(${JSON.stringify(text)})`;
}

/** An expression: the row of a component has this text. */
function rowOf(component: string, text: string): string {
  return `[...document.querySelectorAll("tbody tr")].some((row) =>
    row.querySelector("th").innerText === ${JSON.stringify(component)} &&
    row.innerText.includes(${JSON.stringify(text)}))`;
}

/** The page over a made-up agent, which is asked over a real socket. */
async function withFake(
  api: SimulatedApi,
  run: (page: Page, link: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "realm-web-" });
  const control = await serveControl({ path: `${folder}/c/control.sock`, api, closeTimeoutMs: 50 });
  const client = connectControl(control.socketPath);
  const realm = new FakeRealm();
  realm.agent = (node) =>
    node === undefined
      ? Promise.resolve(client)
      : Promise.reject(new RealmError("unreachable", `Cannot reach node ${node}`));
  const server = serveUi({ realm, files: await pageFiles(), clock: systemClock, port: 0 });
  try {
    await withBrowser(async (browser) => {
      const page = await browser.page();
      await page.resize(1280, 860);
      await run(page, server.link());
    });
  } finally {
    await server.close();
    client.close();
    await control.close();
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test({
  name: "a log of 10,000 lines a second is followed, and the page stays quick",
  ignore,
  fn: async () => {
    const api = new SimulatedApi(3, 8, 10_000);
    await withFake(api, async (page, link) => {
      await page.goto(link);
      await page.sees("Kingdom");
      await page.evaluate(`location.hash = "#/logs/auth-001"`);
      await page.until("lines come", seen("answered request"));
      const last = `Number(/request (\\d+) /.exec(
        [...document.querySelectorAll(".lines > div")].at(-1)?.innerText)?.[1] ?? 0)`;
      // A page that fell behind would never come to here; one that froze would not answer.
      await page.until("it has shown 50,000 of them", `${last} >= 50_000`);
      assert.ok(await page.evaluate("document.querySelectorAll('.lines > div').length") <= 400);
      await page.click("Search");
      await page.type("7 of");
      await page.until(
        "it searches meanwhile",
        `[...document.querySelectorAll(".lines > div")]
        .every((line) => line.innerText.includes("7 of"))`,
      );
      await page.click("Pause");
      await page.until("it waits", seen("Go on"));
      const memory = await page.send("Runtime.getHeapUsage");
      console.log(`${Math.round(memory.usedSize / 1e6)} MB of heap`);
      assert.deepEqual(page.problems, []);
    });
  },
});

Deno.test({
  name: "a hundred machines and a thousand components are shown, kept fresh, and cost little",
  ignore,
  fn: async () => {
    const api = new SimulatedApi(100, 1_000, 100);
    await withFake(api, async (page, link) => {
      await page.goto(link);
      await page.until(
        "all machines are on the map",
        `document.querySelectorAll(".map a").length === 100`,
      );
      await picture(page, "large-overview");
      await page.click("Components");
      await page.sees("100 of 1000 are shown");
      await picture(page, "large-components");
      await page.click("Filter");
      await page.type("feed-042");
      await page.until("one is found", `document.querySelectorAll("tbody tr").length === 1`);
      await page.evaluate(`(() => {
        const input = document.querySelector("input[type=search]");
        input.value = "";
        input.dispatchEvent(new Event("input"));
      })()`);
      await page.evaluate(`(() => {
        const select = document.querySelector("header select");
        select.value = "node-037";
        select.dispatchEvent(new Event("change"));
      })()`);
      await page.sees("Cannot reach node node-037");
      await page.until("the first is asked again", seen("100 of 1000 are shown"));
      const told = page.problems.splice(0); // what the browser itself says of that answer
      assert.ok(told.every((each) => /503/.test(each)), told.join());
      for (const view of ["Overview", "Components"]) {
        await page.click(view);
        await page.send("Performance.enable", { timeDomain: "threadTicks" });
        const busySec = async () => {
          const { metrics } = await page.send("Performance.getMetrics");
          const of = (name: string) =>
            metrics.find((each: { name: string }) => each.name === name).value;
          return of("TaskDuration");
        };
        const [before, began] = [await busySec(), performance.now()];
        await new Promise((resolve) => setTimeout(resolve, 5_000));
        const part = (await busySec() - before) / (performance.now() - began) * 1_000;
        console.log(`${view}: ${(part * 100).toFixed(1)} % of a core in the page`);
      }
      assert.deepEqual(page.problems, []);
    });
  },
});
