/**
 * Proves of a rewritten module, from its bytes alone, that nothing in it runs without being metered.
 *
 * Function by function, over all ways that control can take:
 *
 * - *Checks.* Every cycle has a check: a branch to the host's "refuel" when the fuel is below zero.
 * - *Charges.* Every cycle charges at least one unit more than it gives back.
 * - *Ahead.* A check looks past no more than what its own charge took ahead; and as much, no more and
 *   no less, is left out of what the host sees there.
 * - *Truth.* The fuel is never lost: at each charge, call and return the place that is read, be it
 *   the global "fuel" or the function's local, is the one that holds what is left.
 * - *Calls.* Without the calls that a check of fuel is in front of, no function reaches itself; and
 *   neither without those that a check of "stack" is in front of.
 * - *Closed.* Nothing that the rewriter added is exported, and all sizes have a maximum.
 *
 * What is not written in one of the known shapes proves nothing, so a new shape has to be made known
 * here. Code that control never reaches is left out. Errors name the function and the instruction.
 *
 * @module
 */
import {
  cycleWithout,
  freeCycle,
  isCall,
  isTailCall,
  throws,
  type Ways,
  waysOf,
} from "./wasm_control_flow.ts";
import { type Instruction, readWasm, type Wasm } from "./wasm_reader.ts";

const UNREACHABLE = 0x00,
  BLOCK = 0x02,
  LOOP = 0x03,
  IF = 0x04,
  THROW = 0x08,
  RETHROW = 0x09,
  THROW_REF = 0x0a,
  END = 0x0b;
const RETURN = 0x0f, CALL = 0x10, RETURN_CALL = 0x12;
const LOCAL_GET = 0x20, LOCAL_SET = 0x21, LOCAL_TEE = 0x22, GLOBAL_GET = 0x23, GLOBAL_SET = 0x24;
const CONST = 0x41, LT_S = 0x48, ADD = 0x6a, SUB = 0x6b, OR = 0x72, SHL = 0x74, SHR_U = 0x76;

/** Where the fuel that is left is to be found. */
const GLOBAL = 1, LOCAL = 2, BOTH = GLOBAL | LOCAL;

/** What a proof found, summed up; so that a test can see that there was something to prove. */
export interface Proof {
  readonly functions: number;
  readonly checks: number;
  readonly charges: number;
  readonly cycles: number;
}

/** The indices of what the rewriter added. */
interface Realm {
  readonly fuel: number;
  readonly stack: number;
  readonly refuel: number;
  readonly grow: number;
  /** Functions that ask for fuel when it is below zero, whatever else they do. */
  readonly asking: Set<number>;
}

/** What a function shows. */
interface Shape {
  readonly checks: Set<number>;
  /** Units that an instruction takes from the fuel; below zero, that it gives back. */
  readonly charges: Map<number, number>;
  readonly stackChecks: Set<number>;
  /** What an instruction does to the truth: what it needs and what it leaves. */
  readonly moves: Map<number, { needs: number; leaves: number }>;
  readonly fuelLocal: number;
}

/** Whether `code` at `at` goes on with these opcodes; a pair fixes the first index as well. */
function matches(
  code: readonly Instruction[],
  at: number,
  shape: readonly (number | readonly [op: number, a: number])[],
): boolean {
  return shape.every((part, i) => {
    const found = code[at + i];
    if (typeof part === "number") return found?.op === part;
    return found?.op === part[0] && found.a === part[1];
  });
}

