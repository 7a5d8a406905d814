/**
 * Reads secrets for one replica: the values that are in force when it asks.
 *
 * To open one takes this thread tens of milliseconds, more where it is sealed to many, and a guest
 * may ask without end: each value is opened once for a replica, or found not to open.
 *
 * @module
 */
import type { SecretValues } from "../kernel/secret_bucket.ts";
import type { SecretRecord } from "../realm/realm_view.ts";

/** What {@link secretReader} needs. */
export interface SecretReaderInit {
  /** As the control log has it now. */
  readonly record: (name: string) => Pick<SecretRecord, "event" | "sealed"> | undefined;
  readonly open: (name: string, sealed: Uint8Array) => Promise<Uint8Array>;
  /** A value was opened, or could not be. */
  readonly opened?: (isOpened: boolean) => void;
  /** Is told of each value that was read, or could not be, once. */
  readonly notice: (text: string) => void;
}

/** See the module. */
export function secretReader(
  { record, open, opened: told = () => {}, notice }: SecretReaderInit,
): SecretValues["read"] {
  /** By name, the value of an event; `undefined` where there is none. */
  const opened = new Map<string, { event: string; value: Promise<Uint8Array> | undefined }>();

  async function opening(name: string, event: string, sealed: Uint8Array): Promise<Uint8Array> {
    try {
      const value = await open(name, sealed);
      told(true);
      notice(`secret ${name} was read (set by event ${event})`);
      return value;
    } catch (error) {
      told(false);
      notice(
        `secret ${name} cannot be read: ${(error as Error).message}; run realm secrets reseal`,
      );
      throw error;
    }
  }

  return async (name) => {
    const now = record(name);
    const event = now?.event ?? "";
    let there = opened.get(name);
    if (there?.event !== event) {
      there = { event, value: now && opening(name, event, now.sealed) };
      opened.set(name, there);
      if (now === undefined) {
        notice(`secret ${name} has no value: set one with realm secrets set ${name}`);
      }
    }
    return (await there.value)?.slice(); // what is given away may be transferred
  };
}
