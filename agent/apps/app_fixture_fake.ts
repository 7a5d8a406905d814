/**
 * The apps of `fixtures/apps` for tests, with their modules composed in as `realm app build` does it.
 *
 * @module
 */
import { compose } from "../wasm/composition.ts";
import type { Role } from "./bundle.ts";
import { parseBundleToml } from "./bundle_toml.ts";

/** The components of an app by role. */
export async function fixtureApp(name: string): Promise<ReadonlyMap<Role, Uint8Array>> {
  const folder = new URL(`../../fixtures/apps/${name}/`, import.meta.url);
  const read = (file: string) => Deno.readFile(new URL(file, folder));
  const { components, modules } = parseBundleToml(
    await Deno.readTextFile(new URL("bundle.toml", folder)),
  );
  const built = new Map<Role, Uint8Array>();
  for (const [role, { file }] of components) {
    const into = [...modules].filter(([, module]) => module.into.includes(role));
    const plugs = await Promise.all(
      into.map(async ([name, { file }]) => ({ name, bytes: await read(file) })),
    );
    const bytes = await read(file);
    built.set(role, plugs.length === 0 ? bytes : compose(bytes, plugs));
  }
  return built;
}