function realmOf(wasm: Wasm): Realm {
  const index = (name: string) => {
    let functions = 0, globals = 0;
    for (const { module, name: its, kind } of wasm.imports) {
      if (module === "realm" && its === name) return kind === 0 ? functions : globals;
      if (kind === 0) functions++;
      else if (kind === 3) globals++;
    }
    throw new Error(`"realm" "${name}" is not imported`);
  };
  const realm = {
    fuel: index("fuel"),
    stack: index("stack"),
    refuel: index("refuel"),
    grow: index("grow"),
    asking: new Set<number>(),
  };
  const pauses = new Set<number>();
  const find = (to: Set<number>, holds: (code: readonly Instruction[]) => boolean) => {
    for (const [i, { instructions }] of wasm.codes.entries()) {
      if (holds(instructions)) to.add(wasm.importedFunctions + i);
    }
  };
  // pause: traps unless the host says to go on.
  find(
    pauses,
    (code) =>
      code.length === 5 && matches(code, 0, [[CALL, realm.refuel], IF, UNREACHABLE, END, END]),
  );
  const asks = (code: readonly Instruction[], at: number) =>
    matches(code, at, [[GLOBAL_GET, realm.fuel], [CONST, 0], LT_S, IF, CALL, END]) &&
    pauses.has(code[at + 4]!.a);
  // enter: traps when the stack is used up, then pauses when the fuel is.
  const enters = new Set<number>();
  find(
    enters,
    (code) =>
      code.length === 15 && matches(code, 0, [[GLOBAL_GET, realm.stack], [CONST, 0], LT_S, IF]) &&
      matches(code, 4, [CONST, [GLOBAL_SET, realm.stack], UNREACHABLE, END]) && asks(code, 8),
  );
  // outline: enters first.
  const outlines = new Set<number>();
  find(outlines, (code) => matches(code, 0, [CALL, GLOBAL_GET]) && enters.has(code[0]!.a));
  for (const set of [pauses, enters, outlines]) for (const f of set) realm.asking.add(f);
  return realm;
}

/** Finds the local that fuel is worked with, by what is loaded into it or stored from it. */
function fuelLocalOf(code: readonly Instruction[], { fuel }: Realm): number {
  const found = new Set<number>();
  for (let i = 0; i < code.length; i++) {
    for (const amount of [[], [CONST, ADD]]) {
      if (matches(code, i, [LOCAL_GET, ...amount, [GLOBAL_SET, fuel]])) found.add(code[i]!.a);
    }
    if (!matches(code, i, [[GLOBAL_GET, fuel]])) continue;
    if (matches(code, i + 1, [LOCAL_SET])) found.add(code[i + 1]!.a);
    for (const op of [LOCAL_SET, LOCAL_TEE]) {
      if (matches(code, i + 1, [CONST, SUB, op])) found.add(code[i + 3]!.a);
    }
    if (matches(code, i + 1, [CALL, LOCAL_SET])) found.add(code[i + 2]!.a);
  }
  if (found.size > 1) throw new Error(`fuel is in the locals ${[...found]}`);
  return found.size === 1 ? [...found][0]! : -1;
}

/** Amounts that are taken from the fuel besides constants: a length, in units of a power of two. */
const AMOUNTS = [
  [LOCAL_GET],
  [LOCAL_GET, CONST, ADD, CONST, SHR_U],
  [LOCAL_GET, CONST, SHL],
];

