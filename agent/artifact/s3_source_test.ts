import assert from "node:assert/strict";
import { RealmError } from "../kernel/error.ts";
import { fetchS3, parseS3Source } from "./s3_source.ts";

const refused = (wanted: RegExp) => (error: unknown) => {
  assert.ok(error instanceof RealmError && error.code === "invalid-config");
  assert.match(error.message, wanted);
  assert.ok(!`${error.message} ${error.stack} ${error.cause}`.includes("hunter2"), "a password");
  return true;
};

Deno.test("parseS3Source() reads bucket, key, region and endpoint", () => {
  assert.deepEqual(parseS3Source("s3://b.ucket/a/..b/c%?endpoint=http://[::1]:9000&region=x"), {
    bucket: "b.ucket",
    key: "a/..b/c%",
    endpoint: "http://[::1]:9000",
    region: "x",
  });
});

Deno.test("parseS3Source() takes no key that a URL would make another of", () => {
  for (const key of ["..", "../other/key", "a/../../other/key", "a/./b", "."]) {
    assert.throws(() => parseS3Source(`s3://bucket/${key}`), refused(/"\." or "\.\." between/));
  }
});

Deno.test("a user in an endpoint is refused, and no error has it", async () => {
  const endpoints = ["http://me:hunter2@host", "http:me:hunter2@host", "me:hunter2@"];
  for (const endpoint of endpoints) {
    const source = `s3://bucket/key?endpoint=${endpoint}`;
    assert.throws(() => parseS3Source(source), refused(/^Cannot fetch "s3:\/\/bucket\/key": its/));
    await assert.rejects(
      fetchS3("s3://bucket/key", {
        bytesMax: 1,
        signal: new AbortController().signal,
        manifestFolder: "/",
        machine: {
          variable: (name) => name === "AWS_ENDPOINT_URL" ? endpoint : undefined,
          lookup: () => assert.fail("nothing is looked up"),
          run: () => assert.fail("nothing is run"),
        },
      }),
      refused(/the endpoint of AWS's settings has a user in it/),
    );
  }
  assert.throws(
    () => parseS3Source("s3://bucket/key?password=hunter2"),
    refused(/^Cannot fetch "s3:\/\/bucket\/key": unknown "password"$/),
  );
});
