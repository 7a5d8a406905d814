/**
 * Network grants in the words of a manifest and of the command line: `https://idp.example.com`,
 * `tcp://:5000`.
 *
 * @module
 */
import { formatIp, parseIp } from "./ip_address.ts";
import type { ListenGrant, NetworkGrants, OutboundGrant } from "./ports.ts";

/** Whether anything of the network is granted. */
export function hasNetwork({ outbound, loopback, dns, listen }: NetworkGrants): boolean {
  return outbound.length + loopback.length + listen.length > 0 || dns === true || dns.length > 0;
}

/** The ports of schemes that may be written without one. */
const PORT_OF_SCHEME: Readonly<Record<string, number>> = {
  http: 80,
  https: 443,
  ws: 80,
  wss: 443,
  postgres: 5432,
  postgresql: 5432,
  mysql: 3306,
  redis: 6379,
  rediss: 6379,
  mongodb: 27017,
  amqp: 5672,
  amqps: 5671,
  nats: 4222,
  mqtt: 1883,
  mqtts: 8883,
  smtp: 25,
  smtps: 465,
  imaps: 993,
  ldap: 389,
  ldaps: 636,
  ssh: 22,
};

const NAME = /^(?!.*\.\.)[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?$/;

/** A host name in the form that is compared: lower case, no last dot; `undefined` where it is none. */
export function normalizeName(text: string): string | undefined {
  const name = text.toLowerCase().replace(/\.$/, "");
  return NAME.test(name) ? name : undefined;
}

function parsePort(digits: string): number | undefined {
  return /^\d{1,5}$/.test(digits) && Number(digits) <= 65_535 ? Number(digits) : undefined;
}

/**
 * Reads `SCHEME://HOST[:PORT]`; `HOST` is a name, `*.NAME` for all below it, or an address.
 * `undefined` when it is none, or has no port and a scheme without a usual one.
 */
export function parseOutbound(text: string): OutboundGrant | undefined {
  const match = /^([a-zA-Z][a-zA-Z0-9+.-]*):\/\/(\[[^\]]+\]|[^:/?#@[\]]+)(?::(\d+))?$/.exec(text);
  if (!match) return undefined;
  const scheme = match[1]!.toLowerCase();
  const host = parseHost(match[2]!);
  const port = match[3] === undefined ? PORT_OF_SCHEME[scheme] : parsePort(match[3]);
  return host === undefined || !port ? undefined : { scheme, host, port };
}

function parseHost(text: string): string | undefined {
  if (text.startsWith("[")) {
    const ip = parseIp(text.slice(1, -1));
    return ip?.length === 16 ? formatIp(ip) : undefined;
  }
  if (parseIp(text)) return text;
  const below = text.startsWith("*.");
  const name = normalizeName(below ? text.slice(2) : text);
  if (name === undefined || /^[0-9.]+$/.test(name)) return undefined; // `127.1` is no name
  return below ? `*.${name}` : name;
}

/**
 * Reads `tcp://HOST:PORT` or `HOST:PORT`, which is tcp; without a host it is every address of the
 * machine. Port 0 is any that is free. `undefined` when it is none of these.
 */
export function parseListen(text: string): ListenGrant | undefined {
  const match = /^(?:(tcp|udp):\/\/)?(\[[^\]]+\]|[^:/?#@[\]]*):(\d+)$/.exec(text);
  if (!match) return undefined;
  const transport = (match[1] ?? "tcp") as ListenGrant["transport"];
  const host = match[2] === ""
    ? "0.0.0.0"
    : match[2] === "localhost"
    ? "127.0.0.1"
    : parseHost(match[2]!);
  const port = parsePort(match[3]!);
  if (host === undefined || port === undefined || !parseIp(host)) return undefined;
  return { transport, host, port };
}
