/**
 * What the simulation of topics is worth: each rule is broken on purpose, and found to be.
 *
 * Breaking is done from outside, through what the peers are made with. Each test runs seeds with the
 * trouble that the rule is for until one fails, and checks that it failed for the right reason; the
 * same seed passes with the rule in place.
 *
 * @module
 */
import assert from "node:assert/strict";
import { TopicCore, type TopicCoreInit } from "../../../agent/apps/peering/topic_core.ts";
import { decodeTopicFrame } from "../../../agent/apps/peering/topic_frame.ts";
import type { Outcome } from "../../../agent/apps/guest/state_apply.ts";
import { Replay } from "../../../agent/apps/replay.ts";
import { AppLog } from "../../../agent/apps/topic/app_log.ts";
import type { Membership } from "../../../agent/apps/topic/membership.ts";
import type { SignedEvent } from "../../../agent/kernel/event.ts";
import type { StoreOp } from "../../../agent/kernel/ports.ts";
import type { Topic, TopicEvent } from "../../../agent/kernel/topic.ts";
import type { AppRule } from "./judge.ts";
import type { AppKind } from "./scenario.ts";
import { simulateApp } from "./simulation.ts";
import { type AppWorldOptions, outsider } from "./world.ts";

/** Seeds that are tried at most. Each of these rules is found broken by one of the first few. */
const SEEDS_MAX = 40;

function assertCaught(
  expected: readonly AppRule[],
  kinds: readonly AppKind[],
  broken: (seed: string) => AppWorldOptions,
) {
  for (let i = 0; i < SEEDS_MAX; i++) {
    const run = { seed: `broken ${i}`, kinds, troubleMs: 8_000 };
    const { violation } = simulateApp({ ...run, ...broken(run.seed) });
    if (violation === undefined) continue;
    assert.ok(expected.includes(violation.rule), `caught for another reason: ${violation.message}`);
    const sound = simulateApp(run);
    assert.equal(sound.violation, undefined, `also with the rule: ${sound.violation?.message}`);
    return;
  }
  assert.fail(`${SEEDS_MAX} seeds did not notice`);
}

/** What late events may cost where nothing is counted. */
const UNLIMITED = {
  authorEventsMax: 1e12,
  authorEventsPerSecond: 1e12,
  eventsMax: 1e12,
  eventsPerSecond: 1e12,
};

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

/** Cores that see another membership than there is. */
function misled(change: (real: Membership) => Partial<Membership>): AppWorldOptions {
  const makeCore = (init: TopicCoreInit) =>
    new TopicCore({
      ...init,
      log: changed(init.log, (real) => ({
        get membership() {
          return real.membership && changed(real.membership, change);
        },
      })),
    });
  return { makeCore };
}

Deno.test("the simulation of topics notices when anybody is let in", () => {
  assertCaught(["gate"], ["write", "stranger"], () => misled(() => ({ roleOf: () => "member" })));
});

Deno.test("the simulation of topics notices when an invite is not asked for its proof", () => {
  // The stranger names its own key as that of an invite.
  assertCaught(["gate"], ["write", "stranger"], () =>
    misled((real) => ({
      invites: () =>
        real.invites().map((invite) => ({
          ...invite,
          said: { ...invite.said, key: outsider.key },
        })),
    })));
});

Deno.test("the simulation of topics notices when a revocation is ignored", () => {
  assertCaught(["revoked"], ["write", "newcomer", "revoke", "break"], () => {
    const ever = new Map<string, "member" | "admin" | "keeper" | "creator">();
    return misled((real) => ({
      roleOf: (key) => {
        const role = real.roleOf(key) ?? ever.get(key.toHex());
        if (role !== undefined) ever.set(key.toHex(), role);
        return role;
      },
    }));
  });
});

