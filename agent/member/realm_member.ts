/**
 * The node as a member of its realm: its control log, the peer core, the network under it, and what
 * is known of the other nodes.
 *
 * Without `--listen`, and with nobody to dial, there is no network at all.
 *
 * @module
 */
import type { NodeStatus, PeerStatus } from "../control/api.ts";
import { RealmError } from "../kernel/error.ts";
import type { SignedEvent } from "../kernel/event.ts";
import { fingerprint, formatPublicKey, type KeyPair, parsePublicKey } from "../kernel/key.ts";
import { joinAddress, peerIdOfKey, splitAddress } from "../kernel/peer_id.ts";
import type { Clock, Network } from "../kernel/ports.ts";
import { BUNDLE_PROTOCOL } from "../artifact/peer_bundles.ts";
import { SNAPSHOT_PROTOCOL } from "../artifact/peer_snapshots.ts";
import type { PeerStore } from "../net/peer_store.ts";
import type { LanOptions } from "../net/lan.ts";
import type { Reach } from "../net/reach.ts";
import { headsDigest } from "../kernel/sync/session.ts";
import { signerOf } from "../kernel/verify.ts";
import type { NodeSample } from "../observe/node_sampler.ts";
import type { ControlEvent } from "../realm/control_event.ts";
import type { HealthRecord, OwnHealth } from "../realm/peering/health_record.ts";
import { SILENT_MS } from "../realm/peering/health_board.ts";
import { type SeenClock, viewConditions } from "../realm/alarm_conditions.ts";
import { type Condition, conditionsTold, type ToldAlarm } from "../realm/alarms.ts";
import { viewDigest } from "../realm/realm_view.ts";
import { RealmPeer } from "./realm_peer.ts";
import type { RealmState } from "../node/realm_state.ts";
import type { Node, Others } from "../node/node.ts";
import { nodeBackend } from "../node/crypto_node.ts";
import { CONTROL_PROTOCOL, type Role } from "./remote_control.ts";

/** What a {@link RealmMember} is made of. */
export interface RealmMemberInit {
  readonly keys: KeyPair;
  /** What the machine calls itself. */
  readonly name: string;
  /** Version of the program. */
  readonly program: string;
  readonly state: RealmState;
  readonly clock: Clock;
  readonly node: () => Node;
  readonly sample: () => NodeSample;
  /** What this node has to complain of itself. */
  readonly alarms: () => readonly ToldAlarm[];
  /** The view, the live nodes or those that wait for approval changed. */
  readonly changed: () => void;
  /** {@link RealmMember.heard} says something else. */
  readonly heard: () => void;
  /** The network was started. */
  readonly joined: (network: Network) => void;
  /** A line for who watches the agent. */
  readonly notice: (text: string) => void;
  /** Members are looked for on the same network, unless missing or this node is on loopback only. */
  readonly lan?: LanChoice | undefined;
  /** What else the network is for. */
  readonly apps?: AppNeeds | undefined;
}

/** What apps need of the network, with or without a realm. */
export interface AppNeeds {
  /** Protocols of theirs; `mayOpen` is asked about no others. */
  readonly protocols: readonly string[];
  mayOpen(peer: string, protocol: string): boolean;
  /** Keys that should be connected. */
  wanted(): readonly string[];
}

/** What was heard of a node. */
export interface Heard {
  readonly node: string;
  readonly record: HealthRecord;
  readonly ageMs: number;
  readonly isLive: boolean;
}

/** Where members are looked for by multicast DNS; tests choose loopback and a port. */
export type LanChoice = Pick<LanOptions, "loopback" | "port">;

const EPOCH = "realm/epoch";
/** Peers that the ticket or the operator named: their keys, and where they were. */
const NAMED = "realm/named/";
/** An address of a peer that a node says is told to the book after so long again. */
const SAID_MS = 10_000;

/** See the module. */
export class RealmMember {
  readonly key: string;
  readonly peer: RealmPeer;
  readonly #init: RealmMemberInit;
  /** Addresses of named peers, by key. */
  readonly #named = new Map<string, string>();
  readonly #startedMs: number;
  #network: Network | undefined;
  #book: PeerStore | undefined;
  #reach: Reach | undefined;
  #lan: { close(): void } | undefined;
  #hearing: ReturnType<typeof setInterval> | undefined;
  #starting: Promise<Network> | undefined;

