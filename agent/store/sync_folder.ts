/**
 * Makes the names in a folder durable: what was created or renamed there is so after a power cut.
 *
 * @module
 */

/** See the module. */
export async function syncFolder(path: string): Promise<void> {
  if (Deno.build.os === "windows") return; // A folder cannot be opened as a file there.
  using folder = await Deno.open(path, { read: true });
  await folder.sync();
}
