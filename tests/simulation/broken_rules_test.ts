/**
 * What the simulation is worth: each rule is broken on purpose, and found to be.
 *
 * Breaking is done from outside, through what the core is made with. Each test runs seeds with the
 * trouble that the rule is for until one fails, and checks that it failed for the right reason; the
 * same seeds pass with the rule in place.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { StoreOp } from "../../agent/kernel/ports.ts";
import type { SignedEvent } from "../../agent/kernel/event.ts";
import type { ApprovedNode, ManifestRecord, RealmView } from "../../agent/realm/realm_view.ts";
import { PeerCore, type PeerCoreInit } from "../../agent/realm/peering/peer_core.ts";
import { RealmLog } from "../../agent/realm/realm_log.ts";
import type { Rule } from "./judge.ts";
import { kindOf } from "./judge.ts";
import type { Kind } from "./scenario.ts";
import { simulate } from "./simulation.ts";
import type { WorldOptions } from "./world.ts";

/** Seeds that are tried at most. Each of these rules is found broken by one of the first few. */
const SEEDS_MAX = 40;

function assertCaught(expected: readonly Rule[], kinds: readonly Kind[], broken: WorldOptions) {
  for (let i = 0; i < SEEDS_MAX; i++) {
    const run = { seed: `broken ${i}`, kinds, troubleMs: 15_000 };
    const { violation } = simulate({ ...run, ...broken });
    if (violation === undefined) continue;
    assert.ok(expected.includes(violation.rule), `caught for another reason: ${violation.message}`);
    const sound = simulate(run);
    assert.equal(sound.violation, undefined, `also with the rule: ${sound.violation?.message}`);
    return;
  }
  assert.fail(`${SEEDS_MAX} seeds did not notice`);
}

/** An object with some of its properties replaced; the rest is that of the real one. */
function changed<T extends object>(real: T, changes: (real: T) => Partial<T>): T {
  const replaced = Object.getOwnPropertyDescriptors(changes(real));
  return new Proxy(real, {
    get(target, name) {
      const own = replaced[name as string];
      if (own !== undefined) return own.get === undefined ? own.value : own.get.call(target);
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** A core that sees another view than there is. */
function misled(view: (real: RealmView) => RealmView): WorldOptions {
  const makeCore = (init: PeerCoreInit) =>
    new PeerCore({
      ...init,
      log: changed(init.log, (real) => ({
        get view() {
          return real.view && view(real.view);
        },
      })),
    });
  return { makeCore };
}

Deno.test("the simulation notices when the gate is left open", () => {
  class Anybody extends Map<string, ApprovedNode> {
    override has(): boolean {
      return true;
    }
  }
  assertCaught(
    ["gate"],
    ["outsider", "newcomer", "apply"],
    misled((view) => ({ ...view, nodes: new Anybody(view.nodes) })),
  );
});

Deno.test("the simulation notices when a revocation is ignored", () => {
  const ever = new Map<string, ApprovedNode>();
  assertCaught(
    ["gate", "revoked"],
    ["revoke", "apply", "newcomer"],
    misled((view) => {
      for (const [key, node] of view.nodes) ever.set(key, node);
      return { ...view, nodes: ever, revoked: [] };
    }),
  );
});

Deno.test("the simulation notices when events are handed on before they are durable", () => {
  assertCaught(["durable"], ["apply", "crash", "torn"], {
    makeCore: (init) => {
      let pending: SignedEvent[] = [];
      const log = changed(init.log, (real) => ({
        offer(events) {
          const offered = real.offer(events);
          pending.push(...offered.accepted);
          return offered;
        },
        flush(wallMs) {
          const early = pending;
          pending = [];
          if (early.length === 0) real.flush(wallMs);
          return early;
        },
      }));
      return new PeerCore({ ...init, log });
    },
  });
});

Deno.test("the simulation notices when the disk loses what it said it had", () => {
  assertCaught(["lost", "fork"], ["apply", "exec", "crash"], {
    openStore: (disk) => {
      const store = disk.open();
      let held: StoreOp[] = [];
      return {
        ...store,
        write(ops) {
          disk.onWrite(ops); // so it says
          held.push(...ops);
          if (held.length < 6) return;
          store.write(held);
          held = [];
        },
        get(key) {
          const op = held.findLast((op) => "put" in op && op.put === key);
          return op !== undefined && "put" in op ? op.value : store.get(key);
        },
      };
    },
  });
});

Deno.test("the simulation notices when signatures are not verified", () => {
  assertCaught(["foreign", "digest", "honest", "converge"], ["traitor", "apply"], {
    openLog: (init) => RealmLog.open({ ...init, verify: () => true }),
  });
});

Deno.test("the simulation notices when a minority starts what it likes", () => {
  class Bold extends PeerCore {
    override hasMajority(): boolean {
      return true;
    }
  }
  assertCaught(["minority"], ["partition", "apply", "scale", "off"], {
    makeCore: (init) => new Bold(init),
  });
});

Deno.test("the simulation notices when the view depends on what came first", () => {
  assertCaught(["digest"], ["laptops", "laptops", "partition"], {
    openLog: (init) => {
      const log = RealmLog.open(init);
      const arrived: string[] = [];
      let last: { readonly real: RealmView; readonly view: RealmView } | undefined;
      return changed(log, (real) => ({
        get view() {
          if (real.view === undefined || real.view === last?.real) return last?.view;
          const place = ({ event }: ManifestRecord) => {
            if (!arrived.includes(event)) arrived.push(event);
            return arrived.indexOf(event);
          };
          const history = [...real.view.history].sort((a, b) => place(a) - place(b));
          last = { real: real.view, view: { ...real.view, history } };
          return last.view;
        },
      }));
    },
  });
});

Deno.test("the simulation notices when a node goes back to an older manifest", () => {
  assertCaught(["stale"], ["laptops", "partition", "apply"], {
    follow: (_applied, { inForce }) => inForce,
  });
});

Deno.test("the simulation notices when logs are not reconciled", () => {
  assertCaught(["converge"], ["apply", "break", "off", "partition"], {
    makeCore: (init) =>
      new PeerCore({
        ...init,
        ports: {
          ...init.ports,
          send: (peer, frame) => kindOf(frame) === "sync" || init.ports.send(peer, frame),
        },
      }),
  });
});
