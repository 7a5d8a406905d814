/**
 * `registry:` sources: a component in an OCI registry.
 *
 * `registry:HOST/REPOSITORY[:TAG][@sha256:HEX]` names a manifest, or an index with one for wasm; the
 * component is its one layer of WebAssembly. Manifest and layer are checked against the digests that
 * name them. Registries on this machine are spoken to without TLS, as Docker does.
 *
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md
 * @see https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/
 * @module
 */
import * as z from "zod";
import { isLoopbackName } from "../kernel/address_policy.ts";
import { RealmError } from "../kernel/error.ts";
import { sha256Hex } from "../kernel/sha256.ts";
import { type Credentials, dockerCredentials } from "./docker_credentials.ts";
import { type HttpAnswer, httpGet, sourceError } from "./http_get.ts";
import type { SourceContext } from "./source.ts";

/** What a source names. */
export interface RegistryReference {
  /** With its port, if it has one. */
  readonly host: string;
  readonly repository: string;
  readonly tag: string | undefined;
  /** Lower-case hex of the manifest's sha256. */
  readonly digest: string | undefined;
}

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const INDEX = "application/vnd.oci.image.index.v1+json";
/** Docker's own, which registries answer with too. */
const DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json";
const ACCEPT = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX].join(", ");
/** Media types of a layer that is WebAssembly itself, the CNCF's first. */
const WASM_LAYERS = [
  "application/wasm",
  "application/vnd.wasm.content.layer.v1+wasm",
  "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
  "application/vnd.module.wasm.content.layer.v1+wasm",
];
/** What registries have to take, and no manifest of a component comes near. */
const MANIFEST_BYTES_MAX = 4 * 1024 * 1024;
const TOKEN_BYTES_MAX = 64 * 1024;

const DESCRIPTOR = z.object({
  mediaType: z.string(),
  digest: z.string(),
  size: z.number().int().nonnegative(),
  platform: z.object({ architecture: z.string(), os: z.string() }).optional(),
});
const CONTENT = z.union([
  z.object({ layers: z.array(DESCRIPTOR).max(1024) }),
  z.object({ manifests: z.array(DESCRIPTOR).max(1024) }),
]);
const TOKEN = z.union([
  z.object({ token: z.string() }).transform(({ token }) => token),
  z.object({ access_token: z.string() }).transform((answer) => answer.access_token),
]);

