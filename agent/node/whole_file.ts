/**
 * Files that are there whole, or not at all, whatever happens meanwhile.
 *
 * @module
 */
import * as path from "node:path";
import { syncFolder } from "../store/sync_folder.ts";

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
  await syncName(file);
}

/** Makes the name of a file durable; its bytes are by their own sync. */
export function syncName(file: string): Promise<void> {
  return syncFolder(path.dirname(file));
}
