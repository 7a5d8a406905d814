/**
 * The unix socket of the control API: where it is, and that only its user reaches it.
 *
 * Whoever can connect can stop and scale components, so the folder is made private (0700) before
 * the socket is bound in it; the socket's own mode (0600) is the second fence, because it is bound
 * with a wider one and changed afterwards. The name of a socket has at most 103 bytes everywhere
 * (`sun_path` of unix(7): 108 on Linux, 104 on macOS, with a zero byte). A longer path becomes a
 * symbolic link to a socket in a private folder of its own below the folder for temporary files.
 * Two agents that start at the same moment are told apart by the store, which is opened first and
 * has one holder.
 *
 * @module
 */
import { dirname } from "node:path";
import { RealmError } from "../kernel/error.ts";

/** Longest path of a socket, in bytes. */
export const SOCKET_PATH_BYTES_MAX = 103;

/** Where to bind, and what to take away afterwards. */
export interface SocketPlace {
  /** Short enough to bind; in a folder that only this user may enter. */
  readonly path: string;
  /** Removes the socket of a listener that ended, for another to be bound; throws if one answers. */
  clear(): Promise<void>;
  /** Removes the socket and what was made for it. */
  remove(): Promise<void>;
}

/**
 * Makes the place for a socket at `path`, and takes away what a dead agent left there.
 *
 * Throws RealmError `failed` when an agent answers there, when something else than a socket is
 * there, or when the folder belongs to somebody else.
 */
export async function prepareSocket(path: string): Promise<SocketPlace> {
  try {
    await makePrivate(dirname(path));
    await removeStale(path);
    if (byteLength(path) <= SOCKET_PATH_BYTES_MAX) {
      return { path, clear: () => removeStale(path), remove: () => removeIfThere(path) };
    }
    return await linkToShortPath(path);
  } catch (error) {
    if (error instanceof RealmError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new RealmError("failed", `Cannot bind control socket "${path}": ${reason}`, {
      hint: "Run the agent as the owner of its data folder",
      cause: error,
    });
  }
}

/**
 * Narrows a socket that was just bound, and makes sure that its folder is as private as it was
 * made: one of another user could be exchanged under us.
 */
export async function secureSocket(path: string): Promise<void> {
  await Deno.chmod(path, 0o600);
  const folder = dirname(path);
  const [inFolder, ofFolder] = [await Deno.lstat(path), await Deno.stat(folder)];
  if (inFolder.uid !== ofFolder.uid || (ofFolder.mode! & 0o077) !== 0) {
    throw new RealmError(
      "failed",
      `Cannot bind control socket "${path}": its folder belongs to another user or is open to others`,
      { hint: "Run the agent as the owner of its data folder" },
    );
  }
}

/** The path to connect to: `path`, or what it links to. */
export function socketTarget(path: string): string {
  try {
    return Deno.readLinkSync(path);
  } catch {
    return path; // Not a link, or not there: connecting will tell.
  }
}

async function makePrivate(folder: string): Promise<void> {
  await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
  if (((await Deno.stat(folder)).mode! & 0o077) !== 0) await Deno.chmod(folder, 0o700);
}

async function linkToShortPath(path: string): Promise<SocketPlace> {
  const folder = await Deno.makeTempDir({ prefix: "realm-" }); // 0700 and ours: mkdtemp(3)
  const target = `${folder}/control.sock`;
  const remove = async () => {
    await removeIfThere(path);
    await removeIfThere(target);
    await removeIfThere(folder);
  };
  if (byteLength(target) > SOCKET_PATH_BYTES_MAX) {
    await remove();
    throw new RealmError(
      "failed",
      `Cannot bind control socket "${path}": ${byteLength(path)} bytes, ` +
        `wanted at most ${SOCKET_PATH_BYTES_MAX}`,
      { hint: "Choose a data folder with a shorter path with --data, or set TMPDIR to one" },
    );
  }
  await Deno.symlink(target, path);
  return { path: target, clear: () => removeStale(target), remove };
}

async function removeStale(path: string): Promise<void> {
  const target = socketTarget(path);
  const link = target !== path;
  let found: Deno.FileInfo;
  try {
    found = await Deno.lstat(target);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return await removeIfThere(path); // A link to a socket that is gone.
  }
  if (!found.isSocket) {
    throw new RealmError(
      "failed",
      `Cannot bind control socket "${path}": there is a file that is not a socket`,
      { hint: `Move ${path} away` },
    );
  }
  if (await answers(target)) {
    throw new RealmError(
      "failed",
      `Cannot bind control socket "${path}": another agent is listening on it`,
      { hint: "Stop the other agent, or choose another data folder with --data" },
    );
  }
  await removeIfThere(target);
  if (!link) return;
  await removeIfThere(dirname(target));
  await removeIfThere(path);
}

/** Whether somebody listens; only a refusal says that nobody does. */
async function answers(path: string): Promise<boolean> {
  // Where it is this agent, the other end takes a descriptor as well: without one it would end.
  const spare = Deno.openSync("/dev/null");
  const connecting = Deno.connect({ transport: "unix", path });
  spare.close();
  try {
    (await connecting).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return false;
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function removeIfThere(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function byteLength(path: string): number {
  return new TextEncoder().encode(path).length;
}
