import assert from "node:assert/strict";

Deno.test("outliveStrayErrors() tells of errors that nobody waited for, and the program goes on", async () => {
  const module = new URL("stray_errors.ts", import.meta.url).href;
  const program = `
    import { outliveStrayErrors } from ${JSON.stringify(module)};
    outliveStrayErrors((text) => console.error(text));
    Promise.reject(new Error("rejected"));
    Promise.reject("no error at all");
    setTimeout(() => { throw new TypeError("thrown"); }, 1);
    setTimeout(() => console.log("went on"), 50);
  `;
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-check", program],
    env: { NO_COLOR: "1" },
  }).output();
  const said = new TextDecoder().decode(stderr).trim().split("\n");
  assert.equal(new TextDecoder().decode(stdout), "went on\n");
  assert.equal(success, true);
  assert.equal(said.length, 3, said.join("\n"));
  assert.match(said[0]!, /^internal error, the agent goes on: Error: rejected at .*/);
  assert.match(said[1]!, /: no error at all$/);
  assert.match(said[2]!, /: TypeError: thrown at .*/);
});
