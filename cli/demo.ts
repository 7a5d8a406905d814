/**
 * `realm demo`: a realm on this machine that shows what realm does, and checks that it did.
 *
 * @module
 */
import { command } from "./command.ts";
import { defaulted, optional, parseInteger, parseSeconds } from "./parameters.ts";

export const demo = command({
  brief: "Run a sample realm on this machine, with real traffic, and check it",
  description:
    "Makes a realm in a temporary folder: an agent of its own, a signed manifest with three components, requests through the proxy, a manifest that was tampered with, a component that its limit kills; then machines that join, are approved, get what was applied, are cut off and come back. Every line is checked; the exit status is 0 when all of it was seen. Without --for it stays until it is interrupted. The folder and the agents are gone afterwards.",
  flags: {
    nodes: defaulted("Machines", "N", parseInteger(1, 9), "3"),
    for: optional("End by itself, so long after it began", "SECONDS", parseSeconds),
  },
  async run(context, flags) {
    const { runDemo } = await import("./demo/story.ts");
    return await runDemo(context, flags.for, flags.nodes) ? 0 : 1;
  },
});
