/**
 * Credentials of registries, as Docker keeps them: `config.json` and the helpers that it names.
 *
 * @see https://docs.docker.com/reference/cli/docker/login/#credential-stores
 * @module
 */
import * as path from "node:path";
import * as z from "zod";
import { RealmError } from "../kernel/error.ts";
import type { Machine } from "./source.ts";

/** What is sent to a registry, or to who gives its tokens. */
export interface Credentials {
  readonly user: string;
  readonly password: string;
}

const CONFIG = z.object({
  auths: z.record(
    z.string(),
    z.object({ auth: z.string().optional(), identitytoken: z.string().optional() }),
  ).optional(),
  credHelpers: z.record(z.string(), z.string()).optional(),
  credsStore: z.string().optional(),
});
const ANSWER = z.object({ Username: z.string(), Secret: z.string() });
/** Names of helpers become names of programs. */
const HELPER = /^[a-z0-9][a-z0-9-]*$/;

/** The file that is read; undefined without a home folder. */
export function dockerConfigFile({ variable }: Pick<Machine, "variable">): string | undefined {
  const folder = variable("DOCKER_CONFIG");
  if (folder) return path.join(folder, "config.json");
  const home = variable("HOME") ?? variable("USERPROFILE");
  return home ? path.join(home, ".docker", "config.json") : undefined;
}

/**
 * What there is for a registry; undefined where there is nothing.
 *
 * Throws RealmError `invalid-config` for a file that is none, `failed` for a helper that does not
 * work, `unsupported` for a refresh token in the place of a password. None says what is in it.
 */
export async function dockerCredentials(
  registry: string,
  machine: Machine,
): Promise<Credentials | undefined> {
  const file = dockerConfigFile(machine);
  if (file === undefined) return undefined;
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw new RealmError("failed", `Cannot read "${file}": ${(error as Error).message}`);
  }
  const wrong = () =>
    new RealmError("invalid-config", `Cannot read "${file}": not a configuration of Docker`, {
      hint: "Write it anew with docker login, or name another folder with DOCKER_CONFIG",
    });
  let config: z.infer<typeof CONFIG>;
  try {
    config = CONFIG.parse(JSON.parse(text));
  } catch {
    throw wrong(); // without the cause: it may quote a password
  }
  const names = registry === "docker.io" ? ["https://index.docker.io/v1/", registry] : [registry];
  for (const name of names) {
    const helper = config.credHelpers?.[name] ?? config.credsStore;
    const found = config.auths?.[name] ?? config.auths?.[`https://${name}`];
    if (found?.identitytoken) throw refreshToken(name);
    if (found?.auth) {
      const credentials = basic(found.auth);
      if (credentials === undefined) throw wrong();
      return credentials;
    }
    if (helper !== undefined) {
      const credentials = await ask(helper, name, machine);
      if (credentials !== undefined) return credentials;
    }
  }
  return undefined;
}

function basic(auth: string): Credentials | undefined {
  let text: string;
  try {
    text = new TextDecoder().decode(Uint8Array.fromBase64(auth));
  } catch {
    return undefined;
  }
  const colon = text.indexOf(":");
  return colon < 0 ? undefined : { user: text.slice(0, colon), password: text.slice(colon + 1) };
}

async function ask(
  helper: string,
  registry: string,
  machine: Machine,
): Promise<Credentials | undefined> {
  const program = `docker-credential-${helper}`;
  const failed = (why: string) =>
    new RealmError("failed", `Cannot get the credentials of ${registry}: ${program} ${why}`, {
      hint: "Correct credsStore or credHelpers in Docker's config.json",
    });
  if (!HELPER.test(helper)) throw failed("is no name of a helper");
  let output: string;
  try {
    output = await machine.run(program, ["get"], registry);
  } catch (error) {
    // What they all say of a registry that they do not know.
    if (/credentials not found/i.test((error as Error).message)) return undefined;
    throw failed(`failed: ${(error as Error).message}`);
  }
  const answer = ANSWER.safeParse(parsed(output));
  if (!answer.success) throw failed("answered something else");
  const { Username: user, Secret: password } = answer.data;
  if (user === "<token>") throw refreshToken(registry);
  return { user, password };
}

function refreshToken(registry: string): RealmError {
  return new RealmError(
    "unsupported",
    `Cannot log in to ${registry}: Docker has a refresh token for it, wanted a user and password`,
    { hint: `Run docker login ${registry} with a user and an access token` },
  );
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
