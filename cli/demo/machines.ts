/**
 * The other machines of the demo: agents that join the first one's realm, each a process with a data
 * folder of its own. To cut a machine off its process is made to stand still: to everybody else that
 * looks the same.
 *
 * @module
 */
import * as path from "node:path";
import { connectControl, type ControlClient } from "../../agent/control/client.ts";
import { controlSocketPath } from "../connection.ts";
import { ChildAgent, type Ready } from "./child_agent.ts";
import { Load } from "./load.ts";
import { require, type Stage } from "./stage.ts";

/** One machine. */
export interface Machine {
  readonly name: string;
  readonly agent: ChildAgent;
  readonly ready: Ready;
  readonly control: ControlClient;
}

/** See the module. The first machine is the owner's. */
export class Machines {
  readonly #stage: Stage;
  readonly #all: Machine[];
  #load: Load | undefined;

  constructor(stage: Stage, first: Machine) {
    this.#stage = stage;
    this.#all = [first];
  }

  /** What the requests through these machines came to. */
  get load(): Load | undefined {
    return this.#load;
  }

  /** Errors that the agents wrote. */
  get errors(): string {
    return this.#all.slice(1).map(({ agent }) => agent.errors).join("");
  }

  /** Each step with so many machines in all. */
  async run(count: number): Promise<void> {
    await this.#join(count);
    await this.#apply();
    await this.#ask();
    await this.#cutOff();
    await this.#heal();
  }

  /** Ends all but the first; whether they ended well by themselves. */
  async stop({ forgive = false } = {}): Promise<boolean> {
    await this.#load?.stop({ forgive });
    this.#thaw();
    const others = this.#all.splice(1);
    for (const { control } of others) control.close();
    return (await Promise.all(others.map(({ agent }) => agent.stop()))).every((well) => well);
  }

