/**
 * Files that are there whole, or not at all, whatever happens meanwhile.
 *
 * @module
 */
import * as path from "node:path";

/** Replaces a file with all of these bytes, or not at all, durably. */
export async function writeWhole(file: string, bytes: Uint8Array, mode = 0o600): Promise<void> {
  const temporary = `${file}.${crypto.randomUUID()}.tmp`;
  try {
    {
      using open = await Deno.open(temporary, { write: true, createNew: true, mode });
      for (let rest = bytes; rest.length > 0;) rest = rest.subarray(await open.write(rest));
      await open.sync();
    }
    await Deno.rename(temporary, file);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw error;
  }
  using folder = await Deno.open(path.dirname(file), { read: true });
  await folder.sync();
}