function shapeOf(code: readonly Instruction[], reached: Uint8Array, realm: Realm): Shape {
  const { fuel, stack, asking } = realm;
  const local = fuelLocalOf(code, realm);
  const checks = new Set<number>(), stackChecks = new Set<number>();
  const charges: Shape["charges"] = new Map();
  const moves: Shape["moves"] = new Map();
  const known = new Set<number>();
  const move = (at: number, length: number, needs: number, leaves: number) => {
    moves.set(at, { needs, leaves });
    for (let i = at; i < at + length; i++) known.add(i);
  };
  const stackLocals = new Set<number>();
  for (let i = 0; i < code.length; i++) {
    if (
      matches(code, i, [[GLOBAL_GET, stack], CONST, SUB, LOCAL_TEE, [GLOBAL_SET, stack]]) &&
      code[i + 1]!.a >= 64
    ) stackLocals.add(code[i + 3]!.a);
  }
  for (let i = 0; i < code.length; i++) {
    const { op, a } = code[i]!;
    const fromGlobal = op === GLOBAL_GET && a === fuel;
    const fromLocal = local >= 0 && op === LOCAL_GET && a === local;
    if (fromGlobal || fromLocal) {
      const needs = fromGlobal ? GLOBAL : LOCAL;
      const amount = [[CONST], ...(fromLocal ? AMOUNTS : [])].find((shape) =>
        matches(code, i + 1, [...shape, SUB]) && code[i + shape.length + 2]?.op !== undefined &&
        [LOCAL_SET, LOCAL_TEE, GLOBAL_SET].includes(code[i + shape.length + 2]!.op)
      );
      if (amount) {
        const at = i + amount.length + 2;
        const to = code[at]!;
        if (to.op === GLOBAL_SET ? to.a === fuel : to.a === local) {
          move(i, amount.length + 3, needs, to.op === GLOBAL_SET ? GLOBAL : LOCAL);
          if (amount[0] === CONST) charges.set(i, code[i + 1]!.a);
        }
      } else if (fromGlobal && matches(code, i + 1, [[LOCAL_SET, local]])) {
        move(i, 2, GLOBAL, BOTH);
      } else if (fromGlobal && matches(code, i + 1, [CONST, ADD, [LOCAL_SET, local]])) {
        // An outlined loop begins: its head charges what was charged in front of the call, and as much.
        if (i !== 0) throw new Error("fuel is added to");
        let head = 4;
        while (code[head]?.op === BLOCK) head++;
        const paid = code[1]!.a;
        const taken = [LOOP, [LOCAL_GET, local], CONST, SUB, [LOCAL_TEE, local]] as const;
        if (
          paid < 0 || !matches(code, head, taken) ||
          paid !== code[head + 2]!.a - aheadOf(code, head + 4)
        ) throw new Error(`fuel of ${paid} is added that is not taken at once`);
        move(i, 4, GLOBAL, LOCAL);
      } else if (fromLocal && matches(code, i + 1, [[GLOBAL_SET, fuel]])) {
        move(i, 2, LOCAL, BOTH);
      } else if (fromLocal && matches(code, i + 1, [CONST, ADD, [GLOBAL_SET, fuel]])) {
        // What a check looked past is left out of what the host sees.
        const ahead = code[i + 1]!.a;
        if (!matches(code, i - 3, [[CONST, -ahead], LT_S, IF])) {
          throw new Error(`fuel of ${ahead} is added at instruction ${i}`);
        }
        move(i, 4, LOCAL, GLOBAL);
        charges.set(i, -ahead);
      } else if (matches(code, i + 1, [CALL, [LOCAL_SET, local]])) {
        move(i, 3, needs, LOCAL);
      } else if (fromGlobal && matches(code, i + 1, [CALL, [GLOBAL_SET, fuel]])) {
        move(i, 3, GLOBAL, GLOBAL);
      } else if (fromGlobal && matches(code, i + 1, [CONST, LT_S, IF])) {
        known.add(i);
      } else if (fromLocal && (matches(code, i + 1, [RETURN]) || i === code.length - 2)) {
        move(i, 1, LOCAL, BOTH);
      } else if (
        fromLocal && matches(code, i + 1, [LOCAL_GET, OR]) || matches(code, i + 1, [CONST, LT_S])
      ) {
        known.add(i);
      } else if (fromGlobal && matches(code, i + 1, [LOCAL_TEE])) {
        // A check without a charge.
        if (code[i + 1]!.a === local) move(i, 2, GLOBAL, BOTH);
      } else if (fromLocal && matches(code, i + 1, [[LOCAL_TEE, local]])) {
        move(i, 2, LOCAL, LOCAL);
      }
    }
    if (op !== IF) continue;
    // tee L; (get X; or;) const -n; lt_s; if; get L; (const n; add;) set fuel; (const 0; set mark;)
    // call …, where n is part of what was charged
    if (!matches(code, i - 2, [CONST, LT_S])) continue;
    const ahead = -code[i - 2]!.a;
    const before = matches(code, i - 4, [LOCAL_GET, OR]) ? i - 5 : i - 3;
    const other = before === i - 5 ? code[i - 4]!.a : -1;
    const isOfFuel = local >= 0 && matches(code, before, [[LOCAL_TEE, local]]);
    const isOfStack = matches(code, i - 3, [LOCAL_GET]) && stackLocals.has(code[i - 3]!.a) ||
      stackLocals.has(other);
    if (ahead < 0 || ahead > 0 && (!isOfFuel || isOfStack || before !== i - 3)) continue;
    if (ahead > 0 && !(matches(code, before - 2, [CONST, SUB]) && code[before - 2]!.a >= ahead)) {
      throw new Error(`the check at instruction ${i} looks past ${ahead}, which were not charged`);
    }
    let at = i + 1;
    if (ahead > 0 && matches(code, at, [[LOCAL_GET, local], [CONST, ahead], ADD])) at += 4;
    else if (matches(code, at, [[LOCAL_GET, local], [GLOBAL_SET, fuel]])) at += 2;
    if (matches(code, at, [[CONST, 0], LOCAL_SET])) at += 2;
    if (matches(code, at, [CONST, CALL])) at++;
    const asked = matches(code, at, [CALL]) && asking.has(code[at]!.a);
    if (!asked) continue;
    if (isOfFuel && at >= i + 3) checks.add(i);
    if (isOfStack) stackChecks.add(i);
  }
  for (const [i, { op, a }] of code.entries()) {
    if (!reached[i] || known.has(i)) continue;
    const isFuel = (op === GLOBAL_GET || op === GLOBAL_SET) && a === fuel ||
      op >= LOCAL_GET && op <= LOCAL_TEE && a === local;
    if (isFuel) throw new Error(`fuel is used in an unknown way at instruction ${i}`);
  }
  return { checks, charges, stackChecks, moves, fuelLocal: local };
}

