import assert from "node:assert/strict";

Deno.test("the Worker makes no error while it loads, for whose place V8 would parse all of it again", async () => {
  const made: unknown[] = [];
  const { Error } = globalThis;
  globalThis.Error = new Proxy(Error, {
    construct(target, args, type) {
      made.push(args[0]);
      return Reflect.construct(target, args, type);
    },
  });
  try {
    new globalThis.Error("seen");
    await import("./worker.ts");
  } finally {
    globalThis.Error = Error;
    Object.assign(self, { onmessage: null });
  }
  assert.deepEqual(made, ["seen"]);
});
