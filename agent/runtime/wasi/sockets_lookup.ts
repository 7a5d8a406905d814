/**
 * `wasi:sockets/ip-name-lookup`.
 *
 * @see https://github.com/WebAssembly/wasi-sockets/tree/v0.2.12/wit/ip-name-lookup.wit
 * @module
 */
import { parseIp } from "../../kernel/ip_address.ts";
import type { AgentCall } from "../agent_calls.ts";
import type { WasiInstance } from "./context.ts";
import { Pollable } from "./io.ts";
import { guardResource, Resource } from "./resource.ts";
import {
  callNetwork,
  codeOf,
  fail,
  type Network,
  toWitAddress,
  type WitIpAddress,
} from "./sockets_network.ts";

/** What may not stand in a host: `new URL` would read another part of a URL from it. */
// deno-lint-ignore no-control-regex
const NOT_IN_HOST = /[\x00-\x20\x7f/?#@\\:%[\]]/;
const NAME_LENGTH_MAX = 1024;

/** Reads a host as a URL does: an address in any of its spellings, or a name in ASCII. */
function parseHost(text: string): string | undefined {
  const bare = text.startsWith("[") && text.endsWith("]") ? text.slice(1, -1) : text;
  if (bare.includes(":")) return parseIp(bare) && bare;
  if (bare !== text || text === "" || text.length > NAME_LENGTH_MAX) return undefined;
  if (NOT_IN_HOST.test(text)) return undefined;
  return URL.parse(`http://${text}/`)?.hostname;
}

/** Resource `resolve-address-stream`. */
export class ResolveAddressStream extends Resource {
  readonly #call: AgentCall | undefined;
  readonly #forget: () => void;
  #found: WitIpAddress[] | undefined;

  constructor(host: WasiInstance, source: AgentCall | WitIpAddress[]) {
    super(host, "resolve-address-stream");
    if (Array.isArray(source)) this.#found = source;
    else this.#call = source;
    this.#forget = host.onClose(() => this.#call?.drop());
  }

  resolveNextAddress(): WitIpAddress | undefined {
    this.#found ??= this.#take();
    return this.#found.shift();
  }

  #take(): WitIpAddress[] {
    const call = this.#call!;
    if (!call.answered) fail("would-block");
    try {
      return (call.answer() as string[]).map((address) => toWitAddress(parseIp(address)!));
    } catch (error) {
      const code = codeOf(error);
      // The interface has no `timeout` here; EAI_AGAIN is what the system's resolver answers.
      return fail(code === "timeout" ? "temporary-resolver-failure" : code);
    }
  }

  subscribe(): Pollable {
    const call = this.#call;
    return new Pollable(this.host, {
      ready: () => call === undefined || call.answered,
      wait: (wake) => call!.wait(wake),
    }, this);
  }

  protected override released(): void {
    this.#forget();
    this.#call?.drop();
  }
}
guardResource("wasi:sockets/ip-name-lookup", "resolve-address-stream", ResolveAddressStream);

/** `resolve-addresses`: an address is its own answer, a name is asked of the agent. */
export function resolveAddresses(
  host: WasiInstance,
  _network: Network,
  name: string,
): ResolveAddressStream {
  const found = parseHost(name);
  if (found === undefined) fail("invalid-argument");
  const literal = parseIp(found);
  if (literal) return new ResolveAddressStream(host, [toWitAddress(literal)]);
  const call = callNetwork(host, "wasi:sockets/ip-name-lookup#resolve-addresses", "dns", {
    op: "lookup",
    name: found,
  });
  return new ResolveAddressStream(host, call);
}
