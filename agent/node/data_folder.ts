/**
 * The folder with everything of a node.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";

/**
 * Makes the folder of an agent, for its user alone, where there is none.
 *
 * Throws RealmError `failed` where it cannot be had, or is another user's: what an agent of root made
 * there, its owner could not read.
 */
export async function openDataFolder(folder: string): Promise<void> {
  let owner: number | null;
  try {
    await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
    owner = (await Deno.stat(folder)).uid;
  } catch (cause) {
    throw new RealmError("failed", `Cannot use data folder "${folder}": ${messageOf(cause)}`, {
      hint: "Name another folder with --data DIR; realm doctor looks at it more closely",
      cause,
    });
  }
  const user = Deno.uid();
  if (owner === user || owner === null) return;
  throw new RealmError(
    "failed",
    `Cannot use data folder "${folder}": it belongs to another user (${owner}), this is ${user}`,
    { hint: "Run the agent as the owner of its data folder, or name another one with --data DIR" },
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
