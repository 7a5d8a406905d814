/**
 * `realm exec NODE -- COMMAND…`: runs a program of the host on a node.
 *
 * @module
 */
import { command } from "./command.ts";
import { withNode } from "./connection.ts";
import { argument, defaulted, parseDuration, parseText } from "./parameters.ts";

/** How long a command may wait for its start. */
const EXPIRY_MS = 60_000;

export const exec = command({
  brief: "Run a program of the host on a node, where it allows that",
  description:
    "Signs the command with the owner's key, hands it to the node and prints what it writes; the " +
    "exit status is the program's. There is no shell and no input. The node must be named in " +
    "[realm] exec of the manifest, its agent started with --allow-exec, and its policy.toml have " +
    "exec = true. Every use is in the control log of the realm.",
  usage: ["NODE -- COMMAND…"],
  flags: { timeout: defaulted("Kill it after so long", "DURATION", parseDuration, "1m") },
  args: [argument("Node", "NODE", parseText)],
  rest: argument("Program and its arguments", "COMMAND", (text) => text),
  passThrough: true,
  async run(context, { timeout }, node, ...words) {
    const { RealmError } = await import("../agent/kernel/error.ts");
    if (words.length === 0) {
      throw new RealmError("usage", `Cannot run nothing on ${node}: wanted a command after --`, {
        hint: `Run realm exec ${node} -- uname -a`,
      });
    }
    const { Author } = await import("./author.ts");
    const { controlContent } = await import("../agent/realm/control_event.ts");
    const author = await Author.open(context);
    return await withNode(context, node, author, async (agent, name) => {
      const content = controlContent({
        kind: "exec",
        node: name,
        command: words,
        nonce: crypto.getRandomValues(new Uint8Array(16)),
        expiresAtMs: Date.now() + EXPIRY_MS,
      });
      const [event] = await author.sign(agent, [content]);
      const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
      const options = { timeoutMs: timeout };
      for await (const said of agent.exec(event!, options, context.shell.interrupted())) {
        if (said.kind === "exit") {
          if (context.json) context.printLine(said, () => "");
          return said.status;
        }
        const bytes = Uint8Array.fromBase64(said.data);
        if (!context.json) context.shell.write(said.stream, bytes);
        else {
          const text = decoders[said.stream].decode(bytes, { stream: true });
          context.printLine({ kind: said.kind, stream: said.stream, text }, () => "");
        }
      }
      throw new RealmError("failed", `Cannot tell how the command ended: ${node} did not say`);
    });
  },
});
