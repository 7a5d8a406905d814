/**
 * `s3:` sources: an object in any service that speaks S3.
 *
 * `s3://BUCKET/KEY`, with `?region=` and `?endpoint=` where the environment does not say them. Requests
 * are signed (SigV4) where there are credentials.
 *
 * @module
 */
import { AwsV4Signer } from "aws4fetch";
import { awsSettings } from "./aws_settings.ts";
import { httpGet, sourceError } from "./http_get.ts";
import type { SourceContext } from "./source.ts";

/** What a source names. */
export interface S3Object {
  readonly bucket: string;
  readonly key: string;
  readonly region?: string;
  readonly endpoint?: string;
}

const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
const KEY_BYTES_MAX = 1024;

/** Reads a source. Throws RealmError `invalid-config`. */
export function parseS3Source(source: string): S3Object {
  const mark = source.indexOf("?");
  // Without its query, in which there may be a password.
  const named = mark < 0 ? source : source.slice(0, mark);
  const wrong = (reason: string) =>
    sourceError(named, "invalid-config", reason, {
      hint: "Write s3://BUCKET/KEY, with ?endpoint=URL for a service that is not AWS",
    });
  const name = named.slice(named.indexOf(":") + 1).replace(/^\/\//, "");
  const slash = name.indexOf("/");
  const bucket = name.slice(0, Math.max(0, slash));
  const key = name.slice(slash + 1);
  if (!BUCKET.test(bucket)) throw wrong("wanted the name of a bucket before the first slash");
  if (key === "" || new TextEncoder().encode(key).length > KEY_BYTES_MAX) {
    throw wrong(`wanted a key of 1 to ${KEY_BYTES_MAX} bytes`);
  }
  // A URL with such parts names another object, of another bucket even.
  if (key.split("/").some((part) => part === "." || part === "..")) {
    throw wrong('the key has "." or ".." between slashes, which no URL can name');
  }
  const object: { bucket: string; key: string; region?: string; endpoint?: string } = {
    bucket,
    key,
  };
  for (const [name, value] of new URLSearchParams(mark < 0 ? "" : source.slice(mark))) {
    if (name !== "region" && name !== "endpoint") throw wrong(`unknown "${name}"`);
    object[name] = value;
  }
  if (object.endpoint !== undefined && hasUser(object.endpoint)) {
    throw wrong("its endpoint has a user in it, wanted credentials of AWS");
  }
  return object;
}

/** The bytes of the object. */
export async function fetchS3(source: string, context: SourceContext): Promise<Uint8Array> {
  const object = parseS3Source(source);
  const settings = await awsSettings(context.machine);
  const region = object.region ?? settings.region;
  const endpoint = object.endpoint ?? settings.endpoint;
  // AWS has a host for each bucket; a dot in its name would not fit the certificate.
  const isHosted = endpoint === undefined && !object.bucket.includes(".");
  const base = endpoint ??
    `https://${isHosted ? `${object.bucket}.` : ""}s3.${region}.amazonaws.com`;
  if (hasUser(base)) {
    const reason = "the endpoint of AWS's settings has a user in it, wanted credentials of AWS";
    throw sourceError(source, "invalid-config", reason);
  }
  let url: URL;
  try {
    url = new URL(base);
    if (!/^https?:$/.test(url.protocol)) throw new Error(`it begins with ${url.protocol}`);
  } catch (cause) {
    throw sourceError(source, "invalid-config", `endpoint "${base}" is no URL of http(s)`, {
      cause,
    });
  }
  const key = object.key.split("/").map(encodeKey).join("/");
  url.pathname = `${url.pathname.replace(/\/$/, "")}/${isHosted ? "" : `${object.bucket}/`}${key}`;
  const { accessKeyId, secretAccessKey, sessionToken } = settings;
  let headers: Record<string, string> = {};
  if (accessKeyId !== undefined && secretAccessKey !== undefined) {
    const signer = new AwsV4Signer({
      url: url.href,
      method: "GET",
      service: "s3",
      region,
      accessKeyId,
      secretAccessKey,
      ...sessionToken === undefined ? {} : { sessionToken },
    });
    headers = Object.fromEntries((await signer.sign()).headers);
    delete headers.host; // fetch says it itself
  }
  return (await httpGet({ url, headers, source }, context)).bytes;
}

/** Whether a URL has userinfo, or would have with a slash more: nobody may read it in an error. */
function hasUser(url: string): boolean {
  return /^[^?#]*@/.test(url);
}

/** As S3 signs keys: everything but what RFC 3986 leaves alone. */
function encodeKey(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
