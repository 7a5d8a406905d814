/**
 * Where peers were and may be found again: addresses by key, kept over restarts.
 *
 * One record for each peer, `peer/KEY` in a {@link Store}, in canonical dag-cbor:
 * `{addresses: [{address, from, heardMs, workedMs}]}` with addresses without the peer id. What a
 * record cannot be read from is forgotten: it is only a hint, since whoever answers must prove its
 * key.
 *
 * @module
 */
import { decodeCanonical, encodeCanonical } from "../kernel/canonical.ts";
import { joinAddress, splitAddress } from "../kernel/peer_id.ts";
import type { Store } from "../kernel/ports.ts";
import { isDialable } from "./dialable.ts";

/** Who said an address: the operator, a dial that worked, or a peer (itself or another). */
export type AddressSource = "operator" | "dial" | "peer";

/** Peers that are kept; the one not heard of for longest makes room. */
export const PEERS_MAX = 1024;
/** Addresses of a peer that are kept. */
export const ADDRESSES_MAX = 16;
/** Times are written again only when they have changed by more; each write is synced. */
const STALE_MS = 60 * 60 * 1000;

/** `workedMs`: when a dial last succeeded; 0 for never. */
type Place = {
  readonly address: string;
  readonly from: AddressSource;
  readonly heardMs: number;
  readonly workedMs: number;
};

const PREFIX = "peer/";
const SOURCES: readonly unknown[] = ["operator", "dial", "peer"];

/** The book of addresses. */
export class PeerStore {
  readonly #places = new Map<string, readonly Place[]>();
  /** Peers of which the store does not have what is known, or still has what is forgotten. */
  readonly #unwritten = new Set<string>();

  /**
   * Reads what is there. `loopback`: whether peers may say addresses of this machine, because all of
   * the realm is on it.
   */
  constructor(
    readonly store: Store,
    readonly wallMs: () => number,
    readonly loopback: boolean,
  ) {
    for (const [key, value] of store.scan(PREFIX)) {
      const places = readPlaces(value);
      if (places !== undefined) this.#places.set(key.slice(PREFIX.length), places);
    }
  }

  peers(): string[] {
    return [...this.#places.keys()];
  }

  /** Multiaddrs with the peer id: what worked last first, then what the operator said, then hearsay. */
  addresses(peer: string): string[] {
    return (this.#places.get(peer) ?? []).map(({ address }) => joinAddress(address, peer));
  }

  /** Takes note of addresses of a peer; those that name another key or lead nowhere are left out. */
  learn(peer: string, addresses: Iterable<string>, from: AddressSource): void {
    const now = this.wallMs();
    let taken = 0;
    let places = this.#places.get(peer) ?? [];
    for (const address of addresses) {
      if (taken++ >= ADDRESSES_MAX) break;
      const transport = transportOf(address, peer);
      if (transport === undefined) continue;
      if (from === "peer" && !isDialable(transport, this.loopback)) continue;
      const known = places.find((place) => place.address === transport);
      const place: Place = {
        address: transport,
        from: known?.from === "operator" ? "operator" : from,
        heardMs: now,
        workedMs: from === "dial" ? now : known?.workedMs ?? 0,
      };
      places = sorted([place, ...places.filter((other) => other !== known)]);
    }
    this.#keep(peer, places.slice(0, ADDRESSES_MAX));
  }

  forget(peer: string): void {
    if (this.#places.delete(peer)) this.#write(peer);
  }

  #keep(peer: string, places: readonly Place[]): void {
    const before = this.#places.get(peer);
    if (places.length === 0 || (before !== undefined && isSame(before, places))) return;
    this.#places.set(peer, places);
    this.#write(peer);
    if (this.#places.size > PEERS_MAX) this.forget(this.#oldest(peer));
  }

  /**
   * Writes what is known of a peer. That the disk fails is nothing to a connection: what it did not
   * take comes with what is written next.
   */
  #write(peer: string): void {
    this.#unwritten.add(peer);
    const ops = [...this.#unwritten].map((each) => {
      const [key, addresses] = [PREFIX + each, this.#places.get(each)];
      if (addresses === undefined) return { delete: key };
      return { put: key, value: encodeCanonical({ addresses }) };
    });
    try {
      this.store.write(ops);
    } catch {
      return; // the log of the realm, which has to be written, tells of it
    }
    this.#unwritten.clear();
  }

  #oldest(but: string): string {
    const heard = (places: readonly Place[]) => Math.max(...places.map(({ heardMs }) => heardMs));
    return [...this.#places].filter(([peer]) => peer !== but)
      .reduce((a, b) => heard(a[1]) <= heard(b[1]) ? a : b)[0];
  }
}

/** The address without the peer id at its end, if that is `peer`'s or missing. */
function transportOf(address: string, peer: string): string | undefined {
  try {
    const { transport, key } = splitAddress(address);
    return key === undefined || key === peer ? transport : undefined;
  } catch {
    return undefined;
  }
}

function sorted(places: readonly Place[]): Place[] {
  const rank = { dial: 0, operator: 0, peer: 1 };
  return [...places].sort((a, b) =>
    b.workedMs - a.workedMs || rank[a.from] - rank[b.from] || b.heardMs - a.heardMs
  );
}

/** Whether there is nothing worth writing down. */
function isSame(a: readonly Place[], b: readonly Place[]): boolean {
  return a.length === b.length && a.every((place, i) => {
    const other = b[i]!;
    return place.address === other.address && place.from === other.from &&
      Math.abs(place.heardMs - other.heardMs) < STALE_MS &&
      Math.abs(place.workedMs - other.workedMs) < STALE_MS;
  });
}

function readPlaces(value: Uint8Array): Place[] | undefined {
  let record;
  try {
    record = decodeCanonical(value) as { addresses?: unknown };
  } catch {
    return undefined;
  }
  const { addresses } = record ?? {};
  if (!Array.isArray(addresses) || addresses.length > ADDRESSES_MAX) return undefined;
  const isPlace = (place: Partial<Place> | null) =>
    typeof place?.address === "string" && SOURCES.includes(place.from) &&
    typeof place.heardMs === "number" && typeof place.workedMs === "number";
  return addresses.every(isPlace) ? addresses : undefined;
}
