/**
 * The alarms of one node: asks its parts what is wrong, and remembers since when.
 *
 * What is measured is looked at with each sample of the machine; everything else whenever somebody
 * asks.
 *
 * @module
 */
import type { Clock } from "./kernel/ports.ts";
import type { Node } from "./node/node.ts";
import {
  ClockWatch,
  machineConditions,
  replicaConditions,
  rolloutConditions,
  type SeenMachine,
  ThrottleWatch,
} from "./realm/alarm_conditions.ts";
import { type Alarm, AlarmBoard, type Condition, type ToldAlarm, toldOf } from "./realm/alarms.ts";
import { COMPONENTS_MAX } from "./realm/peering/health_record.ts";
import type { RealmMember } from "./member/realm_member.ts";
import type { RealmState } from "./node/realm_state.ts";

/** What {@link NodeAlarms} are made of. */
export interface NodeAlarmsInit {
  readonly clock: Clock;
  readonly state: Pick<RealmState, "owner" | "inForce" | "view">;
  readonly node: Pick<
    Node,
    "init" | "name" | "supervisor" | "rollouts" | "unplaced" | "refused" | "mayStart" | "health"
  >;
  readonly realm: () => Pick<RealmMember, "conditions" | "clocks">;
  /** Topics of apps, with what is wrong with each. */
  readonly topics: () => readonly { readonly name: string; readonly alarms: readonly string[] }[];
}

/** See the module. */
export class NodeAlarms {
  readonly #board = new AlarmBoard();
  readonly #throttle = new ThrottleWatch();
  readonly #clocks = new ClockWatch();
  /** Of the last sample. */
  #measured: readonly Condition[] = [];
  #told: readonly ToldAlarm[] = [];

  constructor(readonly init: NodeAlarmsInit) {}

  /** What this node tells others of itself, as it was when somebody last asked for all. */
  get told(): readonly ToldAlarm[] {
    return this.#told;
  }

  /** The machine was measured. */
  sampled(machine: SeenMachine): void {
    const { clock, node } = this.init;
    this.#measured = [
      ...machineConditions(node.name, machine),
      ...this.#throttle.look(node.name, node.supervisor.replicas(), clock.monotonicMs()),
      ...this.#clocks.look(node.name, this.init.realm().clocks()),
    ];
    this.all();
  }

  /** Every alarm there is, the worst first. */
  all(): readonly Alarm[] {
    const { clock, node, realm, topics } = this.init;
    const conditions = [
      ...this.#standing(),
      ...realm().conditions(),
      ...rolloutConditions(node.rollouts, node.unplaced),
      ...replicaConditions(node.name, node.supervisor.replicas()),
      ...this.#measured,
      ...topics().flatMap(({ name: subject, alarms }) =>
        alarms.map((value): Condition => ({
          code: value.startsWith("drift: ") ? "drift" : "topic",
          node: node.name,
          subject,
          value,
        }))
      ),
    ];
    const alarms = this.#board.look(conditions, clock.monotonicMs(), clock.wallMs());
    this.#told = toldOf(alarms, node.name);
    return alarms;
  }

  /** Of this node in its realm. */
  #standing(): Condition[] {
    const { node, state: { owner, inForce, view } } = this.init;
    const about = { node: node.name, subject: null };
    const found: Condition[] = [];
    if (owner === undefined) found.push({ ...about, code: "unclaimed", value: null });
    const isApproved = view?.nodes.has(node.init.key) ?? false;
    if (isApproved && !node.mayStart) found.push({ ...about, code: "no-majority", value: null });
    // One that a later manifest has made good is history.
    const [refused] = node.refused.filter(({ atMs }) => atMs > (inForce?.appliedAtMs ?? 0));
    if (refused !== undefined) {
      const { atMs, version, error: { code, message } } = refused;
      const value = `${version === null ? "of no known version" : `version ${version}`}: ` +
        `${code}: ${message.replace(/\s+/g, " ")}`;
      found.push({ ...about, code: "refused", value, sinceAtMs: atMs });
    }
    const left = node.health().replicas.length - COMPONENTS_MAX;
    if (left > 0) {
      found.push({ ...about, code: "unreported", value: `${left} components are left out` });
    }
    return found;
  }
}
