/**
 * `realm serve FILE.wasm --addr HOST:PORT`: a request handler behind a server of its own.
 *
 * @module
 */
import { command } from "./command.ts";
import {
  grantsOf,
  GUEST_FLAGS,
  limitsOf,
  logTo,
  readComponent,
  servicesOf,
} from "./guest_flags.ts";
import {
  argument,
  defaulted,
  optional,
  parseHostPort,
  parseInteger,
  parseText,
  toggle,
} from "./parameters.ts";
import { describeProcess, engineOf, formatUsage, statusOf, traceTo } from "./run.ts";

export const serve = command({
  brief: "Serve a wasi:http handler",
  description:
    "Many requests at once, in instances that are used again unless --instance-per-request. Standard output and error of the guest go to those of this command.",
  flags: {
    ...GUEST_FLAGS,
    addr: defaulted(
      "Where to listen; port 0 is any that is free",
      "HOST:PORT",
      parseHostPort,
      "127.0.0.1:8080",
    ),
    maxConcurrency: optional("Requests at once (default 64)", "N", parseInteger(1, 10_000)),
    instancePerRequest: toggle("A fresh instance for each request"),
    requestTimeoutMs: optional(
      "Time for a response to begin (default 30_000)",
      "N",
      parseInteger(1),
    ),
  },
  args: [argument("Component", "FILE.wasm", parseText)],
  async run(context, flags, file) {
    const create = await engineOf(flags.isolation);
    const { listen, serveHandler } = await import("../agent/listen.ts");
    const inProcess = flags.isolation === "process";
    context.keepPermissions("read", "write", "net", "env", ...inProcess ? ["run"] as const : []);
    const bytes = await readComponent(context, file);
    const grants = grantsOf(context, flags, []);
    const engine = create(context.dataFolder);
    try {
      const replica = await engine.start(await engine.prepare(bytes), {
        world: "wasi:http/proxy",
        grants,
        services: await servicesOf(context, flags, grants),
        limits: limitsOf(flags),
        ...(flags.maxConcurrency === undefined ? {} : { maxConcurrency: flags.maxConcurrency }),
        instancePerRequest: flags.instancePerRequest,
        stdio: {
          terminal: { stdin: false, stdout: false, stderr: false },
          read: () => Promise.resolve(null),
          write: (stream, chunk) => context.shell.write(stream, chunk),
        },
        notice: (text) => context.note(`realm: ${text}`),
        ...flags.trace && { trace: traceTo(context) },
        log: logTo(context),
      });
      describeProcess(context, replica);
      const server = listen("requests", flags.addr, () =>
        serveHandler({
          ...flags.addr,
          component: file.split("/").at(-1)!,
          replica,
          ...(flags.maxConcurrency === undefined ? {} : { maxConcurrency: flags.maxConcurrency }),
          ...(flags.requestTimeoutMs === undefined
            ? {}
            : { requestTimeoutMs: flags.requestTimeoutMs }),
        }));
      const url = `http://${server.hostname}:${server.port}/`;
      context.printLine({ url }, () => `Serving ${file} on ${url}`);
      const signal = context.shell.interrupted();
      signal.addEventListener("abort", () => replica.stop(), { once: true });
      const exit = await replica.exited;
      await server.close();
      if (flags.stats) context.shell.write("stderr", `${formatUsage(replica.usage())}\n`);
      return signal.aborted ? 0 : statusOf(exit, file);
    } finally {
      await engine.close();
    }
  },
});