  async #join(count: number): Promise<void> {
    const title = "other machines join with a ticket, and wait until the owner approves them";
    await this.#stage.step(title, async (see) => {
      const { ticket } = JSON.parse(await this.#stage.realm("invite", "--json"));
      const prints: string[] = [];
      for (let number = 2; number <= count; number++) {
        const machine = await this.#start(`${this.#first.name}-${number}`, ticket);
        this.#all.push(machine);
        const seen = () => this.#seenByFirst(machine.name);
        await this.#stage.wait(
          `${machine.name} asks`,
          async () => (await seen())?.state === "pending",
        );
        require((await machine.control.status()).topic === null, `${machine.name} knows the realm`);
        // As a person would: what its own agent printed against what the owner is shown.
        const { fingerprint } = (await seen())!;
        require(fingerprint === machine.ready.fingerprint, `fingerprint ${fingerprint}`);
        prints.push(`${machine.name} ${fingerprint}`);
        await this.#stage.realm("nodes", "approve", fingerprint);
      }
      await this.#stage.wait("all agree", () => this.#agree(this.#all));
      see(prints.join("\n"));
    });
    this.#stage.quote("realm nodes ls", await this.#stage.realm("nodes", "ls"));
  }

  async #apply(): Promise<void> {
    await this.#stage.step("realm apply on one machine reaches all of them", async (see) => {
      const others = this.#all.slice(1).map(({ name }) => name);
      await Deno.writeTextFile(
        this.#stage.manifest,
        others.map((name) => `"${name}" = [{ path = "/hello", component = "hello" }]\n`).join("") +
          others.map((name) => `\n[nodes."${name}"]\n`).join(""),
        { append: true },
      );
      see(`${await this.#applyNext()} ms from the command to the last of ${this.#all.length}`);
      await this.#stage.wait("hello runs on each", async () => {
        const { nodes } = await this.#first.control.status();
        return nodes.every(({ health }) => health !== null && health.running > 0);
      });
    });
  }

  async #ask(): Promise<void> {
    await this.#stage.step("requests reach the components through every machine", async (see) => {
      for (const { name, ready } of this.#all.slice(1)) {
        const answer = await this.#stage.get(`${ready.proxy}/hello`);
        require(answer === "200 hello", `${name} answered ${answer}`);
        // Its only replica is on the first machine.
        const counted = await this.#stage.get(`${ready.proxy}/counter/count`);
        require(counted.startsWith("200 "), `${name} answered ${counted}`);
      }
      this.#load = new Load(
        this.#all.slice(1).map(({ name, ready }) => ({
          name,
          url: `${ready.proxy}/hello`,
          check: (body) => body === "hello\n" ? undefined : `body ${JSON.stringify(body)}`,
        })),
      );
      see("hello from a replica of their own, counter from the first one; more come all the time");
    });
  }

  async #cutOff(): Promise<void> {
    const title = "a machine that is cut off from the others goes on with what it runs";
    await this.#stage.step(title, async (see) => {
      const last = this.#all.at(-1)!;
      const others = this.#all.slice(0, -1);
      for (const { agent } of others) agent.process.kill("SIGSTOP");
      try {
        await this.#stage.wait(
          `${last.name} is alone`,
          async () => !(await last.control.status()).majority,
        );
        const answer = await this.#stage.get(`${last.ready.proxy}/hello`);
        require(answer === "200 hello", `${last.name} answered ${answer}`);
        const status = await last.control.status();
        const silent = status.nodes.filter(({ live }) => !live).map(({ name }) => name);
        see(
          `${last.name} answers hello; it hears nothing of ${
            silent.join(", ")
          }, starts nothing new`,
        );
      } finally {
        this.#thaw();
      }
      await this.#stage.wait("all agree again", () => this.#agree(this.#all));
    });
  }

  async #heal(): Promise<void> {
    const title = "what was applied while a machine was cut off reaches it when it is back";
    await this.#stage.step(title, async (see) => {
      const last = this.#all.at(-1)!;
      last.agent.process.kill("SIGSTOP");
      let version: number;
      try {
        await this.#stage.wait(
          `${last.name} is silent`,
          async () => (await this.#seenByFirst(last.name))?.live === false,
        );
        await Deno.writeTextFile(this.#stage.manifest, "# applied meanwhile\n", { append: true });
        await this.#applyNext(this.#all.slice(0, -1));
        ({ version } = (await this.#first.control.status()).manifest!);
      } finally {
        this.#thaw();
      }
      const began = performance.now();
      await this.#stage.wait("all agree again", () => this.#agree(this.#all));
      const { manifest } = await last.control.status();
      require(
        manifest?.version === version,
        `${last.name} has ${manifest?.version}, not ${version}`,
      );
      see(`${last.name} has version ${version}, ${Math.round(performance.now() - began)} ms after`);
      this.#requireNoneLost();
    });
    this.#stage.quote("realm history", await this.#stage.realm("history"));
  }

  get #first(): Machine {
    return this.#all[0]!;
  }

  async #start(name: string, ticket: string): Promise<Machine> {
    const data = path.join(this.#stage.folder, name);
    const { agent, ready } = await ChildAgent.start(
      // deno-fmt-ignore
      ["--data", data, "--name", name, "--ticket", ticket, "--http", "127.0.0.1:0",
        "--listen", LISTEN],
      this.#stage.interrupted,
    );
    return { name, agent, ready, control: connectControl(controlSocketPath(data)) };
  }

  /** Applies the manifest; milliseconds until these machines go by it. */
  async #applyNext(machines: readonly Machine[] = this.#all): Promise<number> {
    const began = performance.now();
    await this.#stage.realm("apply", this.#stage.manifest, "--yes");
    await this.#stage.wait("it reaches all", () => this.#agree(machines));
    return Math.round(performance.now() - began);
  }

  /** Whether these machines have one log and one manifest. */
  async #agree(machines: readonly Machine[]): Promise<boolean> {
    const all = await Promise.all(machines.map(({ control }) => control.status()));
    const said = all.map(({ topic, manifest, nodes, majority }) =>
      majority && nodes[0]!.state === "approved" &&
      `${topic} ${nodes[0]!.heads} ${manifest?.version}`
    );
    return said[0] !== false && said.every((each) => each === said[0]);
  }

  async #seenByFirst(name: string) {
    return (await this.#first.control.nodes()).find((node) => node.name === name);
  }

  #thaw(): void {
    for (const { agent } of this.#all) agent.resume();
  }

  #requireNoneLost(): void {
    const lost = this.#load?.lost ?? [];
    require(lost.length === 0, `${lost.length} requests were lost: ${lost.slice(0, 5).join("; ")}`);
  }
}

/** Any free port of this machine. */
export const LISTEN = "/ip4/127.0.0.1/tcp/0";
