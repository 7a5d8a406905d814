/**
 * What the WIT of the stable WASI interfaces says, as far as tests ask: functions and errors.
 *
 * @module
 */

/** Functions and errors of all interfaces. */
export interface Interfaces {
  /** `wasi:io/poll#[method]pollable.block`. */
  readonly functions: Set<string>;
  /** Cases of the enums and variants that functions give as errors, by interface. */
  readonly errors: Map<string, Set<string>>;
}

/** Reads what is needed of WIT as its authors write it: a member a line, comments in front. */
function readWit(text: string, found: Interfaces): void {
  const package_ = /^package (wasi:[a-z-]+)@/m.exec(text)![1]!;
  let iface = "", resource = "", errors: Set<string> | undefined;
  for (const raw of text.split("\n")) {
    const line = raw.replace(/\/\/.*/, "").trim();
    let m: RegExpExecArray | null;
    if ((m = /^interface ([a-z0-9-]+) \{/.exec(line))) iface = `${package_}/${m[1]}`;
    else if (/^world /.test(line)) iface = "";
    if (iface === "") continue;
    if ((m = /^resource ([a-z0-9-]+) \{/.exec(line))) resource = m[1]!;
    else if ((m = /^(?:enum|variant) (error-code) \{/.exec(line))) {
      found.errors.set(iface, errors = new Set());
    } else if (line === "}") {
      if (errors) errors = undefined;
      else resource = "";
    } else if (errors && (m = /^([A-Za-z][A-Za-z0-9-]*)/.exec(line))) errors.add(m[1]!);
    else if (/^constructor\(/.test(line)) found.functions.add(`${iface}#[constructor]${resource}`);
    else if ((m = /^%?([a-z0-9-]+): (static )?(?:async )?func\(/.exec(line))) {
      const kind = m[2] ? "static" : "method";
      found.functions.add(
        resource ? `${iface}#[${kind}]${resource}.${m[1]}` : `${iface}#${m[1]}`,
      );
    }
  }
}

function readFolder(name: string): Interfaces {
  const found: Interfaces = { functions: new Set(), errors: new Map() };
  const folder = new URL(`../wit/${name}/`, import.meta.url);
  for (const { name } of Deno.readDirSync(folder)) {
    if (name.endsWith(".wit")) readWit(Deno.readTextFileSync(new URL(name, folder)), found);
  }
  return found;
}

/** Those of WASI 0.2. */
export const WASI: Interfaces = readFolder("wasi-0.2.12");
/** Those of WASI 0.3. */
export const WASI_3: Interfaces = readFolder("wasi-0.3.2");