/** How much a check behind the `local.tee` at `at` looks past. */
function aheadOf(code: readonly Instruction[], at: number): number {
  if (matches(code, at + 1, [LOCAL_GET, OR])) at += 2;
  return matches(code, at + 1, [CONST, LT_S, IF]) ? -code[at + 1]!.a : 0;
}

/** Follows the truth through the function. */
function proveTruth(
  code: readonly Instruction[],
  { next, handlers, reached }: Ways,
  { moves, fuelLocal }: Shape,
  params: number,
): void {
  // A routine for a bulk instruction takes the fuel as its last parameter, and gives it back.
  const isRoutine = fuelLocal >= 0 && fuelLocal < params;
  const truth = new Uint8Array(code.length).fill(BOTH);
  const isKnown = new Uint8Array(code.length);
  const todo = [0];
  truth[0] = isRoutine ? LOCAL : GLOBAL;
  isKnown[0] = 1;
  const arrive = (at: number, value: number) => {
    const joined = isKnown[at] ? truth[at]! & value : value;
    if (isKnown[at] && joined === truth[at]) return;
    isKnown[at] = 1;
    truth[at] = joined;
    todo.push(at);
  };
  const after = (i: number) => {
    const before = truth[i]!;
    const move = moves.get(i);
    if (move) return move.leaves === BOTH ? before | BOTH : move.leaves;
    // A routine's own global is what the host left there, and only until it is loaded.
    if (isCall(code[i]!.op)) return isInMove(moves, i) ? before : GLOBAL;
    return before;
  };
  while (todo.length > 0) {
    const i = todo.pop()!;
    for (const to of next[i]!) arrive(to, after(i));
    if (throws(code[i]!.op)) { for (const to of handlers[i]!) arrive(to, GLOBAL); }
  }
  for (const [i, { op }] of code.entries()) {
    if (!reached[i]) continue;
    const move = moves.get(i);
    const fail = (what: string) => {
      throw new Error(`${what} at instruction ${i} does not hold the fuel (${truth[i]})`);
    };
    if (move && !(truth[i]! & move.needs)) fail("what is read");
    const leaves = isTailCall(op) || op === RETURN || i === code.length - 1 ||
      op === THROW || op === RETHROW || op === THROW_REF;
    if (!isRoutine && leaves && !(truth[i]! & GLOBAL)) fail("the global");
    if (isRoutine && leaves && !(truth[i]! & LOCAL)) fail("the local");
    if (isCall(op) && !isInMove(moves, i) && !(truth[i]! & GLOBAL)) fail("the global");
  }
}

/** Whether a call is the one of a bulk routine, which takes and gives the fuel as an operand. */
function isInMove(moves: Shape["moves"], i: number): boolean {
  return moves.has(i - 1) && moves.get(i - 1)!.leaves !== BOTH;
}

/** Functions that are reached before one of the instructions of `guards`. */
function unguardedCalls(
  code: readonly Instruction[],
  { next, handlers }: Ways,
  guards: ReadonlySet<number>,
  follows: (op: number) => boolean,
): { named: Set<number>; any: boolean } {
  const named = new Set<number>();
  let any = false;
  const seen = new Uint8Array(code.length);
  const todo = [0];
  while (todo.length > 0) {
    const i = todo.pop()!;
    if (seen[i]) continue;
    seen[i] = 1;
    if (guards.has(i)) continue;
    const { op, a } = code[i]!;
    if (follows(op)) {
      if (op === CALL || op === RETURN_CALL) named.add(a);
      else any = true;
    }
    todo.push(...next[i]!);
    if (throws(op)) todo.push(...handlers[i]!);
  }
  return { named, any };
}