  constructor(init: RealmMemberInit) {
    const { keys, name, program, state, clock } = init;
    this.#init = init;
    this.key = formatPublicKey(keys.publicKey);
    this.#startedMs = clock.monotonicMs();
    for (const [key, address] of state.store.scan(NAMED)) {
      this.#named.set(key.slice(NAMED.length), new TextDecoder().decode(address));
    }
    this.peer = new RealmPeer({
      signer: signerOf(keys, nodeBackend()),
      self: this.key,
      name,
      program: `realm ${program}`,
      log: state.log,
      epoch: nextEpoch(state, init.notice),
      isNamed: (peer) => this.#named.has(peer),
      clock,
      mayOpen: (peer, protocol) =>
        protocol === CONTROL_PROTOCOL
          ? this.roleOf(peer) !== undefined
          : init.apps?.protocols.includes(protocol)
          ? init.apps.mayOpen(peer, protocol)
          : this.peer.core.isApproved(peer),
      ports: {
        changed: init.changed,
        heard: init.heard,
        verify: state.verifySync,
        notice: init.notice,
        health: () => this.#health(),
      },
    });
  }

  /** The network, once it was started. */
  get network(): Network | undefined {
    return this.#network;
  }

  /** Whether somebody is known who may be dialled. */
  get knowsPeers(): boolean {
    return this.#named.size > 0 || this.#dialled().length > 0;
  }

  /** Where this node is reached. */
  get addresses(): readonly string[] {
    return this.#network?.addresses() ?? [];
  }

  /** What a key may ask of this node from elsewhere. */
  roleOf(peer: string): Role | undefined {
    const { state } = this.#init;
    if (state.view?.revoked.includes(peer)) return undefined;
    if (peer === state.owner) return "owner";
    return state.view?.operators.includes(peer) ? "operator" : undefined;
  }

  /** Joins the network, listening at these addresses. Throws RealmError when it cannot. */
  start(listen: readonly string[]): Promise<Network> {
    return this.#starting ??= this.#start(listen);
  }

