/**
 * `realm upgrade`: another version in the place of this executable, and back when it does not work.
 *
 * @module
 */
import { RealmError } from "../agent/kernel/error.ts";
import { command } from "./command.ts";
import { controlSocketPath } from "./connection.ts";
import type { Context } from "./context.ts";
import { defaulted, optional, parseDuration, parseText, repeated, toggle } from "./parameters.ts";
import type { RunningAgent } from "./upgrade/come_up.ts";
import { VERSION } from "./version.ts";

/** The longest that a release may take to come. */
const DOWNLOAD_MS = 30 * 60_000;

/** How long the agent of before may take at least: there is nothing else to go back to. */
const BACK_MS = 120_000;

/** How long starting may take at least: a service may take a minute to end the one of before. */
const START_MS = 120_000;

interface Flags {
  readonly from: string | undefined;
  readonly releaseKey: readonly string[];
  readonly restart: string | undefined;
  readonly wait: number;
  readonly downgrade: boolean;
  readonly back: boolean;
}

/** Of one that was checked and may be put in place. */
interface Candidate {
  readonly version: string;
  readonly sha256: string;
}

export const upgrade = command({
  brief: "Replace this executable by another version, and return when its agent does not come up",
  description: "Takes the executable for this machine from a release: a folder, or the address " +
    "of one, with SHA256SUMS, signed in SHA256SUMS.sig by a key that this executable pins. The " +
    "executable of before is kept as FILE.old. An agent that runs as a service is started again " +
    "and has to answer, of the new version, and to go on for 5 seconds; else the executable of " +
    "before comes back and is started.",
  flags: {
    from: optional(
      "The release (default $REALM_RELEASES): a folder, an executable in it, or the address of either",
      "FILE|URL",
      parseText,
    ),
    releaseKey: repeated("Key to trust in place of those pinned in this build", "KEY", parseText),
    restart: optional(
      "Starts the agent again, where no service of systemd or launchd runs it",
      "COMMAND",
      parseText,
    ),
    wait: defaulted("How long the agent may take to come up", "DURATION", parseDuration, "60s"),
    downgrade: toggle("Take an older version, too"),
    back: toggle("Put the executable of before back in place of a release"),
  },
  async run(context, flags) {
    const executable = installedExecutable();
    const { besides, linkOrCopy, oldPath, versionOf } = await import("./upgrade/executable.ts");
    const { withUpgradeLock } = await import("./upgrade/upgrade_lock.ts");
    await withUpgradeLock(executable, () =>
      besides(executable, async (temporary) => {
        if (flags.back) {
          const version = await versionOf(oldPath(executable));
          await linkOrCopy(oldPath(executable), temporary);
          return await exchange(context, flags, executable, temporary, version);
        }
        const candidate = await fetchRelease(context, flags, temporary);
        const { sha256Hex } = await import("../agent/kernel/sha256.ts");
        if (candidate.sha256 === await sha256Hex(await Deno.readFile(executable))) {
          return context.print(
            { from: VERSION, to: VERSION, executable, changed: false },
            () => `${executable} is realm ${VERSION} of ${candidate.sha256.slice(0, 12)}… already`,
          );
        }
        await exchange(context, flags, executable, temporary, candidate.version);
      }));
  },
});

function installedExecutable(): string {
  if (Deno.build.standalone) return Deno.execPath();
  throw new RealmError("unsupported", "Cannot upgrade: realm runs from source here", {
    hint: "Use git pull in its place",
  });
}

/** The executable of the release, checked, at `temporary`. */
async function fetchRelease(
  context: Context,
  { from = context.shell.env("REALM_RELEASES"), releaseKey, downgrade }: Flags,
  temporary: string,
): Promise<Candidate> {
  const { RELEASE_KEYS } = await import("./upgrade/release_keys.ts");
  const { parseSums, SIGNATURE_FILE, SUMS_BYTES_MAX, SUMS_FILE, verifySums } = await import(
    "./upgrade/release_sums.ts"
  );
  const places = await import("./upgrade/release_place.ts");
  const { createBeside, isBefore, versionOf } = await import("./upgrade/executable.ts");
  const { formatPublicKey, parsePublicKey } = await import("../agent/kernel/key.ts");
  const keys = releaseKey.length > 0
    ? releaseKey.map((key) => formatPublicKey(parsePublicKey(key)))
    : RELEASE_KEYS;
  if (from === undefined || from === "") {
    throw new RealmError("usage", "Cannot upgrade: no release is named, wanted --from FILE|URL", {
      hint: "Or set REALM_RELEASES to the address of releases",
    });
  }
  if (keys.length === 0) {
    throw new RealmError("bad-signature", "Cannot trust any release: this build pins no key", {
      hint: "Name the key of whoever releases with --release-key",
    });
  }
  const signal = AbortSignal.any([context.shell.interrupted(), AbortSignal.timeout(DOWNLOAD_MS)]);
  const place = await places.releasePlace(from, context.shell.cwd);
  const sums = await places.readSmall(place, SUMS_FILE, SUMS_BYTES_MAX, signal);
  const signatures = await places.readSmall(place, SIGNATURE_FILE, SUMS_BYTES_MAX, signal);
  const key = await verifySums(sums, signatures, keys);
  const name = place.file ?? places.executableName(Deno.build.target);
  const wanted = parseSums(sums).get(name);
  if (wanted === undefined) {
    throw new RealmError("not-found", `Cannot upgrade from ${place.name}: it has no ${name}`);
  }
  context.note(`signed by ${key}`);
  const file = await createBeside(temporary);
  let sha256: string;
  try {
    sha256 = await places.saveTo(file, place, name, signal);
  } finally {
    file.close();
  }
  if (sha256 !== wanted) {
    throw new RealmError(
      "digest-mismatch",
      `Cannot use ${name} of ${place.name}: its sha256 is ${sha256}, wanted ${wanted}`,
      { hint: "Download it again; if it stays so, do not run it" },
    );
  }
  const version = await versionOf(temporary);
  if (isBefore(version, VERSION) && !downgrade) {
    throw new RealmError("stale", `Cannot upgrade to ${version}: this is ${VERSION}, a later one`, {
      hint: "Add --downgrade if that is what you want",
    });
  }
  return { version, sha256 };
}

