/**
 * `realm secrets`: values that components read by name, sealed to the nodes that may come to run them.
 *
 * @module
 */
import type { ControlClient } from "../agent/control/client.ts";
import { RealmError } from "../agent/kernel/error.ts";
import type { EventContent } from "../agent/kernel/event.ts";
import type { Manifest } from "../agent/realm/manifest.ts";
import type { resealOf, SecretState } from "../agent/realm/secrets.ts";
import type { SecretRow } from "../tui/session.ts";
import type { Author } from "./author.ts";
import { command, commands } from "./command.ts";
import { withAgent } from "./connection.ts";
import type { Context } from "./context.ts";
import type { Column } from "./output.ts";
import { argument, optional, parseText, toggle } from "./parameters.ts";

const NAME = argument("Its name", "NAME", parseText);

const set = command({
  brief: "Set the value of a secret",
  description:
    "Reads the value from standard input, or from --file, and seals it to the owner and " +
    "to every node that may come to run a component that reads it. Running components read the new " +
    "value from then on. --print writes a value for [secrets] of a manifest, sealed to the owner.",
  flags: {
    file: optional("Read the value from a file", "FILE", parseText),
    print: toggle("Print the line for [secrets], and change nothing"),
  },
  args: [NAME],
  async run(context, { file, print }, name) {
    await requireName(name);
    const { Author } = await import("./author.ts");
    const author = await Author.open(context);
    const value = await readValue(context, name, file);
    const { sealBytes, SEALED_PREFIX } = await import("../agent/member/secret_seal.ts");
    if (print) {
      const text = SEALED_PREFIX + (await sealBytes(value, [author.key])).toBase64();
      return context.print({ name, value: text }, () => `"${name}" = "${text}"`);
    }
    await withAgent(context, async (agent) => {
      const { readersOf, resealOf } = await import("../agent/realm/secrets.ts");
      const manifest = await manifestInForce(agent);
      const readers = manifest === undefined
        ? []
        : readersOf(name, manifest, await approvedNodes(agent));
      const to = resealOf(readers, readers, undefined);
      await author.append(agent, [await sealing(author, name, value, to)]);
      const nodes = readers.map((node) => node.name);
      context.print(
        { name, nodes },
        () =>
          nodes.length > 0
            ? `set ${name}, sealed to ${nodes.join(", ")}\n`
            : `set ${name}, sealed to the owner: no component of the manifest in force reads it\n`,
      );
    });
  },
});

const COLUMNS: readonly Column<SecretState & { readonly nodes: readonly string[] }>[] = [
  { title: "SECRET", text: ({ name }) => name },
  { title: "SEALED TO", text: ({ nodes, record }) => record ? nodes.join(", ") || "owner" : "-" },
  { title: "STATE", text: stateOf },
];

/** Every secret as a line of the dashboard. */
export async function secretRows(agent: ControlClient): Promise<SecretRow[]> {
  const { states, nodes } = await statesOf(agent);
  return states.map((state) => ({
    name: state.name,
    state: stateOf(state),
    isGood: state.record !== undefined && state.lacking.length + state.exposed.length === 0,
    nodes: (state.record?.nodes ?? []).map((key) =>
      nodes.find((node) => node.key === key)?.name ?? key
    ),
  }));
}

function stateOf({ name, record, lacking, exposed, isDeclared }: SecretState): string {
  if (record === undefined) return `no value: realm secrets set ${name}`;
  if (exposed.length > 0) return `known to a key that counts no more: realm secrets set ${name}`;
  if (lacking.length > 0) {
    return `${lacking.map((node) => node.name).join(", ")} cannot: realm secrets reseal`;
  }
  return isDeclared ? "set" : "set, not in the manifest";
}

