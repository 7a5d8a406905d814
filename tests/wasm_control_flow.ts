/**
 * The ways that control can take through a function, instruction by instruction, handlers of
 * exceptions of both encodings included; and the cycles among them.
 *
 * @module
 */
import type { Instruction } from "./wasm_reader.ts";

const UNREACHABLE = 0x00, BLOCK = 0x02, LOOP = 0x03, IF = 0x04, ELSE = 0x05, TRY = 0x06;
const CATCH = 0x07, THROW = 0x08, RETHROW = 0x09, THROW_REF = 0x0a, END = 0x0b, BR = 0x0c;
const BR_IF = 0x0d, BR_TABLE = 0x0e, RETURN = 0x0f, CALL = 0x10, CALL_INDIRECT = 0x11;
const RETURN_CALL = 0x12, RETURN_CALL_INDIRECT = 0x13, CALL_REF = 0x14, RETURN_CALL_REF = 0x15;
const DELEGATE = 0x18, CATCH_ALL = 0x19, TRY_TABLE = 0x1f;

/** Whether control comes back behind it. */
export const isCall = (op: number) => op === CALL || op === CALL_INDIRECT || op === CALL_REF;
/** Whether it is a call in place of a return. */
export const isTailCall = (op: number) =>
  op === RETURN_CALL || op === RETURN_CALL_INDIRECT || op === RETURN_CALL_REF;

/** Ends of constructs, and where each instruction may go next. */
export interface Ways {
  readonly next: readonly (readonly number[])[];
  /** Heads of handlers that an exception thrown here may arrive at. */
  readonly handlers: readonly (readonly number[])[];
  readonly reached: Uint8Array;
}

/** Finds the ways through a function, from its first instruction on. */
export function waysOf(code: readonly Instruction[]): Ways {
  const last = code.length - 1;
  // First pass: where constructs end, and their arms.
  const endOf = new Int32Array(code.length).fill(last);
  const armsOf = new Map<number, number[]>();
  const opener = new Int32Array(code.length).fill(-1);
  const open: number[] = [];
  for (const [i, { op }] of code.entries()) {
    if (op === BLOCK || op === LOOP || op === IF || op === TRY || op === TRY_TABLE) {
      open.push(i);
      armsOf.set(i, []);
    } else if (op === ELSE || op === CATCH || op === CATCH_ALL) {
      opener[i] = open.at(-1)!;
      armsOf.get(open.at(-1)!)!.push(i);
    } else if ((op === END || op === DELEGATE) && open.length > 0) {
      opener[i] = open.pop()!;
      endOf[opener[i]!] = i;
    }
  }
  // Second pass: labels.
  const next: number[][] = [];
  const handlers: number[][] = [];
  const none: number[] = [];
  const scopes: { start: number; handlers: number[]; outer: number[] }[] = [];
  let catching = none;
  const target = (label: number) => {
    const scope = scopes[scopes.length - 1 - label];
    if (!scope) return last;
    return code[scope.start]!.op === LOOP ? scope.start : endOf[scope.start]!;
  };
  for (const [i, { op, a, labels }] of code.entries()) {
    handlers.push(catching);
    switch (op) {
      case IF: {
        const arms = armsOf.get(i)!;
        next.push([i + 1, arms.length > 0 ? arms[0]! + 1 : endOf[i]!]);
        break;
      }
      case BR:
        next.push([target(a)]);
        break;
      case BR_IF:
      case 0xd5:
      case 0xd6:
        next.push([i + 1, target(a)]);
        break;
      case BR_TABLE:
        next.push([...new Set(labels.map(target))]);
        break;
      case ELSE:
      case CATCH:
      case CATCH_ALL:
        next.push([endOf[opener[i]!]!]);
        break;
      case RETURN:
      case UNREACHABLE:
      case THROW:
      case RETHROW:
      case THROW_REF:
        next.push([]);
        break;
      default:
        next.push(i === last || isTailCall(op) ? [] : [i + 1]);
    }
    if (op === TRY_TABLE) {
      // Its labels are counted from outside of it.
      const to = labels.map(target);
      scopes.push({ start: i, handlers: to, outer: catching });
      catching = [...new Set([...to, ...catching])];
    } else if (op === TRY) {
      // The instruction behind `catch` is where an exception arrives.
      const to = armsOf.get(i)!.map((arm) => arm + 1);
      scopes.push({ start: i, handlers: to, outer: catching });
      catching = [...new Set([...to, ...catching])];
    } else if (op === BLOCK || op === LOOP || op === IF) {
      scopes.push({ start: i, handlers: none, outer: catching });
    } else if (op === CATCH || op === CATCH_ALL) catching = scopes.at(-1)!.outer;
    else if ((op === END || op === DELEGATE) && scopes.length > 0) catching = scopes.pop()!.outer;
  }
  const reached = new Uint8Array(code.length);
  const todo = [0];
  while (todo.length > 0) {
    const i = todo.pop()!;
    if (reached[i]) continue;
    reached[i] = 1;
    todo.push(...next[i]!);
    if (throws(code[i]!.op)) todo.push(...handlers[i]!);
  }
  return { next, handlers, reached };
}