/** Puts `replacement` in place, starts the agent again, and goes back where it does not come up. */
async function exchange(
  context: Context,
  flags: Flags,
  executable: string,
  replacement: string,
  version: string,
): Promise<void> {
  const { oldPath, putBack, putInPlace } = await import("./upgrade/executable.ts");
  const { orHungUp } = await import("./upgrade/hang_up.ts");
  const { askAgent } = await import("./upgrade/ask_agent.ts");
  const ask = () => askAgent(controlSocketPath(context.dataFolder));
  const before = await ask();
  const start = before === undefined ? undefined : await starter(flags, before);
  using hangUp = orHungUp(context.shell.interrupted());
  await putInPlace(executable, replacement);
  const result = {
    from: VERSION,
    to: version,
    executable,
    old: oldPath(executable),
    changed: true,
  };
  const done = `realm ${VERSION} -> ${version}, the one before is ${result.old}\n`;
  if (before === undefined) {
    return context.print({ ...result, agent: "none" }, () => done);
  }
  if (start === undefined) {
    return context.print(
      { ...result, agent: "restart" },
      () => `${done}The agent (process ${before.pid}) runs the one before: start it again\n`,
    );
  }
  note(context, `starting the agent again: ${start.name}`);
  const why = await startAndWait(flags, start, version, before, ask, hangUp.signal);
  if (why === undefined) {
    return context.print({ ...result, agent: "up" }, () => `${done}The agent is up\n`);
  }
  note(context, `going back to ${VERSION}: ${why}`);
  const failed = await ask().catch(() => undefined) ?? before; // nothing may keep it from going back
  await putBack(executable);
  const waits = { ...flags, wait: Math.max(flags.wait, BACK_MS) };
  // What interrupted the other wait does not interrupt this one: it was asked to go back.
  const whole = new AbortController().signal;
  const whyOld = await startAndWait(waits, start, before.program, failed, ask, whole);
  const now = whyOld === undefined
    ? `${before.program} is back and its agent is up`
    : `${before.program} is back, but its agent is not up: ${whyOld}`;
  throw new RealmError("failed", `Cannot upgrade to ${version}: ${why}; ${now}`, {
    hint: "Look at what the agent printed: journalctl --user -u realm, or where its output goes",
  });
}

/** Notes it, unless the terminal is gone: that must not keep anything from going back. */
function note(context: Context, text: string): void {
  try {
    context.note(text);
  } catch {
    // nobody reads it
  }
}

interface Starter {
  readonly name: string;
  start(signal: AbortSignal): Promise<void>;
}

/** How the agent is started again; nothing where no service runs it and nobody said how. */
async function starter(flags: Flags, agent: RunningAgent): Promise<Starter | undefined> {
  const { restart, restartByShell, runHere, serviceOf } = await import("./upgrade/service.ts");
  if (flags.restart !== undefined) {
    const line = flags.restart;
    return { name: line, start: (signal) => restartByShell(line, signal) };
  }
  if (agent.pid === undefined) return undefined;
  const service = await serviceOf(agent.pid, runHere(), Deno.uid() ?? 0);
  return service && {
    name: service.name,
    start: (signal) => restart(service.restart, runHere(signal)),
  };
}

/** Why the agent did not come up, if it did not. */
async function startAndWait(
  { wait }: Flags,
  { start }: Starter,
  version: string,
  before: RunningAgent,
  ask: () => Promise<RunningAgent | undefined>,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { comesUp, startWithin } = await import("./upgrade/come_up.ts");
  const { systemClock } = await import("../agent/node/system_clock.ts");
  const why = await startWithin(Math.max(wait, START_MS), start, systemClock);
  if (why !== undefined) return why;
  return await comesUp(version, before, {
    ask,
    clock: systemClock,
    timeoutMs: wait,
    signal,
  });
}
