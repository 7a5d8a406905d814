/**
 * Which grant opens which WASI interface, and which interfaces there are.
 *
 * Every WASI import links, granted or not; these tables are what `realm inspect` prints and what a
 * notice about a denied call names.
 *
 * @module
 */

/** A grant: how the command line and the manifest write it, and what it gives. */
export interface Grant {
  /** Option of `realm run` and `realm serve`. */
  readonly flag: string;
  /** Key in a component's table of `realm.toml`. */
  readonly manifest: string;
  readonly gives: string;
  /** The words of a notice. */
  readonly allowedBy: string;
}

/** A grant; `manifest` is `"always"` where every component of a manifest has it. */
function grant(flag: string, manifest: string, gives: string): Grant {
  const allowedBy = manifest === "always" ? flag : `${manifest} in realm.toml, or ${flag}`;
  return { flag, manifest, gives, allowedBy };
}

/** Every grant that an interface may need. */
export const GRANTS = {
  stdio: grant("no --deny stdio", "always", "standard input, output and error"),
  arguments: grant("ARGS…", "args", "arguments"),
  environment: grant("--env K=V", "env", "environment variables"),
  clock: grant("no --deny clock", "clock = true", "the wall clock and a fine monotonic clock"),
  random: grant("no --deny random", "random = true", "unpredictable random bytes"),
  mounts: grant("--dir HOST::GUEST[:ro]", "mounts", "files of the host"),
  outbound: grant(
    "--net SCHEME://HOST[:PORT]",
    "allowed_outbound",
    "connections to named hosts",
  ),
  listen: grant("--listen HOST:PORT", "listen", "listening sockets"),
  sockets: grant(
    "--net SCHEME://HOST[:PORT] or --listen HOST:PORT",
    "allowed_outbound or listen",
    "connections to named hosts, listening sockets",
  ),
  dns: grant("--dns NAME", "dns", "name lookup"),
  config: grant("--var K=V", "vars", "configuration values"),
  secrets: grant("--secret NAME=FILE", "secrets", "secrets"),
  keyvalue: grant("--keyvalue DIR", "keyvalue = true", "a private key-value store"),
} as const satisfies Record<string, Grant>;

/** A key of {@link GRANTS}. */
export type GrantName = keyof typeof GRANTS;

/** The grant that an interface needs to be of use; `null`: it is always there. */
export const GRANT_OF_INTERFACE: Readonly<Record<string, GrantName | null>> = {
  "wasi:cli/environment": "environment",
  "wasi:cli/exit": null,
  "wasi:cli/stdin": "stdio",
  "wasi:cli/stdout": "stdio",
  "wasi:cli/stderr": "stdio",
  "wasi:cli/terminal-input": null,
  "wasi:cli/terminal-output": null,
  "wasi:cli/terminal-stdin": "stdio",
  "wasi:cli/terminal-stdout": "stdio",
  "wasi:cli/terminal-stderr": "stdio",
  "wasi:clocks/monotonic-clock": "clock",
  "wasi:clocks/wall-clock": "clock",
  "wasi:clocks/timezone": null,
  "wasi:filesystem/preopens": "mounts",
  "wasi:filesystem/types": "mounts",
  "wasi:http/types": null,
  "wasi:http/outgoing-handler": "outbound",
  "wasi:io/error": null,
  "wasi:io/poll": null,
  "wasi:io/streams": null,
  "wasi:random/random": "random",
  "wasi:random/insecure": null,
  "wasi:random/insecure-seed": null,
  "wasi:sockets/network": null,
  "wasi:sockets/instance-network": null,
  "wasi:sockets/ip-name-lookup": "dns",
  "wasi:sockets/tcp": "sockets",
  "wasi:sockets/tcp-create-socket": "sockets",
  "wasi:sockets/udp": "sockets",
  "wasi:sockets/udp-create-socket": "sockets",
  "wasi:keyvalue/store": "keyvalue",
  "wasi:keyvalue/atomics": "keyvalue",
  "wasi:keyvalue/batch": "keyvalue",
  "wasi:config/store": "config",
  "wasi:config/runtime": "config",
  "wasi:logging/logging": "stdio",
  // Of WASI 0.3 only.
  "wasi:cli/types": null,
  "wasi:clocks/system-clock": "clock",
  "wasi:clocks/types": null,
  "wasi:http/client": "outbound",
  "wasi:sockets/types": "sockets",
};

/** Interfaces of WASI 0.3 that are answered. */
const OF_03: ReadonlySet<string> = new Set([
  "wasi:cli/environment",
  "wasi:cli/exit",
  "wasi:cli/stdin",
  "wasi:cli/stdout",
  "wasi:cli/stderr",
  "wasi:cli/terminal-input",
  "wasi:cli/terminal-output",
  "wasi:cli/terminal-stdin",
  "wasi:cli/terminal-stdout",
  "wasi:cli/terminal-stderr",
  "wasi:cli/types",
  "wasi:clocks/monotonic-clock",
  "wasi:clocks/system-clock",
  "wasi:clocks/types",
  "wasi:filesystem/preopens",
  "wasi:filesystem/types",
  "wasi:http/client",
  "wasi:http/types",
  "wasi:random/random",
  "wasi:random/insecure",
  "wasi:random/insecure-seed",
  "wasi:sockets/ip-name-lookup",
  "wasi:sockets/types",
]);
/** Those that WASI 0.2 does not have. */
const ONLY_03: ReadonlySet<string> = new Set([
  "wasi:cli/types",
  "wasi:clocks/system-clock",
  "wasi:clocks/types",
  "wasi:http/client",
  "wasi:sockets/types",
]);

/** The same for the functions of WASI 0.1; the others are always there. */
export const GRANT_OF_PREVIEW1: Readonly<Record<string, GrantName>> = {
  args_get: "arguments",
  clock_time_get: "clock",
  environ_get: "environment",
  fd_prestat_dir_name: "mounts",
  fd_prestat_get: "mounts",
  fd_readdir: "mounts",
  path_create_directory: "mounts",
  path_filestat_get: "mounts",
  path_filestat_set_times: "mounts",
  path_link: "mounts",
  path_open: "mounts",
  path_readlink: "mounts",
  path_remove_directory: "mounts",
  path_rename: "mounts",
  path_symlink: "mounts",
  path_unlink_file: "mounts",
  random_get: "random",
};

/** The versions of each package that are answered; drafts are pinned. */
const VERSIONS: Readonly<Record<string, RegExp>> = {
  "wasi:keyvalue": /^0\.2\.0-draft2?$/,
  "wasi:config": /^0\.2\.0-(draft|rc\.1)$/,
  "wasi:logging": /^0\.1\.0-draft$/,
};
const STABLE = /^0\.2\.\d+$/;

/**
 * Whether an import of this interface links.
 *
 * `version` is what stands behind the `@`, `undefined` where there is none. Everything of WASI
 * 0.2 is compatible upwards: a component built for 0.2.0 or 0.2.12 gets the same host; likewise
 * 0.3, of which release candidates are other interfaces.
 */
export function isProvided(interfaceName: string, version: string | undefined): boolean {
  if (version !== undefined && /^0\.3\.\d+$/.test(version)) return OF_03.has(interfaceName);
  if (!Object.hasOwn(GRANT_OF_INTERFACE, interfaceName) || ONLY_03.has(interfaceName)) return false;
  const packageName = interfaceName.slice(0, interfaceName.indexOf("/"));
  const pinned = VERSIONS[packageName];
  if (version === undefined) return pinned !== undefined && packageName === "wasi:logging";
  return (pinned ?? STABLE).test(version);
}
