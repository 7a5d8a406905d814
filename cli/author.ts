/**
 * Who signs what this command line decides: the owner's key of the data folder, or an operator's
 * from `--key FILE`. The secret key stays here; the agent is asked where the next event goes, and
 * is handed events that are signed already.
 *
 * @module
 */
import * as path from "node:path";
import type { ControlClient } from "../agent/control/client.ts";
import { CID } from "../agent/kernel/canonical.ts";
import { RealmError } from "../agent/kernel/error.ts";
import {
  encodeSigned,
  eventAt,
  type EventContent,
  type EventPlace,
  type SignedEvent,
  signEvent,
} from "../agent/kernel/event.ts";
import { formatPublicKey, type KeyPair } from "../agent/kernel/key.ts";
import { webCryptoBackend } from "../agent/kernel/signature_backends.ts";
import { type Signer, signerOf } from "../agent/kernel/verify.ts";
import type { Context } from "./context.ts";
import { OWNER_KEY_FILE } from "./key.ts";
import { openKey } from "./passphrase.ts";

/** What an agent answers to events. */
export type EventsAnswer = Awaited<ReturnType<ControlClient["append"]>>;

/** What an event says; of a manifest it depends on every digest that was published before. */
type Content = EventContent | ((published: readonly string[]) => EventContent);

/** A key that signs events. */
export class Author {
  /** Text form of the public key. */
  readonly key: string;
  readonly signer: Signer;

  constructor(readonly keys: KeyPair, readonly file: string) {
    this.key = formatPublicKey(keys.publicKey);
    this.signer = signerOf(keys, webCryptoBackend());
  }

  /**
   * The key of `--key`, else the owner's key of the data folder.
   *
   * Throws RealmError `not-found` where there is none, and what reading a key file throws.
   */
  static async open(context: Context, keyFile?: string): Promise<Author> {
    const file = keyFile === undefined
      ? path.join(context.dataFolder, OWNER_KEY_FILE)
      : context.resolve(keyFile);
    try {
      return new Author(await openKey(context, file), file);
    } catch (error) {
      if (!(error instanceof RealmError) || error.code !== "not-found") throw error;
      throw new RealmError(
        "not-found",
        `Cannot sign: there is no key in ${file}, wanted the owner's or an operator's`,
        {
          hint: keyFile === undefined
            ? "Run it where realm init was run; operators name theirs with --key, realm key rotate replaces a lost owner's"
            : "Correct --key",
          cause: error,
        },
      );
    }
  }

  /**
   * Signs these one after the other at the end of the agent's control log, and hands them over;
   * `genesis` begins a log where there is none.
   *
   * Throws RealmError `not-found` where there is no log and nothing begins one, and whatever the
   * agent refuses them for: `stale` when another event of this key came in between.
   */
  async append(
    agent: Pick<ControlClient, "place" | "append">,
    contents: readonly Content[],
    { genesis, world }: {
      readonly genesis?: SignedEvent | undefined;
      /** Of the plan that was confirmed. */
      readonly world?: string | undefined;
    } = {},
  ): Promise<EventsAnswer> {
    return await agent.append(await this.sign(agent, contents, genesis), world);
  }

  /** The events of {@link append}, as they are handed over. */
  async sign(
    agent: Pick<ControlClient, "place">,
    contents: readonly Content[],
    genesis?: SignedEvent,
  ): Promise<Uint8Array[]> {
    const place = await agent.place(this.key);
    if (place === null && genesis === undefined) {
      throw new RealmError(
        "not-found",
        "Cannot change the realm: it has no control log yet, which the first apply begins",
        { hint: "Run realm apply realm.toml" },
      );
    }
    const published = place?.published ?? [];
    const made = contents.map((each) => typeof each === "function" ? each(published) : each);
    const begun = place === null ? [genesis!] : [];
    const at = place === null ? placeAfter(genesis!) : placeOf(place);
    return [...begun, ...await this.#chain(at, made)].map(encodeSigned);
  }

  async #chain(place: EventPlace, contents: readonly EventContent[]): Promise<SignedEvent[]> {
    const signed: SignedEvent[] = [];
    for (const content of contents) {
      const event = await signEvent(eventAt(this.signer.publicKey, place, content), this.signer);
      signed.push(event);
      place = placeAfter(event);
    }
    return signed;
  }
}

function placeOf(place: NonNullable<Awaited<ReturnType<ControlClient["place"]>>>): EventPlace {
  const { topic, heads, previous } = place;
  return {
    topic: CID.parse(topic),
    heads: heads.map(({ id, lamport }) => ({ id: CID.parse(id), lamport })),
    previous: previous === null ? undefined : { id: CID.parse(previous.id), seq: previous.seq },
  };
}

/** The place of the same author right after an event. */
function placeAfter({ id, event }: SignedEvent): EventPlace {
  return {
    topic: event.topic ?? id,
    heads: [{ id, lamport: event.lamport }],
    previous: { id, seq: event.seq },
  };
}
