/**
 * What a release is made of, as CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/), from
 * `deno.lock` and from what the bundler took.
 *
 * Every package of the lock file is a component: those of which code is in the executable are
 * `required`, the others (tests, the build itself) `excluded`. The same input gives the same bytes:
 * there is no time in it, and its serial number is made of its contents.
 *
 * @module
 */
import { createHash } from "node:crypto";

/** What of `deno.lock` is read. */
export interface LockFile {
  readonly npm: Readonly<
    Record<string, { readonly integrity: string; readonly dependencies?: readonly string[] }>
  >;
}

/** The bill of materials. `bundled` has the packages in the executable, as `name@version`. */
export function billOfMaterials(
  lock: LockFile,
  { version, deno, bundled }: {
    readonly version: string;
    readonly deno: string;
    readonly bundled: ReadonlySet<string>;
  },
): string {
  const packages = new Map(Object.entries(lock.npm).map(([id, each]) => [id, each]));
  const realm = {
    type: "application",
    "bom-ref": `realm@${version}`,
    name: "realm",
    version,
    licenses: [{ license: { id: "AGPL-3.0-only" } }],
  };
  const runtime = {
    type: "platform",
    "bom-ref": `deno@${deno}`,
    name: "deno",
    version: deno,
    purl: `pkg:github/denoland/deno@v${deno}`,
    scope: "required",
  };
  const libraries = [...packages].map(([id, { integrity }]) => {
    const { name, version, purl } = packageOf(id);
    return {
      type: "library",
      "bom-ref": purl,
      name,
      version,
      purl,
      scope: bundled.has(`${name}@${version}`) ? "required" : "excluded",
      hashes: [{ alg: "SHA-512", content: sha512Of(integrity) }],
    };
  }).sort((a, b) => a["bom-ref"] < b["bom-ref"] ? -1 : 1);
  const required = libraries.filter(({ scope }) => scope === "required");
  const dependencies = [
    {
      ref: realm["bom-ref"],
      dependsOn: [runtime["bom-ref"], ...required.map((each) => each["bom-ref"])],
    },
    ...[...packages].map(([id, { dependencies = [] }]) => ({
      ref: packageOf(id).purl,
      dependsOn: [...new Set(dependencies.flatMap((each) => refOf(each, packages)))].sort(),
    })).sort((a, b) => a.ref < b.ref ? -1 : 1),
  ];
  const contents = {
    metadata: { component: realm },
    components: [runtime, ...libraries],
    dependencies,
  };
  const serial = createHash("sha256").update(JSON.stringify(contents)).digest("hex");
  const uuid = `${serial.slice(0, 8)}-${serial.slice(8, 12)}-5${serial.slice(13, 16)}-a${
    serial.slice(17, 20)
  }-${serial.slice(20, 32)}`;
  const head = {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: `urn:uuid:${uuid}`,
    version: 1,
  };
  return JSON.stringify(
    { $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json", ...head, ...contents },
    null,
    2,
  ) + "\n";
}

/** The packages of which the bundler took code, as `name@version`, from its account of inputs. */
export function bundledPackages(inputs: Iterable<string>): Set<string> {
  const found = new Set<string>();
  for (const input of inputs) {
    // node_modules/.deno/@scope+name@1.2.3[_peers]/node_modules/@scope/name/…
    const match = /node_modules\/\.deno\/([^/]+)\//.exec(input);
    if (match !== null) found.add(match[1]!.replace("+", "/").replace(/^(.[^@]*@[^_]+).*/, "$1"));
  }
  return found;
}

/** Of `@scope/name@1.2.3`, or with its peers `name@1.2.3_other@4.5.6`. */
function packageOf(id: string): { name: string; version: string; purl: string } {
  const [, name, version] = /^(.[^@]*)@([^_]+)/.exec(id)!;
  return {
    name: name!,
    version: version!,
    purl: `pkg:npm/${name!.replace("@", "%40")}@${version}`,
  };
}

/** A dependency is named by its package alone where the lock file has one version of it. */
function refOf(dependency: string, packages: ReadonlyMap<string, unknown>): string[] {
  const id = packages.has(dependency)
    ? dependency
    : [...packages.keys()].find((each) => packageOf(each).name === dependency);
  return id === undefined ? [] : [packageOf(id).purl]; // one of another platform may be left out
}

function sha512Of(integrity: string): string {
  return Uint8Array.fromBase64(integrity.replace(/^sha512-/, "")).toHex();
}
