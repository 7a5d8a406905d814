/**
 * What each key of `realm.toml` and `policy.toml` is for, by its table, as the file writes it. What
 * a value may be and what it is when it is not written comes from the schema.
 *
 * @module
 */

/** Tables of `realm.toml`, in the order of the reference. */
export const MANIFEST_TEXTS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "[owner]": {
    pubkey: "the key whose signature puts a manifest in force; `realm key show` prints it",
  },
  "[realm]": {
    name: "what the realm is called in `realm status`",
    partition: "what nodes that hear of no majority may start: nothing new, or whatever is missing",
    exec:
      "nodes on which the owner may run host commands; their `policy.toml` and `--allow-exec` have to agree",
    operators: "keys that may restart, scale, drain and read logs; they may not apply",
  },
  "[nodes.NAME]": {
    tags: "words of your own, for `tag:NAME` in `[routing]` and for `placement`",
    addr_hint: "where the node can be reached",
    key: "the node's key, if only this one may have the name; otherwise the one that was approved",
    quota: "what this realm may use of the node: [below](#quota)",
  },
  quota: {
    memory_mb: "memory of all replicas there, in MiB, as `memory_max_mb` gives it to each",
    fuel_per_sec: "fuel of all replicas there, as `fuel_per_sec` gives it to each",
    instances: "replicas",
  },
  "[components.NAME]": {
    source: "where the bytes come from: [sources.md](sources.md)",
    sha256: "what the bytes must be; `realm apply` pins what it found where this is left out",
    world: "a program that runs, or a handler that is called for each request",
    allowed_outbound:
      "servers that it may connect to, by scheme, host and port: `https://api.example.com`, `postgres://db.internal:5432`",
    private_outbound: "private addresses that public names may lead to: `10.0.0.0/8`",
    loopback: "ports of the host itself; the node's `policy.toml` has to allow them",
    dns:
      "names that it may look up; `true` for any. Names of `allowed_outbound` may always be looked up",
    listen:
      "ports that a command listens on. One with a route needs one: each replica gets its own port behind the proxy. Others are ports of the host, which the node's `policy.toml` has to allow",
    memory_max_mb: "MiB of all memories and tables of a replica, its instances together",
    fuel_per_sec:
      "instructions a second; who needs more waits. What traps has used up all that it " +
      "was handed of them at once, up to 262,144",
    epoch_timeout_ms: "longest time that it may compute without a call to the host; then it traps",
    env: "environment variables",
    vars: "like `env`, and through `wasi:config`",
    args: "arguments of a command",
    clock: "the time; without it the wall clock stands still and timers are coarse",
    random: "secure random; without it only insecure random",
    mounts: "folders that it sees: [below](#mounts)",
    secrets: "names of `[secrets]` that it may open: [secrets.md](secrets.md)",
    keyvalue:
      "a private `wasi:keyvalue` store, opened as `default`: `keyvalue/NAME.sqlite` of the data folder, shared by its replicas, never removed",
    isolation: "a replica runs in a thread of the agent, or in a process of its own",
    restart: "whether a command that ended is started again, after 1 s to 60 s",
    max_concurrency: "requests in flight in one replica; others wait",
    instance_per_request: "a fresh instance for each request",
    request_timeout_ms: "how long a request may take",
    health: "how to ask whether it is well: [below](#health)",
    placement: "where it runs without a route: [below](#placement-of-a-component)",
  },
  mounts: {
    volume: "a folder that realm keeps for this name; the component then stays on its node",
    host:
      "a folder of the host, which the node's `policy.toml` has to allow; either this or `volume`",
    guest: "where the component sees it",
    mode: "whether it may write",
  },
  health: {
    http: "path of a GET; 200 to 399 in time is good",
    export: "asks the component by its export `realm:health/check`, in place of `http`",
    interval_ms: "time between two probes",
    timeout_ms: "how long an answer may take",
    healthy_after: "good probes in a row that make a replica healthy",
    unhealthy_after: "bad probes in a row that make it unhealthy",
    grace_ms: "for so long bad probes of a replica that has just started are forgiven",
  },
  "placement of a component": {
    tags: "a node needs all of them; none is any node",
    replicas: "in total over those nodes",
    spread: "over what they are spread",
  },
  "[routing]": {
    path: "`/a/b` exactly, or `/a/b/...` with all below it; the longest path wins",
    component: "which component answers, with its label if it has one",
    replicas: "on that node, or in total over the nodes with the tag",
    host: "only requests for this host name",
    weight: "per cent of the traffic, among the labels of one component",
    max_surge: "replicas that may be started beside the old ones in a rollout; 1 unless given",
    max_unavailable: "replicas that may be missing in a rollout; 1 unless given",
    strip_prefix: "take the route's path off before the component sees it",
  },
};

/** Tables of `policy.toml`. */
export const POLICY_TEXTS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  policy: {
    exec: "may the owner run host commands here; `realm agent --allow-exec` has to agree",
  },
  "[mounts]": {
    allow: "folders of the host that may be mounted, each with all below it: `{ host, mode }`",
  },
  "mounts.allow": {
    host: "the folder",
    mode: "whether components may write there",
  },
  "[limits]": {
    memory_max_mb: "the most that a manifest may give to one replica, in MiB",
    fuel_per_sec: "the most that it may give to one replica",
    epoch_timeout_ms: "the longest that it may give to one replica",
    instances: "replicas of the realm on this node",
  },
  "[isolation]": {
    process:
      "may components ask for a process of their own; without it the agent gives up the permission to start any when it starts",
  },
  "[listen]": { ports: "ports of the host that components may listen on" },
  "[loopback]": { ports: "ports of the host that components may connect to" },
};
