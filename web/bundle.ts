/**
 * Makes one script of the page's modules; for the build, and for who runs realm from source. As a
 * program it writes the script of the module that it is given to standard output.
 *
 * @module
 */

/** The script whose first module is this file. */
export async function bundlePage(entry: string): Promise<Uint8Array<ArrayBuffer>> {
  const esbuild = await import("esbuild"); // not in the executable
  const { outputFiles } = await esbuild.build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: "esm",
    platform: "browser",
    target: "es2023",
    tsconfigRaw: {},
    minify: true,
    legalComments: "none",
  });
  await esbuild.stop();
  return Uint8Array.from(outputFiles[0]!.contents);
}

if (import.meta.main) {
  await new Blob([await bundlePage(Deno.args[0]!)]).stream().pipeTo(Deno.stdout.writable);
}