const ls = command({
  brief: "List secrets by name, and who can open them; never their values",
  async run(context) {
    await withAgent(context, async (agent) => {
      const { states, nodes } = await statesOf(agent);
      const nameOf = (key: string) => nodes.find((node) => node.key === key)?.name ?? key;
      context.printTable(
        states.map((each) => ({ ...each, nodes: each.record?.nodes.map(nameOf) ?? [] })),
        COLUMNS,
      );
    });
  },
});

const rm = command({
  brief: "Take a secret away",
  description: "Components that read it find nothing from then on. What nodes had of it in the " +
    "control log stays there, sealed.",
  args: [NAME],
  async run(context, _flags, name) {
    await withAgent(context, async (agent) => {
      const { Author } = await import("./author.ts");
      const { controlContent } = await import("../agent/realm/control_event.ts");
      const author = await Author.open(context);
      if (!(await agent.secrets()).some((secret) => secret.name === name)) {
        throw new RealmError("not-found", `Cannot remove secret ${JSON.stringify(name)}: not set`, {
          hint: "Run realm secrets ls",
        });
      }
      if ((await manifestInForce(agent))?.secrets.get(name)) {
        throw new RealmError(
          "refused",
          `Cannot remove secret ${
            JSON.stringify(name)
          }: the manifest in force has its first value, ` +
            "which the next apply would set again",
          { hint: `Write ${name} = "" in [secrets] of realm.toml, and run realm apply first` },
        );
      }
      const content = controlContent({ kind: "secret", name, nodes: [], sealed: null });
      await author.append(agent, [content]);
      context.print({ name }, () => `removed ${name}\n`);
    });
  },
});

const reseal = command({
  brief: "Seal every secret anew to the nodes that may read it now",
  description:
    "The same values, for nodes that were approved or given a component meanwhile. What " +
    "a revoked node has read it knows: such secrets want a new value.",
  async run(context) {
    await withAgent(context, async (agent) => {
      const { Author } = await import("./author.ts");
      const author = await Author.open(context);
      const contents = await sealsOwed(context, agent, author, await manifestInForce(agent));
      if (contents.length > 0) await author.append(agent, contents.map(({ content }) => content));
      const names = contents.map(({ name }) => name);
      context.print(
        { resealed: names },
        () => names.length > 0 ? `resealed ${names.join(", ")}\n` : "nothing to reseal\n",
      );
    });
  },
});

export const secrets = commands("Set, list and remove values that components read", {
  set,
  ls,
  rm,
  reseal,
});

/**
 * Events that seal what nodes lack under a manifest: values that are set, and first values of the
 * manifest itself. `joining` are nodes that are about to be approved.
 */
export async function sealsOwed(
  context: Context,
  agent: ControlClient,
  author: Author,
  manifest: Manifest | undefined,
  joining: readonly { readonly key: string; readonly name: string }[] = [],
): Promise<{ readonly name: string; readonly content: EventContent }[]> {
  if (manifest === undefined || manifest.secrets.size === 0) return [];
  const { openBytes, openSecret, sealedOf } = await import("../agent/member/secret_seal.ts");
  const { readersOf, resealOf } = await import("../agent/realm/secrets.ts");
  const sealed = new Map((await agent.secrets()).map((secret) => [secret.name, secret]));
  const nodes = [...await approvedNodes(agent), ...joining];
  const owed = [];
  for (const [name, first] of manifest.secrets) {
    const there = sealed.get(name);
    const readers = readersOf(name, manifest, nodes);
    if (there !== undefined && readers.every(({ key }) => there.nodes.includes(key))) continue;
    if (there === undefined && first === "") continue;
    const key = author.keys.secretKey;
    let value: Uint8Array;
    try {
      value = there === undefined
        ? await openBytes(sealedOf(first), key)
        : await openSecret(name, Uint8Array.fromBase64(there.sealed), key);
    } catch (error) {
      if (!(error instanceof RealmError)) throw error;
      // No reason to hold up everything else: whoever lacks the value says so.
      context.note(
        `warning: secret ${name} cannot be sealed for other nodes: its value is not sealed to ` +
          `this owner's key; set it anew with realm secrets set ${name}`,
      );
      continue;
    }
    owed.push({
      name,
      content: await sealing(author, name, value, resealOf(readers, nodes, there)),
    });
  }
  return owed;
}

