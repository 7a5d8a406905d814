/**
 * jco's maker of glue, compiled before the first test of whoever imports this (see `wasm_tools.ts`).
 *
 * @module
 */
import { $init } from "@bytecodealliance/jco-transpile/component";

await $init;

export { generate } from "@bytecodealliance/jco-transpile/component";
