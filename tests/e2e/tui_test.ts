/**
 * The dashboard in a real terminal (tmux), in several sizes, also by way of SSH, with a realm that is
 * simulated.
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import { serveControl } from "../../agent/control/server.ts";
import { SimulatedApi } from "../simulated_realm.ts";
import { sleep, until } from "./agent_process.ts";
import { EXECUTABLE, start, withSandbox } from "./executable.ts";

const isThere = async (program: string, ...args: string[]) =>
  await new Deno.Command(program, { args, stdout: "null", stderr: "null" }).output()
    .then(({ success }) => success, () => false);
const HAS_TMUX = await isThere("tmux", "-V");
const SSHD = "/usr/sbin/sshd";
const HAS_SSHD = await Deno.stat(SSHD).then(() => true, () => false) && await isThere("ssh", "-V");

const WAIT = { everyMs: 100, atMostMs: 60_000 };

/** A terminal of its own, in which a shell command runs. */
class Terminal {
  readonly #socket: string;

  private constructor(socket: string) {
    this.#socket = socket;
  }

  static async open(
    folder: string,
    command: string,
    { columns, rows }: { columns: number; rows: number },
  ): Promise<Terminal> {
    const terminal = new Terminal(path.join(folder, "tmux.sock"));
    // What was on the screen before has to be there afterwards.
    const script = `echo before; ${command}; echo ended $?; exec sleep 600`;
    const size = ["-x", String(columns), "-y", String(rows)];
    await terminal.#tmux("-f", "/dev/null", "new-session", "-d", ...size, script);
    return terminal;
  }

