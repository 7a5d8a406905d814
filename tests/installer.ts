/**
 * install.sh under test, with a home folder of its own.
 *
 * @module
 */
import * as path from "node:path";
import { createHash } from "node:crypto";

/** The installer. */
export const SCRIPT = path.resolve(import.meta.dirname!, "..", "install.sh");

/** Where it is tried. */
export interface Machine {
  /** A home folder of its own, which is all that the installer may touch. */
  readonly home: string;
  /** Writes an executable that answers `--version`, with its digest beside it; its path. */
  build(name: string, version: string): Promise<string>;
  install(args: string[], env?: Record<string, string>): Promise<Result>;
}

/** How it ended. */
export interface Result {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Gives the test a machine, which is gone afterwards. */
export async function onMachine(test: (machine: Machine) => Promise<void>): Promise<void> {
  const home = await Deno.makeTempDir({ prefix: "realm-install-" });
  try {
    await test({
      home,
      async build(name, version) {
        const file = path.join(home, name);
        const text = `#!/bin/sh\necho "realm ${version}"\n`;
        await Deno.writeTextFile(file, text, { mode: 0o755 });
        await Deno.writeTextFile(`${file}.sha256`, `${sha256(text)}  ${name}\n`);
        return file;
      },
      async install(args, env = {}) {
        const { code, stdout, stderr } = await new Deno.Command("sh", {
          args: [SCRIPT, ...args],
          clearEnv: true,
          env: { HOME: home, PATH: Deno.env.get("PATH")!, ...env },
        }).output();
        const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
        return { status: code, stdout: text(stdout), stderr: text(stderr) };
      },
    });
  } finally {
    await Deno.chmod(home, 0o755);
    await Deno.remove(home, { recursive: true });
  }
}

/** In hex. */
export function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** What the installer left in the folder, hidden files too. */
export function files(folder: string): string[] {
  try {
    return Array.from(Deno.readDirSync(folder), (entry) => entry.name).sort();
  } catch {
    return [];
  }
}

/** Puts a program of this name first in the search path; gives the path. */
export async function withFake(home: string, name: string, script: string): Promise<string> {
  await Deno.mkdir(path.join(home, "fake"), { recursive: true });
  await Deno.writeTextFile(path.join(home, "fake", name), `#!/bin/sh\n${script}\n`, {
    mode: 0o755,
  });
  return `${home}/fake:${Deno.env.get("PATH")}`;
}
