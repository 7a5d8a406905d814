/**
 * A person's machine with apps for tests: the arbiter and the sharing of topics, on a network in
 * memory or none.
 *
 * @module
 */
import { AppSharing } from "./app_sharing.ts";
import type { AppTopic } from "./app_topic.ts";
import { AppsHost } from "./apps_host.ts";
import { buildBundle, type BuiltBundle } from "./bundle_builder.ts";
import "../../tests/wasm_tools.ts";
import type { AppAnswer, AppParams, CallAnswer, TopicStatus } from "../control/apps_api.ts";
import { nodeBackend } from "../node/crypto_node.ts";
import { asksOf } from "./installed_apps.ts";
import { SignaturesAhead } from "./signatures_ahead.ts";
import { formatPublicKey } from "../kernel/key.ts";
import type { Network } from "../kernel/ports.ts";
import { keyPairOf, signerOf, verifierOf } from "../kernel/verify.ts";
import { MemoryHub } from "../net/memory_network.ts";
import { MemoryStore } from "../store/memory_store.ts";
import { systemClock } from "../node/system_clock.ts";

/** Who signs the bundles of tests. */
export const publisher = signerOf(
  await keyPairOf(new Uint8Array(32).fill(5), nodeBackend()),
  nodeBackend(),
);

/** The bundle of an app of `fixtures/apps`, signed by a publisher that is always the same. */
export function fixtureBundle(app: string): Promise<BuiltBundle> {
  const folder = new URL(`../../fixtures/apps/${app}`, import.meta.url).pathname;
  return buildBundle(folder, publisher, nodeBackend());
}

/** Writes so many events of the app `counter`, each of which adds one. */
export function addOnes(topic: AppTopic, count: number): void {
  const payload = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 1);
  topic.write((log) => {
    for (let i = 0; i < count; i++) log.append({ type: "add", payload }, topic.person);
  });
}

/** Input of an intent as the control API has it. */
export const base64 = (text: string): string => new TextEncoder().encode(text).toBase64();

/** See the module. */
export class Machine {
  #network: Network | undefined;

  private constructor(
    readonly node: string,
    readonly folder: string,
    readonly store: MemoryStore,
    readonly hub: MemoryHub | undefined,
    readonly sharing: AppSharing,
    readonly host: AppsHost,
    readonly ahead: SignaturesAhead,
    readonly notices: readonly string[],
  ) {}

  /** With several processors signatures are verified ahead. */
  static async start(
    hub?: MemoryHub,
    before?: Pick<Machine, "folder" | "store" | "node">,
    processors = 1,
  ): Promise<Machine> {
    const folder = before?.folder ?? await Deno.makeTempDir();
    const store = before?.store ?? new MemoryStore();
    const seed = crypto.getRandomValues(new Uint8Array(32));
    const { publicKey } = await keyPairOf(seed, nodeBackend());
    const node = before?.node ?? formatPublicKey(publicKey);
    const ahead = new SignaturesAhead(verifierOf(nodeBackend()), processors);
    const { verify } = ahead;
    const notices: string[] = [];
    const notice = (text: string) => void notices.push(text);
    const addressesOf = (key: string) => [`/memory/${key}`];
    const sharing: AppSharing = new AppSharing({
      self: node,
      store,
      verify,
      ahead,
      clock: systemClock,
      member: () => ({
        addresses: addressesOf(node),
        addressesOf,
        learn: () => {},
        start: () => Promise.reject(new Error("the network is joined by the test")),
      }),
      bundle: (id) => host.bundles.bytes(id),
      notice,
    });
    const host: AppsHost = await AppsHost.open({
      dataFolder: folder,
      store,
      verify,
      clock: systemClock,
      notice,
      opened: (topic, person) => sharing.opened(topic, person),
      removed: (topic) => sharing.removed(topic),
      ticketPeers: (topic) => sharing.ticketPeers(topic),
      fetchBundle: (id) => sharing.fetch(id),
      fetchState: (topic, digest) => sharing.fetchState(topic, digest),
    });
    const machine = new Machine(node, folder, store, hub, sharing, host, ahead, notices);
    machine.#join();
    return machine;
  }

  #join(): void {
    if (this.hub === undefined) return;
    this.#network = this.hub.join(this.node, {
      mayConnect: () => true,
      mayOpen: (peer, protocol) => this.sharing.mayOpen(peer, protocol),
    });
    this.sharing.join(this.#network);
  }

  /** Connects with another machine. */
  async dial(other: Machine): Promise<void> {
    await this.#network!.dial(other.#network!.addresses()[0]!);
  }

  async install({ packed, bytes }: BuiltBundle, grants = asksOf(packed)): Promise<void> {
    await this.host.bundles.installed.install(packed, bytes, grants);
    await this.host.api.changed({});
  }

  /** Ends the program; the data stays. */
  async stop(): Promise<void> {
    this.host.close();
    this.sharing.close();
    this.ahead.close();
    await this.#network?.close();
  }

  /** The same data, after the program was started again. */
  async restarted(): Promise<Machine> {
    await this.stop();
    return await Machine.start(this.hub, this);
  }

  async create(app: string, more: Partial<AppParams<"create">> = {}): Promise<TopicStatus> {
    return (await this.host.api.create({ app, params: [], encrypted: false, ...more })).topic;
  }

  async invite(topic: string, role: AppParams<"invite">["role"] = "member"): Promise<string> {
    return (await this.host.api.invite({ topic, role })).ticket;
  }

  async join(ticket: string, name: string, keep = false): Promise<TopicStatus> {
    return (await this.host.api.join({ ticket, name, keep })).topic;
  }

  async call(topic: string, intent: string, input: string): Promise<CallAnswer> {
    return await this.host.api.call({ topic, intent, input: base64(input) });
  }

  status(topic: string): TopicStatus {
    const found = this.host.statuses().find(({ name, topic: id }) =>
      topic === name || topic === id
    );
    if (found === undefined) throw new Error(`there is no topic ${topic}`);
    return found;
  }

  async keys(topic: string): Promise<string[]> {
    const asked = { topic, prefix: "", limit: 100 };
    const { entries }: AppAnswer<"state"> = await this.host.api.state(asked);
    return entries.map(({ key }) => new TextDecoder().decode(Uint8Array.fromBase64(key)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    // One that was started again has the same folder.
    await Deno.remove(this.folder, { recursive: true }).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }
}
