/**
 * The Worker in which components are transpiled: `{bytes}` in, `{artifact | error}` out,
 * the artifact encoded.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import { encodeArtifact } from "./artifact.ts";
import { transpile } from "./transpile.ts";

const scope = self as unknown as {
  onmessage: (event: MessageEvent) => void;
  postMessage(message: unknown, transfer?: Transferable[]): void;
};

scope.onmessage = async (event) => {
  const { bytes } = event.data as { bytes: Uint8Array };
  try {
    const artifact = encodeArtifact(await transpile(bytes));
    scope.postMessage({ artifact }, [artifact.buffer as ArrayBuffer]);
  } catch (error) {
    const known = error instanceof RealmError ? error : new RealmError(
      "failed",
      `Cannot transpile the component: ${error instanceof Error ? error.stack : error}`,
    );
    scope.postMessage({ error: known.toJSON() });
  }
};
