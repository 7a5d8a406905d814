/**
 * IP addresses as bytes, with the one text form that each has (RFC 5952 for IPv6).
 *
 * Text that other programs read in several ways (`127.1`, `0x7f.0.0.1`, zones) is no address here.
 *
 * @module
 */

/** 4 bytes of IPv4 or 16 of IPv6, in network order. */
export type IpAddress = Uint8Array;

/** A network such as `10.0.0.0/8`. */
export interface Network {
  readonly address: IpAddress;
  /** Leading bits that are fixed. */
  readonly bits: number;
}

/** Reads an address in its usual text form, IPv6 without brackets; `undefined` for anything else. */
export function parseIp(text: string): IpAddress | undefined {
  return text.includes(":") ? parseV6(text) : parseV4(text);
}

function parseV4(text: string): IpAddress | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  const bytes = new Uint8Array(4);
  for (const [i, part] of parts.entries()) {
    if (!/^(?:0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    bytes[i] = Number(part);
  }
  return bytes;
}

function parseV6(text: string): IpAddress | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map((half) => parseGroups(half)) as [
    number[] | undefined,
    number[] | undefined,
  ];
  if (head === undefined) return undefined;
  if (halves.length === 1) return head.length === 8 ? bytesOfGroups(head) : undefined;
  if (tail === undefined || head.length + tail.length > 7) return undefined;
  if (halves[0]!.includes(".")) return undefined; // an IPv4 tail stands at the very end
  return bytesOfGroups([...head, ...Array(8 - head.length - tail.length).fill(0), ...tail]);
}

/** Groups of 16 bits; the last may be an IPv4 address, which is two. */
function parseGroups(text: string): number[] | undefined {
  if (text === "") return [];
  const groups: number[] = [];
  const parts = text.split(":");
  for (const [i, part] of parts.entries()) {
    if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      groups.push(parseInt(part, 16));
      continue;
    }
    const v4 = i === parts.length - 1 ? parseV4(part) : undefined;
    if (v4 === undefined) return undefined;
    groups.push(v4[0]! << 8 | v4[1]!, v4[2]! << 8 | v4[3]!);
  }
  return groups;
}

function bytesOfGroups(groups: readonly number[]): IpAddress {
  const bytes = new Uint8Array(16);
  groups.forEach((group, i) => {
    bytes[2 * i] = group >> 8;
    bytes[2 * i + 1] = group & 0xff;
  });
  return bytes;
}

/** The eight groups of an IPv6 address. */
export function groupsOf(ip: IpAddress): number[] {
  return Array.from({ length: 8 }, (_, i) => ip[2 * i]! << 8 | ip[2 * i + 1]!);
}

/** The one text form of an address. */
export function formatIp(ip: IpAddress): string {
  if (ip.length === 4) return ip.join(".");
  const groups = groupsOf(ip);
  // The longest run of two zeros or more is left out; of equals the first.
  let best = { start: 0, length: 1 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  const hex = groups.map((group) => group.toString(16));
  if (best.length < 2) return hex.join(":");
  const { start, length } = best;
  return `${hex.slice(0, start).join(":")}::${hex.slice(start + length).join(":")}`;
}

/** Reads `ADDRESS/BITS`; an address alone is a network of one. */
export function parseNetwork(text: string): Network | undefined {
  const [address, bits, more] = text.split("/");
  const ip = parseIp(address!);
  if (ip === undefined || more !== undefined) return undefined;
  const most = ip.length * 8;
  if (bits === undefined) return { address: ip, bits: most };
  return /^\d{1,3}$/.test(bits) && Number(bits) <= most
    ? { address: ip, bits: Number(bits) }
    : undefined;
}

/** Whether an address is in a network; one of the other family never is. */
export function isInNetwork(ip: IpAddress, { address, bits }: Network): boolean {
  if (ip.length !== address.length) return false;
  const whole = bits >> 3;
  for (let i = 0; i < whole; i++) if (ip[i] !== address[i]) return false;
  const mask = 0xff00 >> (bits & 7) & 0xff;
  return mask === 0 || (ip[whole]! & mask) === (address[whole]! & mask);
}
