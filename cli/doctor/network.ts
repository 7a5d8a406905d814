/**
 * The doctor's look at the agent and its network: versions, ports, how others reach it.
 *
 * @module
 */
import { isBefore } from "../upgrade/executable.ts";
import type { Status } from "../../tui/view_model.ts";
import { kindOfAddress } from "../../agent/kernel/address_policy.ts";
import { parseIp } from "../../agent/kernel/ip_address.ts";
import { type Finding, ok, problem, warning } from "./finding.ts";

/** Where the proxy listens unless --http says otherwise. */
export const PROXY_PORT = 8080;

/** What the agent says of itself and its realm; `version` is that of this executable. */
export function lookAtAgent({ node, nodes, alarms, topics }: Status, version: string): Finding[] {
  // Apps need no owner: where there are some, that there is none may well be meant.
  const isMeant = (code: string) => code === "unclaimed" && topics.length > 0;
  const others = nodes.filter((each) =>
    each.live && each.program !== null &&
    each.program !== node.program
  );
  return [
    node.program === version
      ? ok("versions", `the agent and this executable are ${version}`)
      : warning(
        "versions",
        `the agent is ${node.program}, this executable ${version}`,
        "Start the agent again",
      ),
    ...others.map((each) =>
      warning(
        "versions",
        `${each.name} runs ${each.program}, this node ${node.program}`,
        `Run realm upgrade ${isBefore(each.program!, node.program) ? "there" : "here"}`,
      )
    ),
    ...alarms.map((each) =>
      (each.severity === "critical" && !isMeant(each.code) ? problem : warning)(
        "alarms",
        each.message,
        each.hint,
      )
    ),
  ];
}

/** Whether machines elsewhere can dial this node, by the addresses that it has. */
export function lookAtAddresses(addresses: readonly string[], others: number): Finding {
  const kinds = new Set(addresses.map(kindOf));
  if (addresses.length === 0) {
    return warning(
      "nat",
      "no other machine can reach this one: it does not listen",
      "Start realm agent with --listen /ip4/0.0.0.0/tcp/4001, if there are to be others",
    );
  }
  if (kinds.has("relay")) return ok("nat", "others reach it by way of a member that listens");
  if (kinds.has("public")) return ok("nat", "it has an address that others can dial");
  if (!kinds.has("private")) {
    return warning(
      "nat",
      "it listens on this machine alone",
      "Start realm agent with --listen /ip4/0.0.0.0/tcp/4001",
    );
  }
  const message = "it has private addresses only: machines of other networks cannot dial it";
  const fix = "Start realm agent with --listen /p2p-circuit besides, or forward a port to it";
  return others > 0 ? ok("nat", `${message}; others are connected`) : warning("nat", message, fix);
}

function kindOf(address: string): string {
  if (address.includes("/p2p-circuit")) return "relay";
  const ip = parseIp(/^\/ip[46]\/([^/]+)/.exec(address)?.[1] ?? "");
  return ip === undefined ? "public" : kindOfAddress(ip); // a name was given on purpose
}

/** Whether what should listen does, and what will listen can. */
export async function lookAtPorts(status: Status | undefined): Promise<Finding[]> {
  if (status === undefined) {
    const at = `127.0.0.1:${PROXY_PORT}`;
    return [
      canListen(PROXY_PORT) ? ok("ports", `${at} is free for the proxy`) : warning(
        "ports",
        `${at} is taken by another program`,
        "Start realm agent with --http 127.0.0.1:PORT",
      ),
    ];
  }
  const own = status.nodes.find(({ self }) => self)?.addresses ?? [];
  const places = [
    ...(status.proxy === null ? [] : [["the proxy", placeOfUrl(status.proxy)] as const]),
    ...own.map((address) => ["peers", placeOf(address)] as const),
  ];
  return await Promise.all(
    places.flatMap(([what, place]) => place === undefined ? [] : [dial(what, place)]),
  );
}

interface Place {
  readonly hostname: string;
  readonly port: number;
}

function placeOfUrl(url: string): Place {
  const { hostname, port } = new URL(url);
  return { hostname: hostname.replace(/^\[|\]$/g, ""), port: Number(port || 80) };
}

/** Of this machine's own addresses only: nobody else is dialled. */
function placeOf(address: string): Place | undefined {
  const match = /^\/ip[46]\/([^/]+)\/tcp\/(\d+)(?:\/p2p\/[^/]+)?$/.exec(address);
  return match === null ? undefined : { hostname: match[1]!, port: Number(match[2]) };
}

async function dial(what: string, { hostname, port }: Place): Promise<Finding> {
  const at = `${hostname}:${port}`;
  try {
    (await Deno.connect({ hostname, port, signal: AbortSignal.timeout(5_000) })).close();
    return ok("ports", `${at} answers, for ${what}`);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const fix = "Look for a firewall of this machine, and at what the agent prints";
    return problem("ports", `${at} does not answer, for ${what}: ${reason}`, fix);
  }
}

function canListen(port: number): boolean {
  try {
    Deno.listen({ hostname: "127.0.0.1", port }).close();
    return true;
  } catch {
    return false;
  }
}
