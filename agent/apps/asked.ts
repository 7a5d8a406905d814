/**
 * What the components of a bundle may use: what their profiles allow and the bundle says, and
 * nothing else.
 *
 * A composed component imports what its modules import, so a module brings in nothing that
 * `bundle.toml` does not name. Reads bytes alone; nothing runs.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import { Cursor, identify } from "../wasm/component.ts";
import type { Bundle, Role } from "./bundle.ts";
import { rawCidOf, sha256Of } from "./car.ts";
import { CAPABILITIES, PACKAGE } from "./contracts.ts";
import { checkProfile, parseCapabilities } from "./profile.ts";

/** A component section of https://github.com/WebAssembly/component-model (Binary.md). */
const COMPONENT_SECTION = 4;
const PREAMBLE_BYTES = 8;

/**
 * Compares each component with its profile, and with what the bundle says of it.
 *
 * Throws what `checkProfile` does, and RealmError `refused` for an import that the bundle does not
 * ask for, a capability that none of its components may have, or a module that is not in a component
 * that is said to have it.
 */
export function checkAsked(
  bundle: Pick<Bundle, "capabilities" | "modules">,
  components: ReadonlyMap<Role, Uint8Array>,
): void {
  const granted = parseCapabilities(
    bundle.capabilities.filter((name) => Object.hasOwn(CAPABILITIES, name)),
    [...components.keys()],
  );
  for (const [role, bytes] of components) {
    const { imports } = checkProfile(bytes, role, granted);
    const missing = imports.find((name) => !bundle.capabilities.includes(name));
    if (missing !== undefined) {
      throw new RealmError(
        "refused",
        `Cannot accept bundle: its ${role} imports ${missing}${
          importerOf(bundle, bytes, missing)
        }, which the bundle does not ask for`,
        { hint: `Add "${missing}" to capabilities in bundle.toml` },
      );
    }
    checkModules(bundle, role, bytes);
  }
}

function checkModules({ modules }: Pick<Bundle, "modules">, role: Role, bytes: Uint8Array): void {
  const wanted = [...modules].filter(([, { into }]) => into.includes(role));
  if (wanted.length === 0) return;
  const inside = new Set([...nestedComponents(bytes)].map((each) => sha256Of(rawCidOf(each))));
  for (const [name, { component }] of wanted) {
    if (inside.has(sha256Of(component))) continue;
    throw new RealmError(
      "refused",
      `Cannot accept bundle: its ${role} does not have module ${name} in it, of sha256 ` +
        sha256Of(component),
      { hint: "realm app build composes it in" },
    );
  }
}

/** Says which modules in a component bring an import in, where any does. */
function importerOf(
  { modules }: Pick<Bundle, "modules">,
  component: Uint8Array,
  name: string,
): string {
  const digests = new Map(
    [...modules].map(([label, { component }]) => [sha256Of(component), label]),
  );
  const labels = [...nestedComponents(component)].flatMap((nested) => {
    const label = digests.get(sha256Of(rawCidOf(nested)));
    const isIt = identify(nested).imports.some((item) => item.name === PACKAGE + name);
    return label !== undefined && isIt ? [label] : [];
  });
  return labels.length === 0 ? "" : ` (module ${labels.join(", ")})`;
}

/** The components right inside a component, whole. */
export function* nestedComponents(bytes: Uint8Array): Iterable<Uint8Array> {
  const cursor = new Cursor(bytes, PREAMBLE_BYTES);
  while (cursor.at < cursor.end) {
    const id = cursor.byte();
    const section = cursor.sub(cursor.u32());
    if (id === COMPONENT_SECTION) yield bytes.subarray(section.at, section.end);
  }
}