  async #start(listen: readonly string[]): Promise<Network> {
    const { keys, state, clock, program, notice } = this.#init;
    const [{ startLibp2p }, { PeerStore }, { startReach }, { listensOnLoopback }] = await Promise
      .all([
        import("../net/libp2p_network.ts"),
        import("../net/peer_store.ts"),
        import("../net/reach.ts"),
        import("../net/dialable.ts"),
      ]);
    const book = new PeerStore(
      state.store,
      () => clock.wallMs(),
      listen.length === 0 || listensOnLoopback(listen),
    );
    const network = await startLibp2p({
      secretKey: keys.secretKey,
      listen,
      gate: this.peer.gate,
      knownProtocols: [CONTROL_PROTOCOL, BUNDLE_PROTOCOL, SNAPSHOT_PROTOCOL],
      notice,
      // Who can be reached helps those who cannot.
      serveMembers: listen.some((address) => !address.includes("/p2p-circuit")),
      program: `realm/${program}`,
      learnt: (peer, addresses) => {
        book.learn(peer, addresses, "peer");
        this.#reach?.learnt(peer);
      },
    });
    this.#network = network;
    this.#book = book;
    this.peer.join(network);
    this.#init.joined(network);
    this.#reach = startReach({
      network,
      book,
      clock,
      random: Math.random,
      wanted: () => this.#dialled(),
      join: [...this.#named.values()],
      failed: (address, error) =>
        notice(`Cannot reach ${address}: ${error instanceof Error ? error.message : error}`),
    });
    this.#hearing = setInterval(() => this.#hear(), SAID_MS);
    const { lan } = this.#init;
    if (lan && listen.length > 0 && (lan.loopback || !listensOnLoopback(listen))) {
      const { discoverOnLan } = await import("../net/lan.ts");
      this.#lan = discoverOnLan({
        ...lan,
        peerId: peerIdOfKey(this.key),
        addresses: () => network.addresses(),
        found: (address) => this.#found(address),
        notice,
      });
    }
    return network;
  }

  /** Somebody on this network says where a key is; of keys that nobody wants nothing is kept. */
  #found(address: string): void {
    let key: string | undefined;
    try {
      ({ key } = splitAddress(address));
    } catch {
      return; // anybody can say anything there
    }
    if (key !== undefined && this.#dialled().includes(key)) this.learn(key, [address], "peer");
  }

  /** Takes note of where a key may be reached; it is dialled soon, if it is wanted. */
  learn(key: string, addresses: readonly string[], from: "peer" | "operator"): void {
    this.#book?.learn(key, addresses, from);
    this.#reach?.learnt(key);
  }

  /** Where a key may be reached, as far as is known; this node's own addresses for its own. */
  addressesOf(key: string): readonly string[] {
    return key === this.key ? this.addresses : this.#book?.addresses(key) ?? [];
  }

  /** What nodes say of where they are goes into the book. */
  #hear(): void {
    for (const peer of this.#wanted()) {
      const addresses = this.peer.core.healthOf(peer)?.record.addresses ?? [];
      if (addresses.length > 0) this.#book?.learn(peer, addresses, "peer");
    }
  }

  /** Names a peer by its address: it is trusted for what others signed, and dialled from now on. */
  name(address: string): string {
    const { key } = splitAddress(address);
    if (key === undefined) {
      throw new RealmError(
        "usage",
        `Cannot join ${address}: it does not say whose it is, wanted /p2p/PEERID at its end`,
        { hint: "Copy the address that realm agent printed on that machine" },
      );
    }
    if (key === this.key) return key;
    this.#named.set(key, address);
    const value = new TextEncoder().encode(address);
    this.#init.state.store.write([{ put: NAMED + key, value }]);
    this.#reach?.join(address);
    return key;
  }

  /** Connects to a peer, now and from now on; answers its key. */
  async addPeer(address: string): Promise<string> {
    const key = this.name(address);
    const network = await this.start([]);
    await network.dial(address);
    return key;
  }

  /**
   * Takes events of this machine, durably, and hands them on. Throws RealmError with the reason
   * when one was not taken.
   */
  append(events: readonly SignedEvent[]): void {
    const { refused, missing } = this.peer.core.append(events);
    this.#init.heard(); // before anybody can have heard of them
    this.peer.touched();
    if (refused[0] !== undefined) {
      const { code, problem } = refused[0];
      throw new RealmError(
        code === "void" ? "refused" : code === "full" ? "limit-exceeded" : code,
        `Cannot take the event: ${problem}`,
      );
    }
    if (missing[0] !== undefined) {
      throw new RealmError(
        "stale",
        `Cannot take the event: it follows ${missing[0]}, which is not here`,
        { hint: "Run the command again" },
      );
    }
  }

  /** Writes an event of this node, durably, and hands it on. */
  write(said: ControlEvent): void {
    this.peer.core.write(said);
    this.peer.touched();
  }

  /** What this node says of itself changed. */
  healthChanged(): void {
    this.peer.core.tellSoon();
    this.peer.touched();
  }

  /** The newest records of other approved nodes, by their names. */
  records(): ReadonlyMap<string, HealthRecord> {
    const { view } = this.#init.state;
    return new Map(
      [...view?.nodes ?? []].flatMap(([key, { name }]) => {
        const record = key === this.key ? undefined : this.peer.core.healthOf(key)?.record;
        return record === undefined ? [] : [[name, record] as const];
      }),
    );
  }

  /** What is known of the other nodes, for placement. */
  others(): Others {
    const { core } = this.peer;
    const { view } = this.#init.state;
    // Just started, nobody was heard yet: what is placed on others stays theirs.
    const isEarly = this.#init.clock.monotonicMs() - this.#startedMs < SILENT_MS;
    const approved = [...view?.nodes.values() ?? []].map(({ name }) => name).sort();
    return {
      live: isEarly && this.#network !== undefined ? approved : core.liveNames(),
      isMajority: core.hasMajority(),
    };
  }

  /** Every machine that is known, this one first. */
  nodes(): NodeStatus[] {
    const { view } = this.#init.state;
    const approved = [...view?.nodes.values() ?? []].map((node) => this.#nodeStatus(node));
    const waiting = this.peer.core.introductions()
      .map(({ key, name }) => this.#stranger(key, name, "pending"));
    const revoked = [...view?.revoked ?? []]
      .filter((key) => !view!.owners.includes(key))
      .map((key) => this.#stranger(key, view?.formerNames.get(key)?.name ?? "", "revoked"));
    const all = [...approved, ...waiting, ...revoked];
    const self = all.find(({ key }) => key === this.key) ??
      { ...this.#nodeStatus({ key: this.key, name: this.#init.name }), state: "pending" as const };
    return [self, ...all.filter((node) => node !== self)];
  }

  /** What is wrong with the realm and its nodes, as far as is known here. */
  conditions(): Condition[] {
    const { clock, state: { view } } = this.#init;
    const conditions = view === undefined ? [] : viewConditions(view);
    const names = new Map([...view?.nodes.values() ?? []].map(({ name, key }) => [name, key]));
    for (const { key, name } of this.peer.core.introductions()) {
      const known = names.get(name);
      if (known === undefined) continue;
      names.delete(name); // one alarm for each name, however many make it up
      const value = `${key}: the node of this name is ${known}`;
      conditions.push({ code: "name-taken", node: null, subject: name, value });
    }
    for (const key of this.peer.core.drifting()) {
      const node = view?.nodes.get(key)?.name ?? key;
      conditions.push({ code: "view-differs", node, subject: null, value: null });
    }
    const isEarly = clock.monotonicMs() - this.#startedMs < SILENT_MS;
    const heard = new Map(this.heard().map((each) => [each.node, each]));
    for (const { key, name: node } of view?.nodes.values() ?? []) {
      const known = heard.get(node);
      if (known?.isLive) {
        conditions.push(...conditionsTold(node, known.record.alarms, clock.wallMs()));
      } else if (key !== this.key && !isEarly) {
        const since = known && { sinceAtMs: Math.max(0, clock.wallMs() - known.ageMs) };
        conditions.push({ code: "silent", node, subject: null, value: null, ...since });
      }
    }
    const isWaiting = view === undefined ? this.#named.size > 0 : !view.nodes.has(this.key);
    if (isWaiting) conditions.push(this.#waiting());
    return conditions;
  }

  /** What there is to say of a node that takes no part. */
  #waiting(): Condition {
    const { keys, name: node, state: { view } } = this.#init;
    if (view?.revoked.includes(this.key)) {
      const value =
        "this node was revoked: it hears of nothing new, and what it ran goes on until " +
        "its agent is stopped";
      return { code: "not-approved", node, subject: null, value };
    }
    const subject = fingerprint(keys.publicKey);
    const value = `not approved yet: ${node} with the fingerprint ${subject}`;
    return { code: "not-approved", node, subject, value };
  }

  /** What the other approved nodes said last of themselves, and how long ago. */
  heard(): Heard[] {
    const { clock, state: { view } } = this.#init;
    const nowMs = clock.monotonicMs();
    return [...view?.nodes ?? []].flatMap(([key, { name: node }]) => {
      const known = key === this.key ? undefined : this.peer.core.healthOf(key);
      if (known === undefined) return [];
      const ageMs = nowMs - known.heardAtMs;
      return [{ node, record: known.record, ageMs, isLive: ageMs < SILENT_MS }];
    });
  }

  /** What the other nodes that live said last of their clocks. */
  clocks(): SeenClock[] {
    const nowAtMs = this.#init.clock.wallMs();
    return this.heard().filter(({ isLive }) => isLive).map(({ node, record, ageMs }) => ({
      node,
      counter: record.counter,
      offsetMs: record.saidAtMs - (nowAtMs - ageMs),
    }));
  }

  /** Whom this node is connected with, or knows how to reach. */
  peers(): PeerStatus[] {
    const connections = new Map(
      this.#network?.connections().map((connection) => [connection.peer, connection]),
    );
    const known = new Set([...connections.keys(), ...this.#dialled()]);
    known.delete(this.key);
    return [...known].sort().map((key) => {
      const connection = connections.get(key);
      const addresses = [
        ...connection ? [connection.address] : [],
        ...this.#book?.addresses(key) ?? [],
      ];
      return {
        key,
        name: this.#init.state.view?.nodes.get(key)?.name ?? null,
        connected: connection !== undefined,
        direction: connection?.direction ?? null,
        relayed: connection?.relayed ?? false,
        latencyMs: connection?.latencyMs ?? null,
        addresses: [...new Set(addresses)],
      };
    });
  }

  /** Leaves the network. */
  async close(): Promise<void> {
    clearInterval(this.#hearing);
    this.#lan?.close();
    await this.#starting?.catch(() => {}); // then there is nothing to close
    this.peer.close();
    await this.#reach?.close();
    await this.#network?.close();
  }

  /** Keys that should be connected: the approved nodes, and who was named. */
  #wanted(): string[] {
    const { view } = this.#init.state;
    const wanted = new Set([...view?.nodes.keys() ?? [], ...this.#named.keys()]);
    wanted.delete(this.key);
    for (const key of view?.revoked ?? []) wanted.delete(key);
    return [...wanted];
  }

  /** Keys that should be connected, for the realm or for apps. */
  #dialled(): string[] {
    const { apps, state } = this.#init;
    const wanted = new Set([...this.#wanted(), ...apps?.wanted() ?? []]);
    wanted.delete(this.key);
    for (const key of state.view?.revoked ?? []) wanted.delete(key);
    return [...wanted];
  }

  #saidAddresses(peer: string): readonly string[] {
    const record = this.peer.core.healthOf(peer)?.record;
    return (record?.addresses ?? []).flatMap((address) => {
      try {
        const { transport, key = peer } = splitAddress(address);
        return key === peer ? [joinAddress(transport, peer)] : [];
      } catch {
        return []; // what a node says of itself proves nothing
      }
    });
  }

  #nodeStatus({ key, name }: { readonly key: string; readonly name: string }): NodeStatus {
    const { state, clock, program } = this.#init;
    const { core } = this.peer;
    const isSelf = key === this.key;
    const known = core.healthOf(key);
    const nowMs = clock.monotonicMs();
    const isLive = isSelf || known !== undefined && nowMs - known.heardAtMs < SILENT_MS;
    const own = isSelf ? this.#health() : undefined;
    const said = own ?? known?.record;
    const heads = isSelf ? this.headsDigest() : known?.record.heads;
    const connection = this.#network?.connections().find(({ peer }) => peer === key);
    return {
      name,
      key,
      fingerprint: fingerprint(parsePublicKey(key)),
      state: "approved",
      self: isSelf,
      live: isLive,
      silentSinceMs: isLive || known === undefined
        ? null
        : Math.max(0, clock.wallMs() - (nowMs - known.heardAtMs)),
      drained: state.overrides.drained.includes(name),
      program: isSelf ? program : known?.record.program.replace(/^realm /, "") ?? null,
      version: said === undefined || said.version === 0 ? null : said.version,
      heads: heads ?? null,
      view: (isSelf ? state.view && viewDigest(state.view) : known?.record.viewDigest) ?? null,
      drift: heads !== undefined && heads !== this.headsDigest(),
      health: said === undefined ? null : {
        wanted: said.replicas.reduce((sum, { wanted }) => sum + wanted, 0),
        running: said.replicas.reduce((sum, { running }) => sum + running, 0),
        cpuPermille: said.cpuPermille,
        memoryBytes: said.memoryBytes,
      },
      latencyMs: connection?.latencyMs ?? null,
      links: isSelf
        ? (this.#network?.connections() ?? []).flatMap(({ peer, latencyMs }) =>
          state.view?.nodes.has(peer) ? [{ key: peer, latencyMs: latencyMs ?? null }] : []
        )
        : (known?.record.heard ?? []).map(([key, ms]) => ({ key, latencyMs: ms < 0 ? null : ms })),
      tags: state.inForce?.manifest.nodes.get(name)?.tags ?? [],
      addresses: isSelf ? [...this.addresses] : [...this.#saidAddresses(key)],
    };
  }

  /** Digest of the heads of its control log. */
  headsDigest(): string | undefined {
    const heads = this.#init.state.log.topic?.heads;
    return heads && headsDigest(heads.map(({ key }) => key)).toHex();
  }

  #stranger(key: string, name: string, state: "pending" | "revoked"): NodeStatus {
    return {
      name,
      key,
      fingerprint: fingerprint(parsePublicKey(key)),
      state,
      self: key === this.key,
      live: false,
      silentSinceMs: null,
      drained: false,
      program: null,
      version: null,
      heads: null,
      view: null,
      drift: false,
      health: null,
      latencyMs: null,
      links: [],
      tags: [],
      addresses: [],
    };
  }

  /** What this node says of itself. */
  #health(): OwnHealth {
    const node = this.#init.node();
    const sample = this.#init.sample();
    const { inForce } = this.#init.state;
    return {
      version: inForce?.signature.version ?? 0,
      cpuPermille: Math.round(sample.cpuPercent * 10),
      memoryBytes: sample.agentMemoryBytes,
      addresses: [...this.addresses],
      ...node.health(),
      alarms: this.#init.alarms(),
      latencyMs: (peer) =>
        this.#network?.connections().find((each) => each.peer === peer)?.latencyMs,
    };
  }
}

/**
 * Counts the starts of this node. Where that cannot be stored it goes on all the same: a machine whose
 * disk is full runs what it has, and others tell it what it lost count of.
 */
function nextEpoch({ store }: RealmState, notice: (text: string) => void): number {
  const stored = store.get(EPOCH);
  const epoch = (stored === undefined ? 0 : Number(new TextDecoder().decode(stored))) + 1;
  try {
    store.write([{ put: EPOCH, value: new TextEncoder().encode(String(epoch)) }]);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    notice(`Nothing can be stored, and what runs already goes on: ${reason}`);
  }
  return epoch;
}
