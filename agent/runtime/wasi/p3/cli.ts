/**
 * `wasi:cli` and `wasi:random` of WASI 0.3, on what answers those of 0.2.
 *
 * @see https://github.com/WebAssembly/wasi-cli
 * @module
 */
import type { GivenStream } from "../../abi/ends.ts";
import type { createCli } from "../cli.ts";
import type { WasiInstance } from "../context.ts";
import type { IoErrorInit } from "../io.ts";
import { type createRandom, RANDOM_BYTES_MAX } from "../random.ts";
import { reading, writing } from "./streams.ts";

/** `error-code` of `wasi:cli/types`. */
const codeOf = (error: IoErrorInit | undefined) => error ? "io" : "pipe";

/** The functions of `wasi:cli`, by interface. */
export function createCli3(host: WasiInstance, cli: ReturnType<typeof createCli>) {
  const { getEnvironment, getArguments, initialCwd } = cli.environment;
  const { stdin, stdout, stderr } = cli.streams;
  return {
    environment: { getEnvironment, getArguments, getInitialCwd: initialCwd },
    stdin: { readViaStream: () => reading(stdin, codeOf) },
    stdout: { writeViaStream: (data: GivenStream) => writing(host, data, stdout, codeOf) },
    stderr: { writeViaStream: (data: GivenStream) => writing(host, data, stderr, codeOf) },
  };
}

/** The functions of `wasi:random`, by interface: no more bytes than there are at once. */
export function createRandom3(random: ReturnType<typeof createRandom>) {
  const most = BigInt(RANDOM_BYTES_MAX);
  const few = (length: bigint) => length < most ? length : most;
  const { getRandomBytes, getRandomU64 } = random.random;
  const { getInsecureRandomBytes, getInsecureRandomU64 } = random.insecure;
  return {
    random: { getRandomBytes: (length: bigint) => getRandomBytes(few(length)), getRandomU64 },
    insecure: {
      getInsecureRandomBytes: (length: bigint) => getInsecureRandomBytes(few(length)),
      getInsecureRandomU64,
    },
    insecureSeed: { getInsecureSeed: random.insecureSeed.insecureSeed },
  };
}
