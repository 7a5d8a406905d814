/**
 * The files of the page, as the program has them with it.
 *
 * In the executable the script was bundled when that was built (`scripts/build.ts`). From source it
 * is bundled when it is asked for, which takes esbuild and the permission to run programs.
 *
 * @module
 */
import type { UiFile } from "./server.ts";

const SCRIPT = new URL("./page/page.ts", import.meta.url);
const TEXTS = [
  ["/", "text/html; charset=utf-8", new URL("./page/page.html", import.meta.url)],
  ["/page.css", "text/css; charset=utf-8", new URL("./page/page.css", import.meta.url)],
  ["/icon.svg", "image/svg+xml", new URL("./page/icon.svg", import.meta.url)],
] as const;

/** All of them, by their paths. */
export async function pageFiles(): Promise<ReadonlyMap<string, UiFile>> {
  const script = SCRIPT.pathname.endsWith(".ts")
    ? await bundled(SCRIPT.pathname)
    : await Deno.readFile(SCRIPT);
  const files: [string, UiFile][] = [["/page.js", { type: "text/javascript", body: script }]];
  for (const [path, type, url] of TEXTS) {
    files.push([path, { type, body: await Deno.readFile(url) }]);
  }
  return new Map(files);
}

/** By a program, which leaves nothing behind: esbuild's own ends some time after it was told to. */
async function bundled(entry: string): Promise<Uint8Array<ArrayBuffer>> {
  const [config, script] = ["../deno.json", "./bundle.ts"].map((file) =>
    new URL(file, import.meta.url).pathname
  );
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-check", `--config=${config}`, "-A", script!, entry],
    stderr: "inherit",
  }).output();
  if (!success) throw new Error(`Cannot bundle ${entry}`);
  return stdout;
}