/**
 * Throws when a function can reach itself by these calls. A call by reference reaches what there are
 * references to, and one of the host what is exported besides.
 */
function proveCalls(
  wasm: Wasm,
  { refuel, grow }: Realm,
  calls: readonly { named: Set<number>; any: boolean }[],
  what: string,
): void {
  const exported = wasm.exports.filter(({ kind }) => kind === 0).map(({ index }) => index);
  const all = [...new Set([...wasm.referenced, ...exported])].filter((f) =>
    f >= wasm.importedFunctions
  );
  const state = new Uint8Array(wasm.functions.length);
  const waysOut = (f: number): readonly number[] => {
    if (f === refuel || f === grow) return [];
    if (f < wasm.importedFunctions) return all;
    const { named, any } = calls[f - wasm.importedFunctions]!;
    return any ? [...named, ...all] : [...named];
  };
  for (let root = 0; root < wasm.functions.length; root++) {
    if (state[root]) continue;
    const path: [f: number, ways: readonly number[], i: number][] = [];
    const enter = (f: number) => {
      state[f] = 1;
      path.push([f, waysOut(f), 0]);
    };
    enter(root);
    while (path.length > 0) {
      const top = path.at(-1)!;
      const to = top[1][top[2]++];
      if (to === undefined) {
        state[top[0]] = 2;
        path.pop();
      } else if (state[to] === 1) {
        throw new Error(`function ${to} reaches itself without a check of ${what}`);
      } else if (state[to] === 0) enter(to);
    }
  }
}

function proveClosed(wasm: Wasm, realm: Realm): void {
  for (const { name, kind, index } of wasm.exports) {
    const added = kind === 0 && (index === realm.refuel || index === realm.grow) ||
      kind === 3 && index >= realm.fuel && index < wasm.importedGlobals;
    if (added) throw new Error(`export "${name}" is one of the rewriter's`);
  }
  const imported = (kind: number) => wasm.imports.filter((item) => item.kind === kind).length;
  for (const [kind, limits] of [[1, wasm.tables], [2, wasm.memories]] as const) {
    for (const { max } of limits.slice(imported(kind))) {
      if (max === undefined) throw new Error(`a ${kind === 1 ? "table" : "memory"} has no maximum`);
    }
  }
}

/** Proves what the module's description says, or throws. */
export function prove(bytes: Uint8Array): Proof {
  const wasm = readWasm(bytes);
  const realm = realmOf(wasm);
  proveClosed(wasm, realm);
  let checks = 0, charges = 0, cycles = 0;
  const fuelCalls: { named: Set<number>; any: boolean }[] = [];
  const stackCalls: { named: Set<number>; any: boolean }[] = [];
  for (const [i, { instructions: code }] of wasm.codes.entries()) {
    const index = wasm.importedFunctions + i;
    try {
      const ways = waysOf(code);
      if (realm.asking.has(index)) {
        fuelCalls.push({ named: new Set(), any: false });
        stackCalls.push({ named: new Set(), any: false });
        continue;
      }
      const shape = shapeOf(code, ways.reached, realm);
      cycles += cycleWithout(code, ways, new Set()).backEdges;
      const unchecked = cycleWithout(code, ways, shape.checks).at;
      if (unchecked >= 0) throw new Error(`instruction ${unchecked} is on a cycle without a check`);
      const free = freeCycle(code, ways, shape.charges);
      if (free >= 0) throw new Error(`instruction ${free} is on a cycle without a charge`);
      const { params } = wasm.types[wasm.functions[index]!]!;
      proveTruth(code, ways, shape, params.length);
      fuelCalls.push(
        unguardedCalls(code, ways, shape.checks, (op) => isCall(op) || isTailCall(op)),
      );
      // A tail call takes no more of the stack than there is.
      stackCalls.push(unguardedCalls(code, ways, shape.stackChecks, isCall));
      checks += shape.checks.size;
      charges += [...shape.charges.values()].filter((units) => units > 0).length;
    } catch (error) {
      throw new Error(`function ${index}: ${error instanceof Error ? error.message : error}`);
    }
  }
  proveCalls(wasm, realm, fuelCalls, "fuel");
  proveCalls(wasm, realm, stackCalls, "stack");
  return { functions: wasm.codes.length, checks, charges, cycles };
}
