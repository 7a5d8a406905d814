/**
 * `realm agent`: keeps what the owner's manifest says running on this machine.
 *
 * @module
 */
import { RealmError } from "../agent/kernel/error.ts";
import { printable } from "./output.ts";
import { command } from "./command.ts";
import {
  defaulted,
  optional,
  parseHostPort,
  parseInteger,
  parseText,
  repeated,
  toggle,
  Wanted,
} from "./parameters.ts";
import { outliveStrayErrors } from "./stray_errors.ts";
import { VERSION } from "./version.ts";

export const agent = command({
  brief: "Keep what the owner's manifest says running on this machine",
  description:
    "Without an owner it is unclaimed and obeys nothing; the owner is learnt here, once, by --owner or --ticket. Runs until it is interrupted.",
  flags: {
    owner: optional("Public key of the owner", "KEY", parseText),
    ticket: optional("What realm invite printed", "TICKET", parseText),
    name: optional(
      "What the manifest calls this machine (default: its host name)",
      "NODE",
      parseText,
    ),
    http: defaulted("Where the proxy listens", "HOST:PORT", parseHostPort, "127.0.0.1:8080"),
    metrics: optional("Where Prometheus may read /metrics", "HOST:PORT", parseHostPort),
    otlp: optional("Send traces to this collector, by OTLP over HTTP", "URL", parseCollector),
    otlpSample: defaulted("The part of the traces that begin here", "RATIO", parseRatio, "0.1"),
    otlpCallers: defaulted(
      "Requests a second that are recorded because their caller wants it",
      "N",
      parseInteger(0, 1_000_000),
      "100",
    ),
    listen: repeated("Where peers reach this node", "MULTIADDR", parseText),
    join: repeated("A node to join", "MULTIADDR", parseText),
    noMdns: toggle("Do not look for nodes on the same network by multicast DNS"),
    allowExec: toggle("Let the owner run host commands here"),
  },
  async run(context, flags) {
    const { startAgent } = await import("../agent/agent.ts");
    const { readPolicy } = await import("../agent/node/policy_file.ts");
    const { isolation } = await readPolicy(context.dataFolder);
    // The environment is for the Worker that transpiles, sys for the figures of the node; a
    // manifest that asks for processes may come later.
    const run = isolation.process || flags.allowExec ? ["run"] as const : [];
    context.keepPermissions("read", "write", "net", "env", "sys", ...run);
    const { claim, addresses } = await claimOf(flags);
    // Peers choose some of what is said.
    const notice = (text: string) => context.note(printable(text.replaceAll("\n", " ")));
    outliveStrayErrors(notice);
    const agent = await startAgent({
      dataFolder: context.dataFolder,
      nodeName: flags.name ?? Deno.hostname().toLowerCase(),
      http: flags.http,
      program: VERSION,
      ...(flags.metrics === undefined ? {} : { metrics: flags.metrics }),
      ...(claim === undefined ? {} : { claim }),
      ...(flags.otlp === undefined ? {} : {
        traces: {
          url: flags.otlp,
          ratio: flags.otlpSample,
          callersPerSecond: flags.otlpCallers,
        },
      }),
      listen: flags.listen,
      join: [...flags.join, ...addresses],
      ...(flags.noMdns ? {} : { lan: {} }),
      allowExec: flags.allowExec,
      notice,
    });
    const { node, manifest, nodes: [self] } = agent.status();
    const ready = {
      event: "ready",
      node: node.name,
      key: node.key,
      owner: node.owner,
      state: self!.state,
      fingerprint: self!.fingerprint,
      addresses: agent.addresses,
      proxy: agent.proxyUrl,
      metrics: agent.metricsUrl ?? null,
      control: agent.controlPath,
    };
    context.printLine(ready, () =>
      [
        `node     ${node.name} (${node.key})`,
        ...(agent.addresses.length > 0 ? [`print    ${self!.fingerprint}, ${self!.state}`] : []),
        ...agent.addresses.map((address) => `peers    ${address}`),
        `owner    ${
          node.owner ??
            "none: unclaimed, obeys nothing. Start with --ticket TICKET, of realm invite"
        }`,
        `manifest ${manifest ? `version ${manifest.version}` : "none yet"}`,
        `proxy    ${agent.proxyUrl}`,
        ...(agent.metricsUrl ? [`metrics  ${agent.metricsUrl}`] : []),
        "ready",
      ].join("\n"));
    const signal = context.shell.interrupted();
    await new Promise<void>((resolve) => {
      if (signal.aborted) return resolve();
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    context.note("stopping");
    await agent.close();
  },
});

/** Where spans go: a URL without a path is that of a collector that has them in the usual place. */
export function parseCollector(text: string): string {
  const url = URL.parse(text);
  if (url === null || url.protocol !== "http:" && url.protocol !== "https:") {
    throw new Wanted("a URL such as http://127.0.0.1:4318");
  }
  // Every user of a machine sees the arguments of its programs.
  if (url.username !== "" || url.password !== "") {
    throw new Wanted("a URL without user or password");
  }
  if (url.pathname === "/") url.pathname = "/v1/traces";
  return url.href;
}

/** `0.1` */
export function parseRatio(text: string): number {
  const ratio = /^\d*\.?\d+$/.test(text) ? Number(text) : NaN;
  if (ratio >= 0 && ratio <= 1) return ratio;
  throw new Wanted("a number from 0 to 1");
}

/** Whose the node is, from either flag, which must agree; and whom the ticket names. */
async function claimOf(
  { owner, ticket }: { owner: string | undefined; ticket: string | undefined },
): Promise<{ claim?: { owner: string; topic?: string }; addresses: readonly string[] }> {
  const { formatPublicKey, parsePublicKey } = await import("../agent/kernel/key.ts");
  const named = owner === undefined ? undefined : formatPublicKey(parsePublicKey(owner));
  if (ticket === undefined) {
    return { ...(named === undefined ? {} : { claim: { owner: named } }), addresses: [] };
  }
  const { parseTicket } = await import("../agent/realm/ticket.ts");
  const { owner: invited, topic, addresses } = parseTicket(ticket);
  if (named !== undefined && named !== invited) {
    throw new RealmError(
      "usage",
      `Cannot take two owners: --owner is ${named}, the ticket is of ${invited}`,
      { hint: "Give one of the two" },
    );
  }
  return { claim: { owner: invited, topic }, addresses };
}
