/**
 * jco's WebAssembly tools, compiled before the first test of whoever imports this. They read and
 * compile themselves on the side, from the moment they are imported: on a busy machine into the
 * first test, which then seems to leave work behind.
 *
 * @module
 */
import { parse } from "@bytecodealliance/jco-transpile/wasm-tools";

await parse("(module)");

export {
  componentEmbed,
  componentNew,
  componentWit,
  parse,
  print,
} from "@bytecodealliance/jco-transpile/wasm-tools";
