/**
 * A realm for tests of the page: an agent that answers from values, and orders that are written down.
 *
 * @module
 */
import { RealmError } from "../agent/kernel/error.ts";
import { fakeStatus } from "../tui/status_fake.ts";
import type { Status } from "../tui/view_model.ts";
import type { UiAgent, UiRealm } from "./server.ts";

type LogEvent = UiAgent extends { logs(...args: never[]): AsyncIterable<infer E> } ? E : never;

/** See the module. */
export class FakeRealm implements UiRealm {
  state: Status = fakeStatus();
  /** Thrown by `status` while set. */
  failure: unknown = undefined;
  readonly orders: unknown[][] = [];
  /** Nodes that can be asked beside the own one. */
  readonly others = new Map<string, UiAgent>();
  key: string | undefined = "ed25519:owner";
  /** What logs stream. */
  lines: (component: string, signal: AbortSignal) => AsyncGenerator<LogEvent, void, undefined> =
    async function* () {};

  readonly own: UiAgent = {
    status: () =>
      this.failure === undefined ? Promise.resolve(this.state) : Promise.reject(this.failure),
    samples: (component) =>
      Promise.resolve({ atMs: [1_000], values: { cpu: [component === undefined ? 1 : 2] } }),
    logs: ({ component }, signal) => this.lines(component, signal!),
    history: () => Promise.resolve([]),
    manifest: (version) =>
      Promise.resolve(
        version === 9 ? null : {
          version: version ?? 3,
          manifest: new TextEncoder().encode("x = 1\n"),
          signature: "{}",
        },
      ),
    plan: ({ manifest, signature }) =>
      Promise.resolve({
        currentVersion: 3,
        changes: [{
          change: "added",
          subject: "component",
          name: new TextDecoder().decode(manifest) + (signature ?? ""),
          details: [],
        }],
        steps: [],
        unplaced: [],
        world: "0".repeat(64),
        violations: [],
        missing: [],
      }),
  };

  agent(node: string | undefined): Promise<UiAgent> {
    const found = node === undefined ? this.own : this.others.get(node);
    return found === undefined
      ? Promise.reject(new RealmError("not-found", `Cannot find node "${node}"`))
      : Promise.resolve(found);
  }

  signer(): Promise<string> {
    return this.key === undefined
      ? Promise.reject(new RealmError("not-found", "Cannot sign: there is no key"))
      : Promise.resolve(this.key);
  }

  restart(...order: unknown[]): Promise<string> {
    return this.#take("restart", order);
  }

  scale(...order: unknown[]): Promise<string> {
    return this.#take("scale", order);
  }

  drain(...order: unknown[]): Promise<string> {
    return this.#take("drain", order);
  }

  async #take(name: string, order: unknown[]): Promise<string> {
    await this.signer();
    this.orders.push([name, ...order]);
    return `${name} done`;
  }
}
