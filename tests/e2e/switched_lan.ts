/**
 * A network for machines under test: each in a network namespace of its own, all on one switch, which
 * can be pulled apart in two. Linux, root and iproute2 only.
 *
 * What is pulled apart hears nothing any more, and is not told: no connection is refused or reset, as
 * when a cable is drawn. Nothing here is connected with the network of the host.
 *
 * @module
 */
import { run } from "./executable.ts";

/** Where the machines are: addresses for documentation would do, were they not refused by policy. */
const PREFIX = "10.77.0.";
const FIRST_HOST = 10;

/** One machine's place. */
export interface Port {
  /** Its IPv4 address. */
  readonly address: string;
  /** What to put before a command so that it runs there. */
  readonly prefix: readonly string[];
}

/** Whether such networks can be made here. */
export async function canSwitch(): Promise<boolean> {
  if (Deno.build.os !== "linux" || Deno.uid() !== 0) return false;
  try {
    await withLan(1, () => Promise.resolve());
    return true;
  } catch {
    return false;
  }
}

/** See the module. */
export class SwitchedLan {
  constructor(readonly ports: readonly Port[], readonly name: string) {}

  /** Puts these machines on a switch of their own. */
  pull(ports: readonly Port[]): Promise<void> {
    return this.#plug(ports, "away");
  }

  /** Puts all of them on one switch. */
  join(): Promise<void> {
    return this.#plug(this.ports, "home");
  }

  /** These hear the others and not one another: as behind routers of their own; or no more so. */
  async isolate(ports: readonly Port[], isOn = true): Promise<void> {
    const lines = ports.map((port) =>
      `link set p${this.ports.indexOf(port)} type bridge_slave isolated ${isOn ? "on" : "off"}`
    );
    await ip(lines, ["-n", `${this.name}-switch`]);
  }

  async #plug(ports: readonly Port[], bridge: string): Promise<void> {
    const lines = ports.map((port) => `link set p${this.ports.indexOf(port)} master ${bridge}`);
    await ip(lines, ["-n", `${this.name}-switch`]);
  }
}

/** Gives the test a network of so many machines; it is gone afterwards. */
export async function withLan(
  machines: number,
  test: (lan: SwitchedLan) => Promise<void>,
): Promise<void> {
  const name = `realm-${Deno.pid}-${crypto.randomUUID().slice(0, 4)}`;
  const spaces = [
    `${name}-switch`,
    ...Array.from({ length: machines }, (_, index) => `${name}-${index}`),
  ];
  const made: string[] = [];
  try {
    for (const space of spaces) {
      await ip([`netns add ${space}`]);
      made.push(space);
    }
    await ip(
      ["home", "away"].flatMap((each) => [`link add ${each} type bridge`, `link set ${each} up`]),
      ["-n", spaces[0]!],
    );
    const ports: Port[] = [];
    for (const [index, space] of spaces.slice(1).entries()) {
      const address = `${PREFIX}${FIRST_HOST + index}`;
      await ip([
        `link add p${index} type veth peer name eth0 netns ${space}`,
        `link set p${index} master home up`,
      ], ["-n", spaces[0]!]);
      await ip([
        "link set lo up",
        `addr add ${address}/24 dev eth0`,
        "link set eth0 up",
      ], ["-n", space]);
      ports.push({ address, prefix: ["ip", "netns", "exec", space] });
    }
    await test(new SwitchedLan(ports, name));
  } finally {
    for (const space of made) await ip([`netns del ${space}`]);
  }
}

/** Runs commands of iproute2. */
async function ip(lines: readonly string[], options: readonly string[] = []): Promise<void> {
  const { status, stderr } = await run("ip", [...options, "-batch", "-"], {
    stdin: lines.join("\n") + "\n",
  });
  if (status !== 0) throw new Error(`ip ${lines.join("; ")}: ${stderr}`);
}
