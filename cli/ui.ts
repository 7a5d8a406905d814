/**
 * `realm ui`: the web page, for this person, on this machine.
 *
 * @module
 */
import type { ControlClient } from "../agent/control/client.ts";
import { RealmError } from "../agent/kernel/error.ts";
import type { RemoteAgent } from "../agent/member/remote_agent.ts";
import type { UiRealm } from "../web/server.ts";
import type { Author } from "./author.ts";
import { command } from "./command.ts";
import { withAgent } from "./connection.ts";
import type { Context } from "./context.ts";
import { fileOf } from "./key.ts";
import { defaulted, optional, parseInteger, parseText } from "./parameters.ts";

/** Other nodes that are asked at a time; each takes a connection of its own. */
const REMOTES_MAX = 4;

export const ui = command({
  brief: "Serve a web page of the realm on this machine, for its user",
  description:
    "Prints a link that logs in once: open it in a browser here, or through ssh -L. The page shows " +
    "machines, components, logs, charts, apps and history; restart, scale and drain are signed " +
    "here with the owner's key, or an operator's. Press Enter for another link. It serves until it " +
    "is interrupted.",
  flags: {
    port: defaulted("Port on 127.0.0.1; 0 takes a free one", "PORT", parseInteger(0, 65_535), "0"),
    key: optional("Sign with this key, an operator's (default: the owner's)", "FILE", parseText),
  },
  async run(context, { port, key }) {
    const { unlock } = await import("./passphrase.ts");
    await unlock(context, fileOf(context, key)); // who orders something sits at a browser by then
    await withAgent(context, async (agent) => {
      const { node } = await agent.status(); // where there is no agent, say so now
      const { pageFiles } = await import("../web/files.ts");
      const { serveUi } = await import("../web/server.ts");
      const { systemClock } = await import("../agent/node/system_clock.ts");
      const files = await pageFiles();
      // What a browser sends is handled from here on: no program is ever started for it.
      context.keepPermissions("read", "write", "net", "env", "sys");
      const realm = new PersonsRealm(context, agent, node.name, key);
      const server = serveUi({ realm, files, clock: systemClock, port });
      const signal = context.shell.interrupted();
      try {
        const printLink = () => {
          const link = server.link();
          context.printLine({ node: node.name, url: server.url, link }, () => link);
        };
        printLink();
        if (context.shell.terminal.stdin && !context.json) {
          context.note("Open the link in a browser; it works once. Press Enter for another one.");
          void printAtEnter(context, printLink);
        }
        await new Promise<void>((resolve) => {
          if (signal.aborted) return resolve();
          signal.addEventListener("abort", () => resolve(), { once: true });
        });
      } finally {
        await server.close();
        await realm.close();
      }
    }, key);
  },
});

/** Until there is no more input. */
async function printAtEnter({ shell }: Context, print: () => void): Promise<void> {
  const signal = shell.interrupted();
  while (await shell.readLine() !== null && !signal.aborted) print();
}

/** The realm as the person of this command line sees and changes it. */
export class PersonsRealm implements UiRealm {
  readonly #remotes = new Map<string, Promise<RemoteAgent>>();
  readonly #closing = new Set<Promise<void>>();

  constructor(
    readonly context: Context,
    readonly own: ControlClient,
    /** The name of the node that answers. */
    readonly nodeName: string,
    readonly keyFile: string | undefined,
    /** Connects to another node. */
    readonly connect = (name: string): Promise<RemoteAgent> => this.#connect(name),
  ) {}

  async agent(name: string | undefined): Promise<ControlClient> {
    if (name === undefined || name === this.nodeName) return this.own;
    const known = this.#remotes.get(name);
    if (known !== undefined) {
      const { client } = await known;
      try {
        await client.status(); // it may have gone since, and be back by now
        return client;
      } catch (error) {
        if (!(error instanceof RealmError) || error.code !== "unreachable") throw error;
        if (this.#remotes.get(name) === known) this.#drop(name); // else another request did
      }
    }
    const { client } = await (this.#remotes.get(name) ?? this.#remember(name));
    return client;
  }

  #remember(name: string): Promise<RemoteAgent> {
    const remote = this.connect(name);
    this.#remotes.set(name, remote);
    remote.catch(() => {
      if (this.#remotes.get(name) === remote) this.#remotes.delete(name);
    });
    for (const oldest of this.#remotes.keys()) {
      if (this.#remotes.size <= REMOTES_MAX) break;
      this.#drop(oldest);
    }
    return remote;
  }

  async signer(): Promise<string> {
    return (await this.#author()).key;
  }

  async restart(component: string, nodes: readonly string[]): Promise<string> {
    const { restartComponent } = await import("./override.ts");
    const { restarted } = await restartComponent(
      this.own,
      await this.#author(),
      component,
      nodes,
    );
    return `${component}: restarted ${restarted} ${restarted === 1 ? "replica" : "replicas"}`;
  }

  async scale(component: string, replicas: number | null, node: string | null): Promise<string> {
    const { scaleComponent } = await import("./override.ts");
    const author = await this.#author();
    const answer = await scaleComponent(this.own, author, component, replicas, node);
    return `${component}: ${answer.replicas} wanted${node === null ? "" : ` on ${node}`}, ` +
      (answer.scaledTo === null ? "as in the manifest" : "until the manifest changes it");
  }

  async drain(node: string, drained: boolean): Promise<string> {
    const { drainNodes } = await import("./override.ts");
    await drainNodes(this.own, await this.#author(), [node], drained);
    return `${node}: ${drained ? "drained" : "undrained"}`;
  }

  /** Lets go of the other nodes. */
  async close(): Promise<void> {
    for (const name of [...this.#remotes.keys()]) this.#drop(name);
    await Promise.all(this.#closing);
  }

  async #author(): Promise<Author> {
    const { Author } = await import("./author.ts");
    return await Author.open(this.context, this.keyFile);
  }

  async #connect(name: string): Promise<RemoteAgent> {
    const { remoteNode } = await import("./remote_node.ts");
    const { connectRemote } = await import("../agent/member/remote_agent.ts");
    const { keys } = await this.#author();
    return await connectRemote(keys, await remoteNode(name, () => this.own.nodes()));
  }

  #drop(name: string): void {
    const remote = this.#remotes.get(name);
    this.#remotes.delete(name);
    const closing = remote?.then((each) => each.close()).catch(() => {});
    if (closing === undefined) return;
    this.#closing.add(closing);
    closing.then(() => this.#closing.delete(closing));
  }
}