async function sealing(
  author: Author,
  name: string,
  value: Uint8Array,
  { nodes, sealedTo }: ReturnType<typeof resealOf>,
): Promise<EventContent> {
  const { controlContent } = await import("../agent/realm/control_event.ts");
  const { sealSecret } = await import("../agent/member/secret_seal.ts");
  const sealed = await sealSecret(name, value, [...new Set([author.key, ...sealedTo])]);
  return controlContent({ kind: "secret", name, nodes, sealed });
}

async function requireName(name: string): Promise<void> {
  const { isSecretName } = await import("../agent/realm/manifest.ts");
  if (isSecretName(name)) return;
  throw new RealmError(
    "usage",
    `Cannot set secret ${JSON.stringify(name)}: wanted 1 to 128 of letters, digits, _, . and -`,
  );
}

/** The value without one line feed at its end, which terminals and editors put there. */
async function readValue(
  context: Context,
  name: string,
  file: string | undefined,
): Promise<Uint8Array> {
  const { SECRET_BYTES_MAX } = await import("../agent/kernel/secret_bucket.ts");
  const bytes = file === undefined
    ? await readInput(context, name, SECRET_BYTES_MAX + 2)
    : await readValueFile(context, name, file);
  const value = bytes.at(-1) === 10 ? bytes.subarray(0, -1) : bytes;
  if (value.length > 0 && value.length <= SECRET_BYTES_MAX) return value;
  throw new RealmError(
    value.length === 0 ? "usage" : "limit-exceeded",
    `Cannot set secret ${name}: its value has ${value.length} bytes, wanted 1 to ${SECRET_BYTES_MAX}`,
  );
}

async function readValueFile(context: Context, name: string, file: string): Promise<Uint8Array> {
  try {
    return await Deno.readFile(context.resolve(file));
  } catch (cause) {
    const { fileError } = await import("./key_file.ts");
    const why = fileError("read", file, cause).message.replace(/^Cannot/, "cannot");
    throw new RealmError("not-found", `Cannot set secret ${name}: ${why}`, {
      hint: "Name a file with --file, or give the value on standard input",
      cause,
    });
  }
}

async function readInput(context: Context, name: string, bytesMax: number): Promise<Uint8Array> {
  if (!context.shell.terminal.stdin) return await context.shell.readAll(bytesMax);
  context.shell.write("stderr", `Value of ${name}: `);
  const line = await context.shell.readHidden();
  context.shell.write("stderr", "\n");
  return new TextEncoder().encode(line);
}

/** The manifest that is in force. */
export async function manifestInForce(agent: ControlClient): Promise<Manifest | undefined> {
  const { parseManifest } = await import("../agent/realm/manifest.ts");
  const current = await agent.manifest();
  if (current === null) return undefined;
  return parseManifest(new TextDecoder().decode(current.manifest), "the manifest in force");
}

async function approvedNodes(agent: ControlClient): Promise<{ key: string; name: string }[]> {
  return (await agent.nodes()).filter(({ state }) => state === "approved")
    .map(({ key, name }) => ({ key, name }));
}

/** Names of secrets that keys can open which take part no more. */
export async function exposedSecrets(agent: ControlClient): Promise<string[]> {
  const { states } = await statesOf(agent);
  return states.filter(({ exposed }) => exposed.length > 0).map(({ name }) => name);
}

async function statesOf(agent: ControlClient) {
  const { secretStates } = await import("../agent/realm/secrets.ts");
  const nodes = await approvedNodes(agent);
  const records = new Map((await agent.secrets()).map((secret) => [secret.name, secret]));
  const { node: { owner } } = await agent.status();
  return { states: secretStates(await manifestInForce(agent), nodes, records, owner), nodes };
}
