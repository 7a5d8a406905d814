import assert from "node:assert/strict";
import { NO_OVERRIDES, type Overrides } from "../realm/desired.ts";
import { decodeManifest, parseManifest } from "../realm/manifest.ts";
import { signManifest } from "../realm/manifest_signature.ts";
import type { HealthRecord } from "../realm/peering/health_record.ts";
import { rank } from "../realm/placement.ts";
import { owner } from "../realm/realm_log_fake.ts";
import { MemoryStore } from "../store/memory_store.ts";
import { Node, type NodeInit } from "./node.ts";
import type { InForce } from "./realm_state.ts";
import { systemClock } from "./system_clock.ts";

/** That which gets the one replica of `web`, and the other. */
const [FIRST, SECOND] = rank("web", ["a", "b"]) as [string, string];

const toml = (image: string) =>
  `[owner]\npubkey = "${owner.key}"
[nodes.a]\ntags = ["web"]\n[nodes.b]\ntags = ["web"]
[components.web]\nsource = "file:${image}"\nworld = "wasi:http/proxy"
[routing]\n"tag:web" = [{ path = "/...", component = "web", replicas = 1 }]\n`;

async function manifestOf(version: number): Promise<InForce> {
  const bytes = new TextEncoder().encode(toml(`v${version}`));
  const digests = new Map([["web", `${version}`.padStart(64, "0")]]);
  const signature = await signManifest(bytes, { version, digests, signer: owner });
  const manifest = parseManifest(decodeManifest(bytes));
  return { bytes, manifest, signature, appliedAtMs: 0, event: `event ${version}` };
}

/** A node that goes by version 1, or nothing, and cannot store version 2, with another that can. */
async function withRefusing(
  realm: Overrides,
  use: (node: Node, room: { isThere: boolean }) => void | Promise<void>,
  { isNew = false } = {},
): Promise<void> {
  const dataFolder = await Deno.makeTempDir();
  const [inForce, candidate] = [isNew ? undefined : await manifestOf(1), await manifestOf(2)];
  const room = { isThere: false };
  const nodes = new Map(["a", "b"].map((name) => [`key of ${name}`, { name }]));
  const said = {
    version: 2,
    basis: "",
    refusal: null,
    turns: 0,
    givenUp: [],
    verdicts: [],
    replicas: [],
    failures: [],
  };
  const node = new Node({
    name: FIRST,
    key: `key of ${FIRST}`,
    dataFolder,
    state: {
      store: new MemoryStore(),
      log: {},
      view: { nodes, history: [], overrides: realm, secrets: new Map() },
      inForce,
      candidate,
      overrides: NO_OVERRIDES,
      takeOver: () => {
        if (!room.isThere) throw new Error("no room");
      },
      takeOverrides: () => {},
    },
    others: () => ({ live: ["a", "b"], isMajority: true }),
    records: () => new Map([[SECOND, said as unknown as HealthRecord]]),
    clock: systemClock,
    ended: () => {},
  } as unknown as NodeInit);
  try {
    await node.takeOver();
    assert.equal(node.health().refusal?.version, 2);
    await use(node, room);
  } finally {
    await node.close();
    await Deno.remove(dataFolder, { recursive: true });
  }
}

Deno.test("Node that refuses a manifest finds what it gave away where the realm has it", () =>
  withRefusing({ ...NO_OVERRIDES, drained: [FIRST] }, (node) => {
    const { replicas, digests } = node.given("web", `key of ${SECOND}`)!;
    assert.equal(replicas, 1);
    assert.equal(Number(digests[0]), 2, "of the version of the realm");
  }));

Deno.test("Node that refuses a manifest believes what the realm scaled", () =>
  withRefusing({ ...NO_OVERRIDES, scales: [{ component: "web", node: SECOND, replicas: 3 }] }, (
    node,
  ) => assert.equal(node.given("web", `key of ${SECOND}`)!.replicas, 3)));

Deno.test("Node that refuses its first manifest counts that, and that it takes it then", () =>
  withRefusing(NO_OVERRIDES, async (node, room) => {
    assert.equal(node.health().turns, 1);
    assert.equal(node.release, undefined, "it goes by none");
    assert.notEqual(node.health().basis, "", "who refuses is part of it");
    room.isThere = true;
    await node.takeOver();
    assert.deepEqual([node.health().refusal, node.health().turns], [null, 2]);
  }, { isNew: true }));
