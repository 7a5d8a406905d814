/**
 * What runs in the process of a component with `isolation = "process"`; needs nothing else of the
 * agent.
 *
 * @module
 */
export { runGuestProcess } from "./runtime/isolation/child.ts";
