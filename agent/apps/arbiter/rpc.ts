/**
 * Calls in both directions over a pair of ports, such as a Worker's: each side has functions by name,
 * and calls those of the other. Values pass by structured clone, a RealmError as what it says.
 *
 * @module
 */
import { type ErrorCode, EXIT_STATUS, RealmError } from "../../kernel/error.ts";

/** One end: a Worker, or what a Worker has of its own. */
export interface Port {
  postMessage(message: unknown, transfer?: Transferable[]): void;
  onmessage: ((event: MessageEvent) => void) | null;
}

/** Functions that the other side may call. */
export type Functions = { readonly [name: string]: (...args: never[]) => unknown };

/** The functions `F` as the other side calls them. */
export type Remote<F> = {
  readonly [K in keyof F]: F[K] extends (...args: infer A) => infer R
    ? (...args: A) => Promise<Awaited<R>>
    : never;
};

type Message =
  | { readonly id: number; readonly call: string; readonly args: readonly unknown[] }
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: Failure };

interface Failure {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
}

/** A connection, from one side. */
export interface Connection<F> {
  readonly remote: Remote<F>;
  /** Fails what is not answered, and every later call. */
  close(reason: RealmError): void;
}

/** Answers calls by `local` and makes calls of the other side's functions. */
export function connect<F>(port: Port, local: Functions): Connection<F> {
  const waiting = new Map<number, PromiseWithResolvers<unknown>>();
  let closed: RealmError | undefined;
  let ids = 0;
  const answer = async (id: number, name: string, args: readonly unknown[]) => {
    try {
      if (!Object.hasOwn(local, name)) throw new Error(`there is no function ${name}`);
      port.postMessage({ id, value: await local[name]!(...args as never[]) });
    } catch (error) {
      port.postMessage({ id, error: failureOf(error) });
    }
  };
  port.onmessage = ({ data }: MessageEvent<Message>) => {
    if (closed !== undefined) return;
    if ("call" in data) return void answer(data.id, data.call, data.args);
    const call = waiting.get(data.id);
    waiting.delete(data.id);
    if ("error" in data) call?.reject(errorOf(data.error));
    else call?.resolve(data.value);
  };
  const call = (name: string) => (...args: unknown[]) => {
    const answered = Promise.withResolvers<unknown>();
    if (closed !== undefined) answered.reject(closed);
    else {
      waiting.set(++ids, answered);
      port.postMessage({ id: ids, call: name, args });
    }
    return answered.promise;
  };
  return {
    // `then` would make it look like a promise.
    remote: new Proxy({}, {
      get: (_, name) => typeof name === "string" && name !== "then" ? call(name) : undefined,
    }) as Remote<F>,
    close(reason) {
      closed ??= reason;
      for (const { reject } of waiting.values()) reject(reason);
      waiting.clear();
    },
  };
}

function failureOf(error: unknown): Failure {
  if (error instanceof RealmError) return error.toJSON();
  return { code: "failed", message: error instanceof Error ? error.message : String(error) };
}

function errorOf({ code, message, hint }: Failure): RealmError {
  const known = Object.hasOwn(EXIT_STATUS, code) ? code as ErrorCode : "failed";
  return new RealmError(known, message, hint === undefined ? {} : { hint });
}