  /** The lines of the screen without the spaces at their ends. */
  async lines(): Promise<string[]> {
    return (await this.#tmux("capture-pane", "-p")).split("\n").slice(0, -1);
  }

  /** Colours that are on the screen: the codes that set them. */
  async colours(): Promise<string[]> {
    const text = await this.#tmux("capture-pane", "-p", "-e");
    // deno-lint-ignore no-control-regex
    return [...text.matchAll(/\x1b\[([\d;]*)m/g)].map(([, codes]) => codes!)
      .filter((codes) => /(^|;)[34][0-8](;|$)/.test(codes));
  }

  /** Resolves with the lines when the screen matches. */
  async until(pattern: RegExp): Promise<string[]> {
    let lines: string[] = [];
    await until(`${pattern} on the screen`, async () => {
      lines = await this.lines();
      return pattern.test(lines.join("\n"));
    }, WAIT).catch((error) => assert.fail(`${error.message}:\n${lines.join("\n")}`));
    return lines;
  }

  /** Resolves when the screen matches and is one whole frame of this size. */
  async untilWhole(pattern: RegExp, columns: number, rows: number): Promise<void> {
    let lines: string[] = [];
    await until(`${pattern} on a whole screen`, async () => {
      lines = await this.lines();
      return pattern.test(lines.join("\n")) && isWhole(lines, columns, rows);
    }, WAIT).catch((error) => assert.fail(`${error.message}:\n${lines.join("\n")}`));
  }

  async type(...keys: string[]): Promise<void> {
    await this.#tmux("send-keys", ...keys);
  }

  async resize(columns: number, rows: number): Promise<void> {
    await this.#tmux("resize-window", "-x", String(columns), "-y", String(rows));
  }

  async isCursorShown(): Promise<boolean> {
    return (await this.#tmux("display-message", "-p", "#{cursor_flag}")).trim() === "1";
  }

  async close(): Promise<void> {
    await this.#tmux("kill-server").catch(() => {}); // it may be gone
  }

  async #tmux(...args: string[]): Promise<string> {
    const environment = {
      HOME: path.dirname(this.#socket),
      TERM: "xterm-256color",
      LANG: "C.UTF-8",
    };
    const { status, stdout, stderr } = await start("tmux", ["-u", "-S", this.#socket, ...args], {
      env: environment,
    }).ended;
    assert.equal(status, 0, stderr);
    return stdout;
  }
}

/** A simulated realm in a folder, and a terminal on which a command is run. */
async function withTerminal(
  of: { nodes: number; components: number; columns: number; rows: number },
  commandOf: (data: string, folder: string, api: SimulatedApi) => Promise<string> | string,
  test: (terminal: Terminal, api: SimulatedApi) => Promise<void>,
): Promise<void> {
  await withSandbox(async ({ folder }) => {
    const data = path.join(folder, "data");
    await Deno.mkdir(data, { mode: 0o700 });
    const api = new SimulatedApi(of.nodes, of.components, 50);
    const server = await serveControl({ path: path.join(data, "control.sock"), api });
    const terminal = await Terminal.open(folder, await commandOf(data, folder, api), of);
    try {
      await test(terminal, api);
    } finally {
      await terminal.close();
      await server.close();
    }
  });
}

const tui = (data: string) => `'${EXECUTABLE}' tui --data '${data}'`;

/**
 * Whether a screen is one frame and nothing of those before: one header, one line of views, one of
 * keys. While a frame is being drawn it is not.
 */
function isWhole(lines: readonly string[], columns: number, rows: number): boolean {
  const count = (pattern: RegExp) => lines.filter((line) => pattern.test(line)).length;
  return lines.length === rows && lines.every((line) => [...line].length <= columns) &&
    /^ realm /.test(lines[0]!) && /^ 1 /.test(lines[1]!) && /^ ↑↓ select/.test(lines.at(-1)!) &&
    [/^ realm /, /^ 1 /, /^ ↑↓ select/].every((pattern) => count(pattern) === 1);
}

Deno.test({
  name: "the dashboard fills a terminal of any size, and leaves it as it was",
  ignore: !HAS_TMUX,
  fn: () =>
    withTerminal({ nodes: 3, components: 12, columns: 80, rows: 24 }, tui, async (terminal) => {
      await terminal.untilWhole(/▸ node-001 \*[^]*round trip/, 80, 24);
      assert.ok((await terminal.colours()).length > 0);
      await terminal.type("2");
      await terminal.untilWhole(/▸ audit-001 [^]*audit-001 answered request/, 80, 24);
      await terminal.resize(200, 50);
      await terminal.untilWhole(/COMPONENT .* LAST EXIT\n/, 200, 50);
      await terminal.resize(60, 15);
      await terminal.untilWhole(/^ 1 +2 components +3 /m, 60, 15);
      await terminal.resize(80, 24);
      await terminal.untilWhole(/^ 1 map {2}2 components[^]*log of audit-001/m, 80, 24);

      await terminal.type("Down", "r");
      await terminal.until(/Restart all replicas of auth-001\? y\/n\s*$/);
      await terminal.type("y");
      await terminal.until(/Cannot sign: there is no key/);
      await terminal.type("Enter");
      await terminal.until(/^── log of auth-001 ─[^]*request 1\d/m);
      await terminal.type("/", "request 1", "Enter");
      await terminal.until(/log of auth-001, paused[^]*"request 1" \d+ of \d+/);
      await terminal.type("q");
      const after = await terminal.until(/ended 0/);
      assert.equal(after.join("\n").trim(), "before\nended 0");
      assert.ok(await terminal.isCursorShown());
    }),
});

Deno.test({
  name: "the dashboard shows a hundred nodes and a thousand components, and finds one",
  ignore: !HAS_TMUX,
  fn: () =>
    withTerminal({ nodes: 100, components: 1000, columns: 80, rows: 24 }, tui, async (terminal) => {
      await terminal.until(/NODE 1\/100 [^]*97 live ● {2}3 silent|98 live ●/);
      await terminal.type("2");
      await terminal.until(/COMPONENT 1\/1000/);
      await terminal.type("/", "images-07", "Enter");
      await terminal.until(/COMPONENT 1\/10 [^]*▸ images-070 [^]*only "images-07"/);
      await terminal.type("C-c");
      await terminal.until(/ended 0/);
    }),
});

Deno.test({
  name: "the dashboard without colours has none, and says that the agent is away",
  ignore: !HAS_TMUX,
  fn: () =>
    withTerminal(
      { nodes: 1, components: 2, columns: 80, rows: 24 },
      (data) => `NO_COLOR=1 ${tui(data)}`,
      async (terminal, api) => {
        await terminal.until(/▸ audit-001|▸ auth-001/);
        assert.deepEqual(await terminal.colours(), []);
        api.failing = new Error("ill");
        await terminal.until(/○ reconnecting/);
        api.failing = undefined;
        await terminal.until(/● connected/);
        await terminal.type("q");
        await terminal.until(/ended 0/);
      },
    ),
});

Deno.test({
  name: "an app fills the terminal, does what is pressed, and leaves it as it was",
  ignore: !HAS_TMUX,
  fn: () =>
    withTerminal(
      { nodes: 1, components: 1, columns: 80, rows: 24 },
      (data, _folder, api) => {
        const node = (kind: string, text: string, id = "") => ({ parent: 0, kind, text, id });
        api.answers.topics = { topics: api.status().topics };
        api.answers.view = {
          nodes: [node("column", ""), node("heading", "Where?"), node("button", "here", "go")],
          calls: [],
        };
        api.answers.closeView = {};
        return `'${EXECUTABLE}' app open lunch --data '${data}'`;
      },
      async (terminal, api) => {
        await terminal.until(/poll: lunch[^]*Where\?[^]*\[ here \]/);
        await terminal.resize(60, 12);
        await terminal.type("Enter");
        await until(
          "the button is pressed",
          () =>
            api.calls.some((call) => JSON.stringify(call).includes('{"tag":"press","val":"go"}')),
          WAIT,
        );
        await terminal.type("Escape");
        await terminal.until(/before\s+ended 0\s*$/);
      },
    ),
});

Deno.test({
  name: "the dashboard works through SSH",
  ignore: !HAS_TMUX || !HAS_SSHD,
  fn: async () => {
    let server: Deno.ChildProcess | undefined;
    try {
      await withTerminal(
        { nodes: 3, components: 12, columns: 80, rows: 24 },
        async (data, folder) => {
          const { child, command } = await startSshd(folder);
          server = child;
          return `${command} "TERM=xterm-256color ${tui(data)}"`;
        },
        async (terminal) => {
          await terminal.untilWhole(/▸ node-001 \*[^]*round trip/, 80, 24);
          await terminal.resize(120, 30);
          await terminal.untilWhole(/FINGERPRINT|PROGRAM/, 120, 30);
          await terminal.type("2");
          await terminal.until(/▸ audit-001 [^]*answered request/);
          await terminal.type("q");
          await terminal.until(/ended 0/);
        },
      );
    } finally {
      server?.kill("SIGTERM");
      await server?.status;
    }
  },
});

/** A server of SSH as a normal process on loopback, for one key; and how to run a command there. */
async function startSshd(
  folder: string,
): Promise<{ child: Deno.ChildProcess; command: string }> {
  const keys = path.join(folder, "ssh");
  await Deno.mkdir(keys, { mode: 0o700 });
  for (const name of ["host", "user"]) {
    const args = ["-q", "-t", "ed25519", "-N", "", "-f", path.join(keys, name)];
    assert.equal((await start("ssh-keygen", args).ended).status, 0);
  }
  // It wants this folder when it runs as root, as it may in a container.
  if (Deno.uid() === 0) await Deno.mkdir("/run/sshd", { recursive: true, mode: 0o755 });
  for (let attempt = 0; attempt < 5; attempt++) {
    // sshd cannot say which port it took.
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    listener.close();
    const settings = {
      ListenAddress: `127.0.0.1:${port}`,
      HostKey: path.join(keys, "host"),
      AuthorizedKeysFile: path.join(keys, "user.pub"),
      PidFile: "none",
      StrictModes: "no",
      UsePAM: "no",
      PermitRootLogin: "yes",
      PasswordAuthentication: "no",
    };
    const child = new Deno.Command(SSHD, {
      args: [
        "-D",
        "-e",
        "-f",
        "/dev/null",
        ...Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`]),
      ],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    let isOver = false;
    child.status.then(() => isOver = true);
    for (let i = 0; i < 300 && !isOver; i++) {
      const isUp = await Deno.connect({ hostname: "127.0.0.1", port })
        .then((connection) => (connection.close(), true), () => false);
      if (!isUp) {
        await sleep(100);
        continue;
      }
      const options = [
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
        "IdentitiesOnly=yes",
      ].map((option) => `-o ${option}`).join(" ");
      const key = path.join(keys, "user");
      return { child, command: `ssh -tt -F none ${options} -i '${key}' -p ${port} 127.0.0.1` };
    }
    if (!isOver) child.kill("SIGTERM");
    await child.status;
  }
  throw new Error("Cannot start sshd");
}
