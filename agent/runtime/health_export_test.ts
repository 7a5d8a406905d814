import assert from "node:assert/strict";
import { REASON_BYTES_MAX } from "../kernel/health_check.ts";
import { healthCall, readHealth, reduceHealthExport } from "./health_export.ts";

/** The export in the form that jco gives it; `lifted` is what it does with the result. */
const glue = (lifted: string) =>
  `  function check() {
    const started = task.enterSync();
    return _withGlobalCurrentTaskMeta({
      fn: () => {
        let ret;
        ret =  $enter(check010Check, );
        ${lifted}
        postReturn0(ret);
      },
    })
  }
  const check010 = {
    check: check,
    
  };
  return { 'realm:health/check@0.1.0': check010,  };
`;

const LIFTED = `let variant1;
        switch (dataView(memory0).getUint8(ret + 0, true)) {
          case 0: {
            variant1= {
              tag: 'ok',
              val: undefined
            };
            break;
          }
          case 1: {
            var ptr0 = dataView(memory0).getUint32(ret + 4, true);
            var len0 = dataView(memory0).getUint32(ret + 8, true);
            var result0 = TEXT_DECODER_UTF8.decode(new Uint8Array(memory0.buffer, ptr0, len0));
            variant1= {
              tag: 'err',
              val: result0
            };
            break;
          }
          default: {
            throw new TypeError('invalid variant discriminant for expected');
          }
        }`;

Deno.test("reduceHealthExport() leaves of the export its call, and nothing else changes", () => {
  const reduced = reduceHealthExport(glue(LIFTED));
  assert.match(
    reduced,
    /^ {2}function check\(\) \{\n return \$enter\(check010Check, memory0, postReturn0\);\n\s+\}\n/,
  );
  assert.equal(
    reduced.slice(reduced.indexOf("  const")),
    glue("").slice(glue("").indexOf("  const check010 ")),
  );
});

Deno.test("reduceHealthExport() changes no export of another name or type", () => {
  const others = [
    glue(LIFTED).replace("realm:health/check@0.1.0", "realm:health/check@0.2.0"),
    glue(LIFTED.replaceAll("UTF8", "UTF16")),
    glue(LIFTED.replace("val: undefined", "val: 1")),
    glue("return ret;"),
    glue(LIFTED).replaceAll("check()", "check(arg0)"),
  ];
  for (const other of others) assert.equal(reduceHealthExport(other), other);
  assert.throws(() => healthCall([]), { code: "unsupported", message: /wanted check: func\(\)/ });
});

/** A result at `at`: its words, and a text at 64. */
function result(at: number, words: readonly number[], text: Uint8Array): WebAssembly.Memory {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const view = new DataView(memory.buffer);
  words.forEach((word, i) => view.setUint32(at + 4 * i, word, true));
  new Uint8Array(memory.buffer).set(text, 64);
  return memory;
}

Deno.test("readHealth() reads of a reason what is told, and refuses what is no result", () => {
  const encode = (text: string) => new TextEncoder().encode(text);
  const read = (at: number, words: readonly number[], text = "") =>
    readHealth(result(at & 0xffff, words, encode(text)), at);
  assert.equal(read(8, [0, 1, 2]), undefined);
  assert.equal(read(8, [1, 64, 4], "full of it"), "full");
  assert.equal(read(8, [1, 64, 0]), "");
  const long = "ü".repeat(REASON_BYTES_MAX);
  assert.equal(read(8, [1, 64, 2 * REASON_BYTES_MAX], `x${long}`), `x${long.slice(0, 149)}`);
  assert.equal(read(8, [1, 64, 1], "ü"), "\ufffd", "what is no UTF-8 stays visible");
  const last = 65_536 - 12;
  assert.equal(read(last, [0, 0, 0]), undefined);
  for (const at of [6, last + 4, -4]) {
    const memory = result(0, [], encode(""));
    assert.throws(() => readHealth(memory, at), { code: "trap", message: /it is at/ }, `${at}`);
  }
  assert.throws(() => read(8, [2, 64, 1]), { code: "trap", message: /discriminant is 2/ });
  for (const [from, length] of [[64, 65_536], [65_536, 1], [0xffff_ffff, 0xffff_ffff]]) {
    assert.throws(() => read(8, [1, from!, length!]), { code: "trap", message: /outside/ });
  }
});
