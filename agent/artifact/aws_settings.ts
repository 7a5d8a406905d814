/**
 * Where S3 is and who asks, by the variables and files that the tools of AWS read.
 *
 * @see https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html
 * @module
 */
import * as path from "node:path";
import { RealmError } from "../kernel/error.ts";
import type { Machine } from "./source.ts";

/** What is found; without a key requests are not signed, as public buckets allow. */
export interface AwsSettings {
  readonly accessKeyId?: string;
  readonly secretAccessKey?: string;
  readonly sessionToken?: string;
  readonly region: string;
  /** Of a service that is not AWS's. */
  readonly endpoint?: string;
}

/** A section of a file of AWS. */
type Section = Readonly<Record<string, string>>;

/** Throws RealmError `invalid-config` where half a key is given, or a profile that is not there. */
export async function awsSettings({ variable }: Pick<Machine, "variable">): Promise<AwsSettings> {
  const given = variable("AWS_PROFILE");
  const profile = given || "default";
  const home = variable("HOME") ?? variable("USERPROFILE") ?? "";
  const file = (name: string, otherwise: string) =>
    sectionsOf(variable(name) || path.join(home, ".aws", otherwise));
  const credentials = await file("AWS_SHARED_CREDENTIALS_FILE", "credentials");
  const config = await file("AWS_CONFIG_FILE", "config");
  const configured = config.get(profile === "default" ? profile : `profile ${profile}`);
  const secrets = credentials.get(profile) ?? configured;
  if (given && secrets === undefined && configured === undefined) {
    throw new RealmError("invalid-config", `Cannot use AWS_PROFILE "${given}": it is not there`, {
      hint: "Run aws configure --profile NAME, or correct AWS_PROFILE",
    });
  }
  // Variables win over files, but not half of a key over another half.
  const isByVariable = Boolean(variable("AWS_ACCESS_KEY_ID") || variable("AWS_SECRET_ACCESS_KEY"));
  const secret = (name: string, key: string) => isByVariable ? variable(name) : secrets?.[key];
  const accessKeyId = secret("AWS_ACCESS_KEY_ID", "aws_access_key_id");
  const secretAccessKey = secret("AWS_SECRET_ACCESS_KEY", "aws_secret_access_key");
  const sessionToken = secret("AWS_SESSION_TOKEN", "aws_session_token");
  if (!accessKeyId !== !secretAccessKey) {
    throw new RealmError("invalid-config", "Cannot sign for S3: only half of the key is given", {
      hint: "Set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or both in the profile",
    });
  }
  const endpoint = variable("AWS_ENDPOINT_URL_S3") || variable("AWS_ENDPOINT_URL") ||
    configured?.endpoint_url;
  return {
    ...accessKeyId && secretAccessKey ? { accessKeyId, secretAccessKey } : {},
    ...sessionToken && accessKeyId ? { sessionToken } : {},
    region: variable("AWS_REGION") || variable("AWS_DEFAULT_REGION") || configured?.region ||
      "us-east-1",
    ...endpoint ? { endpoint } : {},
  };
}

/** Sections of a file; none where there is no file. */
async function sectionsOf(file: string): Promise<ReadonlyMap<string, Section>> {
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return new Map();
    throw new RealmError("failed", `Cannot read "${file}": ${(error as Error).message}`);
  }
  const sections = new Map<string, Record<string, string>>();
  let section: Record<string, string> | undefined;
  for (const line of text.split(/\r?\n/)) {
    const name = /^\s*\[\s*([^\]]+?)\s*\]/.exec(line)?.[1];
    if (name !== undefined) {
      section = sections.get(name) ?? Object.create(null) as Record<string, string>;
      sections.set(name, section);
      continue;
    }
    // What is set in is of the setting above it.
    const setting = /^([A-Za-z0-9_]+)\s*=\s*(.*?)\s*$/.exec(line);
    if (setting && section) section[setting[1]!.toLowerCase()] = setting[2]!;
  }
  return sections;
}
