/**
 * `http:` and `https:` sources: one GET, few redirects, never from https to http.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import { tooLarge } from "./too_large.ts";

/** Redirects followed before giving up. */
export const REDIRECTS_MAX = 5;
const REDIRECT = new Set([301, 302, 303, 307, 308]);

/**
 * The body of the final answer.
 *
 * Throws RealmError `not-found` for 404 and 410, `limit-exceeded`, `refused` for a redirect that
 * leaves http(s) or goes from https to http, and `failed` for everything else.
 */
export async function fetchHttp(
  source: string,
  options: { bytesMax: number; signal: AbortSignal },
): Promise<Uint8Array> {
  const { bytesMax, signal } = options;
  const fail = (
    code: "failed" | "not-found" | "refused" | "invalid-config",
    reason: string,
    cause?: unknown,
  ) => new RealmError(code, `Cannot fetch "${source}": ${reason}`, { cause });

  let url: URL;
  try {
    url = new URL(source);
  } catch (cause) {
    throw fail("invalid-config", "not a URL", cause);
  }
  if (url.username !== "" || url.password !== "") {
    throw new RealmError(
      "invalid-config",
      // Without the source: it has a password in it.
      `Cannot fetch from "${url.host}": the URL has a user or password, wanted none`,
    );
  }
  try {
    for (let redirects = 0;; redirects++) {
      const response = await fetch(url, {
        redirect: "manual",
        signal,
        // Packed bodies would be unpacked on the way; a component is fetched as it is.
        headers: { accept: "application/wasm, */*;q=0.5", "accept-encoding": "identity" },
      });
      if (response.ok) return await readBody(response, source, bytesMax);
      await response.body?.cancel();
      if (!REDIRECT.has(response.status)) {
        const code = response.status === 404 || response.status === 410 ? "not-found" : "failed";
        throw fail(code, `the server answered ${response.status} ${response.statusText}`.trimEnd());
      }
      const location = response.headers.get("location");
      if (location === null || !URL.canParse(location, url)) {
        throw fail("failed", `the server answered ${response.status} without a location`);
      }
      if (redirects === REDIRECTS_MAX) throw fail("failed", `more than ${REDIRECTS_MAX} redirects`);
      const next = new URL(location, url);
      const downgrade = url.protocol === "https:" && next.protocol !== "https:";
      if (downgrade || !/^https?:$/.test(next.protocol)) {
        throw fail(
          "refused",
          `redirected to ${next.protocol}//${next.host}, wanted ${url.protocol}`,
        );
      }
      url = next;
    }
  } catch (error) {
    if (error instanceof RealmError || signal.aborted) throw error;
    throw fail("failed", error instanceof Error ? error.message : String(error), error);
  }
}

async function readBody(
  response: Response,
  source: string,
  bytesMax: number,
): Promise<Uint8Array> {
  if (Number(response.headers.get("content-length") ?? 0) > bytesMax) {
    await response.body?.cancel();
    throw tooLarge(source, bytesMax);
  }
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    if (length > bytesMax) throw tooLarge(source, bytesMax); // Leaving the loop cancels the body.
    chunks.push(chunk);
  }
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}