/** Whether an exception may come from it. */
export function throws(op: number): boolean {
  return isCall(op) || op === THROW || op === RETHROW || op === THROW_REF;
}

/** An instruction on a cycle that avoids `without`; -1 if there is none. Counts back edges. */
export function cycleWithout(
  code: readonly Instruction[],
  { next, handlers, reached }: Ways,
  without: ReadonlySet<number>,
): { at: number; backEdges: number } {
  const state = new Uint8Array(code.length);
  let backEdges = 0, found = -1;
  for (let root = 0; root < code.length; root++) {
    if (!reached[root] || state[root] || without.has(root)) continue;
    const path: [at: number, ways: readonly number[], i: number][] = [];
    const enter = (at: number) => {
      state[at] = 1;
      path.push([at, throws(code[at]!.op) ? [...next[at]!, ...handlers[at]!] : next[at]!, 0]);
    };
    enter(root);
    while (path.length > 0) {
      const top = path.at(-1)!;
      const to = top[1][top[2]++];
      if (to === undefined) {
        state[top[0]] = 2;
        path.pop();
      } else if (without.has(to)) continue;
      else if (state[to] === 1) {
        backEdges++;
        found = to;
      } else if (state[to] === 0) enter(to);
    }
  }
  return { at: found, backEdges };
}

/**
 * An instruction on a cycle of which the charges do not add up to one unit at least; -1 if there is
 * none. (Bellman and Ford: with every step a little cheaper than it is, such a cycle has no cheapest way.)
 */
export function freeCycle(
  code: readonly Instruction[],
  ways: Ways,
  charges: ReadonlyMap<number, number>,
): number {
  const paying = new Set<number>();
  for (const [i, units] of charges) if (units > 0) paying.add(i);
  const unpaid = cycleWithout(code, ways, paying).at;
  if (unpaid >= 0 || paying.size === charges.size) return unpaid;
  const { next, handlers, reached } = ways;
  const steps = code.length + 1;
  const cheapest = new Float64Array(code.length);
  for (let round = 0; round < steps; round++) {
    let changed = -1;
    for (let i = 0; i < code.length; i++) {
      if (!reached[i]) continue;
      const price = cheapest[i]! + (charges.get(i) ?? 0) * steps - 1;
      const arrive = (to: number) => {
        if (price >= cheapest[to]!) return;
        cheapest[to] = price;
        changed = to;
      };
      next[i]!.forEach(arrive);
      if (throws(code[i]!.op)) handlers[i]!.forEach(arrive);
    }
    if (changed < 0) return -1;
    if (round === steps - 1) return changed;
  }
  return -1;
}
