/**
 * An owner for tests: signs what the command line would, and hands it to an agent.
 *
 * @module
 */
import type { ControlClient } from "./control/client.ts";
import { nodeBackend } from "./node/crypto_node.ts";
import { CID } from "./kernel/canonical.ts";
import {
  encodeSigned,
  eventAt,
  type EventContent,
  type EventPlace,
  type SignedEvent,
  signEvent,
} from "./kernel/event.ts";
import { formatPublicKey } from "./kernel/key.ts";
import { keyPairOf, type Signer, signerOf } from "./kernel/verify.ts";
import { controlContent, createControlGenesis } from "./realm/control_event.ts";
import { parseManifestSignature } from "./realm/manifest_signature.ts";
import { PublishedDigests } from "./realm/published.ts";

type Agent = Pick<ControlClient, "place" | "append" | "nodes">;

/** A key of its own. */
export async function newSigner(): Promise<Signer> {
  const backend = nodeBackend();
  return signerOf(await keyPairOf(crypto.getRandomValues(new Uint8Array(32)), backend), backend);
}

/** See the module. */
export class FakeOwner {
  readonly key: string;
  #genesis: Promise<SignedEvent> | undefined;
  #recovery: Promise<Signer> | undefined;

  constructor(readonly signer: Signer) {
    this.key = formatPublicKey(signer.publicKey);
  }

  /** Begins the log if there is none, approves the agent's node, and applies. */
  async apply(agent: Agent, { manifest, signature }: { manifest: Uint8Array; signature: string }) {
    const [self] = await agent.nodes();
    const approval = self!.state === "approved"
      ? []
      : [controlContent({ kind: "approve", key: self!.key, name: self!.name })];
    const published = (await agent.place(this.key))?.published;
    const { size, root } = new PublishedDigests(published).add(digestsIn(signature)).head;
    // As text, so that a test can have it as wrong as it likes.
    const content = {
      type: "control/manifest",
      payload: { manifest, signature, tree: { size, root } },
    };
    return await this.append(agent, [...approval, content]);
  }

  restart(agent: Agent, component: string, nodes: readonly string[] = []) {
    return this.append(agent, [controlContent({ kind: "restart", component, nodes })]);
  }

  scale(agent: Agent, component: string, replicas: number | null, node: string | null = null) {
    return this.append(agent, [controlContent({ kind: "scale", component, replicas, node })]);
  }

  /** The events, signed in a row. */
  async append(agent: Agent, contents: readonly EventContent[]) {
    const there = await agent.place(this.key);
    const signed: SignedEvent[] = [];
    if (there === null) signed.push(await this.genesis());
    let place: EventPlace = there === null ? placeAfter(signed[0]!) : {
      topic: CID.parse(there.topic),
      heads: there.heads.map(({ id, lamport }) => ({ id: CID.parse(id), lamport })),
      previous: there.previous === null
        ? undefined
        : { id: CID.parse(there.previous.id), seq: there.previous.seq },
    };
    for (const content of contents) {
      const event = await signEvent(eventAt(this.signer.publicKey, place, content), this.signer);
      signed.push(event);
      place = placeAfter(event);
    }
    return await agent.append(signed.map(encodeSigned));
  }

  /** The same each time. */
  genesis(): Promise<SignedEvent> {
    return this.#genesis ??= this.recovery()
      .then(({ publicKey }) => createControlGenesis(this.signer, publicKey));
  }

  /** The recovery key of that genesis. */
  recovery(): Promise<Signer> {
    return this.#recovery ??= newSigner();
  }
}

function digestsIn(signature: string): Iterable<string> {
  try {
    return parseManifestSignature(signature).digests.values();
  } catch {
    return []; // a test wants it to be refused
  }
}

function placeAfter({ id, event }: SignedEvent): EventPlace {
  return {
    topic: event.topic ?? id,
    heads: [{ id, lamport: event.lamport }],
    previous: { id, seq: event.seq },
  };
}
