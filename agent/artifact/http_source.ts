/**
 * `http:` and `https:` sources.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import { httpGet, sourceError } from "./http_get.ts";
import type { SourceContext } from "./source.ts";

/** The body of the final answer; see {@link httpGet}. */
export async function fetchHttp(source: string, context: SourceContext): Promise<Uint8Array> {
  let url: URL;
  try {
    url = new URL(source);
  } catch (cause) {
    throw sourceError(source, "invalid-config", "not a URL", { cause });
  }
  if (url.username !== "" || url.password !== "") {
    throw new RealmError(
      "invalid-config",
      // Without the source: it has a password in it.
      `Cannot fetch from "${url.host}": the URL has a user or password, wanted none`,
    );
  }
  return (await httpGet({ url, source }, context)).bytes;
}