const HOST = /^(?:[a-zA-Z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d{1,5})?$/;
const REPOSITORY =
  /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const DIGEST = /^sha256:([0-9a-f]{64})$/;
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

/** Reads a source. Throws RealmError `invalid-config`. */
export function parseRegistryReference(source: string): RegistryReference {
  const wrong = (reason: string) =>
    sourceError(source, "invalid-config", reason, {
      hint: "Write registry:HOST/REPOSITORY:TAG or registry:HOST/REPOSITORY@sha256:HEX",
    });
  const rest = source.slice(source.indexOf(":") + 1).replace(/^\/\//, "");
  const [name, digest, ...more] = rest.split("@") as [string, string?, ...string[]];
  if (more.length > 0) throw wrong("more than one @");
  if (digest !== undefined && !DIGEST.test(digest)) {
    throw wrong(`digest "${digest}", wanted sha256: and 64 lower-case hex digits`);
  }
  const slash = name.indexOf("/");
  const host = name.slice(0, Math.max(0, slash));
  const isHost = HOST.test(host) && (/[.:]/.test(host) || host === "localhost");
  if (!isHost) throw wrong(`wanted a host such as ghcr.io before the first slash`);
  const path = name.slice(slash + 1);
  const colon = path.lastIndexOf(":");
  const repository = colon < 0 ? path : path.slice(0, colon);
  const tag = colon < 0 ? undefined : path.slice(colon + 1);
  if (!REPOSITORY.test(repository) || repository.length > 255) {
    throw wrong(`repository "${repository}", wanted lower-case names between slashes`);
  }
  if (tag !== undefined && !TAG.test(tag)) throw wrong(`tag "${tag}"`);
  return { host, repository, tag, digest: digest?.slice("sha256:".length) };
}

/** The bytes of the component. */
export async function fetchRegistry(source: string, context: SourceContext): Promise<Uint8Array> {
  const reference = parseRegistryReference(source);
  const registry = new Registry(source, reference, context);
  let digest = reference.digest;
  let descriptors = await registry.manifest(digest ?? reference.tag ?? "latest", digest);
  if (descriptors.kind === "index") {
    const found = descriptors.of.find(({ platform }) => platform?.architecture === "wasm");
    if (found === undefined) {
      throw sourceError(source, "failed", "no manifest of the index is for architecture wasm");
    }
    digest = digestOf(source, found.digest);
    descriptors = await registry.manifest(digest, digest);
    if (descriptors.kind === "index") throw sourceError(source, "failed", "an index in an index");
  }
  const layers = descriptors.of.filter(({ mediaType }) => WASM_LAYERS.includes(mediaType));
  const [layer] = layers;
  if (layer === undefined || layers.length > 1) {
    const types = [...new Set(descriptors.of.map(({ mediaType }) => mediaType))].join(", ");
    throw sourceError(
      source,
      "failed",
      `${layers.length} layers of it are WebAssembly, wanted one (it has ${types || "no layers"})`,
      { hint: "Push it as a wasm artifact, for example with wkg oci push" },
    );
  }
  return await registry.blob(digestOf(source, layer.digest), layer.size);
}

function digestOf(source: string, text: string): string {
  const hex = DIGEST.exec(text)?.[1];
  if (hex !== undefined) return hex;
  throw sourceError(source, "failed", `digest "${text.slice(0, 80)}", wanted sha256`);
}

/** One repository, with the token that it gave. */
class Registry {
  readonly #base: URL;
  #authorization: string | undefined;

  constructor(
    readonly source: string,
    readonly reference: RegistryReference,
    readonly context: SourceContext,
  ) {
    const { host, repository } = reference;
    const { hostname } = new URL(`http://${host}`);
    const isHere = isLoopbackName(hostname) || /^127\.|^\[::1\]$/.test(hostname);
    const real = host === "docker.io" ? "registry-1.docker.io" : host;
    const path = host === "docker.io" && !repository.includes("/")
      ? `library/${repository}`
      : repository;
    this.#base = new URL(`${isHere ? "http" : "https"}://${real}/v2/${path}/`);
  }

  /** Descriptors of a manifest or an index; `digest` is checked where it is known. */
  async manifest(
    name: string,
    digest: string | undefined,
  ): Promise<{ kind: "layers" | "index"; of: readonly z.infer<typeof DESCRIPTOR>[] }> {
    const { bytes } = await this.#get(
      `manifests/${digest === undefined ? name : `sha256:${digest}`}`,
      { headers: { accept: ACCEPT }, bytesMax: MANIFEST_BYTES_MAX, isSilent: true },
    );
    await this.#check(bytes, digest, "manifest");
    let content: z.infer<typeof CONTENT>;
    try {
      content = CONTENT.parse(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)));
    } catch (cause) {
      throw sourceError(this.source, "failed", "what it names is no manifest of OCI", { cause });
    }
    return "layers" in content
      ? { kind: "layers", of: content.layers }
      : { kind: "index", of: content.manifests };
  }

  async blob(digest: string, size: number): Promise<Uint8Array> {
    const { bytesMax } = this.context;
    if (size > bytesMax) {
      throw new RealmError(
        "limit-exceeded",
        `Cannot fetch "${this.source}": its layer has ${size} bytes, the most is ${bytesMax}`,
      );
    }
    const { bytes } = await this.#get(`blobs/sha256:${digest}`, { bytesMax: size });
    await this.#check(bytes, digest, "layer");
    return bytes;
  }

  async #check(bytes: Uint8Array, digest: string | undefined, what: string): Promise<void> {
    if (digest === undefined) return;
    const found = await sha256Hex(bytes);
    if (found === digest) return;
    throw new RealmError(
      "digest-mismatch",
      `Cannot use "${this.source}": the sha256 of its ${what} is ${found}, wanted ${digest}`,
    );
  }

  /** Asks as nobody first, then with what the registry wants to see. */
  async #get(
    path: string,
    { headers = {}, bytesMax, isSilent = false }: {
      headers?: Record<string, string>;
      bytesMax: number;
      isSilent?: boolean;
    },
  ): Promise<HttpAnswer> {
    const { source, context } = this;
    const ask = (expected: readonly number[]) =>
      httpGet({
        url: new URL(path, this.#base),
        headers: {
          ...headers,
          ...this.#authorization === undefined ? {} : { authorization: this.#authorization },
        },
        source,
        bytesMax,
        expected,
      }, isSilent ? { ...context, progress: undefined } : context);
    const first = await ask(this.#authorization === undefined ? [401] : []);
    if (first.status !== 401) return first;
    this.#authorization = await this.#authorize(first.headers.get("www-authenticate") ?? "");
    return await ask([]);
  }

  /** What to send as `Authorization`, by what the registry asked for. */
  async #authorize(challenge: string): Promise<string> {
    const { source, context, reference: { host, repository } } = this;
    const credentials = await dockerCredentials(host, context.machine);
    const refused = (why: string) =>
      sourceError(source, "refused", why, { hint: `Log in first: docker login ${host}` });
    const [scheme] = challenge.split(" ", 1);
    if (/^basic$/i.test(scheme!)) {
      if (credentials === undefined) {
        throw refused("the registry wants a user and a password");
      }
      return basic(credentials);
    }
    const wanted = parameters(challenge);
    if (!/^bearer$/i.test(scheme!) || !URL.canParse(wanted.realm ?? "")) {
      throw refused("the registry does not say how to log in");
    }
    const url = new URL(wanted.realm!);
    // Who asks for a password has to be as safe as who sent us there.
    if (url.protocol !== "https:" && this.#base.protocol === "https:") {
      throw refused(`the registry wants its token asked of ${url.protocol}//${url.host}`);
    }
    if (wanted.service) url.searchParams.set("service", wanted.service);
    url.searchParams.set("scope", wanted.scope ?? `repository:${repository}:pull`);
    const { status, bytes } = await httpGet({
      url,
      askedBy: this.#base,
      headers: credentials === undefined ? {} : { authorization: basic(credentials) },
      source,
      bytesMax: TOKEN_BYTES_MAX,
      expected: [400, 401, 403],
    }, { ...context, progress: undefined });
    if (status >= 400) {
      throw refused(credentials ? "its credentials are wrong" : "it is not public, or not there");
    }
    const token = TOKEN.safeParse(json(bytes));
    if (!token.success) throw refused("the registry gave no token");
    return `Bearer ${token.data}`;
  }
}

/** RFC 7617. */
function basic({ user, password }: Credentials): string {
  return `Basic ${new TextEncoder().encode(`${user}:${password}`).toBase64()}`;
}

/** `key="value"` pairs of a challenge (RFC 9110, 11.6.1). */
function parameters(challenge: string): Record<string, string | undefined> {
  const found: Record<string, string> = Object.create(null);
  for (const [, key, quoted, bare] of challenge.matchAll(/([a-z]+)=(?:"([^"]*)"|([^\s,]+))/gi)) {
    found[key!.toLowerCase()] = quoted ?? bare!;
  }
  return found;
}

function json(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}