Deno.test("the simulation of topics notices when events are handed on before they are durable", () => {
  assertCaught(["durable"], ["write", "crash", "torn"], () => ({
    makeCore: (init) => {
      let pending: SignedEvent[] = [];
      const log = changed(init.log, (real) => ({
        append(content, signer) {
          const signed = real.append(content, signer);
          pending.push(signed);
          return signed;
        },
        flush(wallMs) {
          const early = pending;
          pending = [];
          return early.length === 0 ? real.flush(wallMs) : early;
        },
      }));
      return new TopicCore({ ...init, log });
    },
  }));
});

Deno.test("the simulation of topics notices when the disk loses what it said it had", () => {
  assertCaught(["lost", "fork"], ["write", "burst", "crash"], () => ({
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
  }));
});

Deno.test("the simulation of topics notices when signatures are not verified", () => {
  assertCaught(["foreign", "fork"], ["write", "forge", "newcomer"], () => ({
    openLog: (init) => AppLog.open({ ...init, verify: () => true }),
  }));
});

Deno.test("the simulation of topics notices when a state depends on what came first", () => {
  assertCaught(["digest", "drift", "converge"], ["write", "burst", "partition", "late"], () => ({
    makeReplay: (parts) => {
      // What comes late is put at the end.
      const came: TopicEvent[] = [];
      const topic = changed<Topic>(parts.topic, (real) => ({
        order: () => {
          for (const event of real.order()) if (!came.includes(event)) came.push(event);
          return came;
        },
      }));
      const replay = new Replay({ ...parts, topic, rewindLimits: UNLIMITED });
      return changed(replay, (real) => ({ added: () => real.judged() }));
    },
  }));
});

Deno.test("the simulation of topics notices when a failure of the host is taken for a verdict", () => {
  assertCaught(["digest", "drift", "converge"], ["write", "burst"], () => {
    let count = 0;
    return {
      guest: (real) => ({
        apply(event, writes): Outcome {
          if (++count % 97 === 0) {
            return { verdict: { kind: "trapped", why: "out of memory" }, fuel: 0 };
          }
          return real.apply(event, writes);
        },
      }),
    };
  });
});

Deno.test("the simulation of topics notices when a peer goes on though its host fails", () => {
  assertCaught(["well"], ["write", "burst"], () => {
    let count = 0;
    return {
      guest: (real) => ({
        apply(event, writes) {
          if (++count % 97 === 0) throw new Error("out of memory");
          return real.apply(event, writes);
        },
      }),
    };
  });
});

Deno.test("the simulation of topics notices when checkpoints do not hold", () => {
  assertCaught(["final", "digest", "drift"], ["write", "burst", "checkpoint", "late"], () => ({
    makeReplay: (parts) => {
      const replay = new Replay({ ...parts, isCheckpoint: () => false });
      return changed(replay, (real) => ({ isFinal: () => real.log.length > 0 }));
    },
  }));
});

Deno.test("the simulation of topics notices when late events cost their authors nothing", () => {
  assertCaught(["work"], ["write", "burst", "late"], () => ({
    makeReplay: (parts) => new Replay({ ...parts, rewindLimits: UNLIMITED }),
  }));
});

Deno.test("the simulation of topics notices when logs are not reconciled", () => {
  assertCaught(["converge"], ["write", "break", "off", "partition"], () => ({
    makeCore: (init) =>
      new TopicCore({
        ...init,
        ports: {
          ...init.ports,
          send: (peer, frame) =>
            decodeTopicFrame(frame)?.frame === "sync" || init.ports.send(peer, frame),
        },
      }),
  }));
});

Deno.test("the simulation of topics notices when nobody says how far it is", () => {
  assertCaught(["converge"], ["write", "newcomer"], () => ({
    makeCore: (init) =>
      new TopicCore({
        ...init,
        ports: {
          ...init.ports,
          send: (peer, frame) =>
            decodeTopicFrame(frame)?.frame === "complete" || init.ports.send(peer, frame),
        },
      }),
  }));
});
