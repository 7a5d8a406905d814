/**
 * A function body, decoded to what metering needs: where control moves, what each stretch of code
 * costs, which instructions name functions or globals, how high the operand stack gets.
 *
 * The body is read once, front to back, into a list of *events*; plain instructions leave nothing
 * but their cost. Costs are added up in as few places as are exact:
 *
 * - An event may have a cost: the units that are charged when control passes it.
 * - A new place is opened where control may arrive by some ways and not by others: behind a
 *   conditional branch, in an arm of an `if`, at a loop head.
 * - Behind the end of a construct that is always left by its end, code runs exactly as often as in
 *   front of it, so it is charged in front. A trap does not count as a way out: it ends the guest.
 * - In a function that may see exceptions, a call may be a way out.
 *
 * Short loops that end in a branch to their head are marked as ones that may be unrolled; whether they
 * are is decided where they are written (`prepay.ts`).
 * What the function does with its locals, and the ways out of its loops, are noted beside
 * ({@link Flow}): from that loops are outlined.
 *
 * Indices and nesting are checked here, since renumbered they could otherwise come to mean what
 * the rewriter adds. Types of operands are left to the engine.
 *
 * @module
 */
import type { Reader } from "./binary.ts";
import { Body, FLAG, PLACE } from "./body.ts";
import { LASTING_CHANGES } from "./lasting_state.ts";
import { type Module, readHeapTypeImmediate, readTypeIndex, readValueType } from "./module.ts";
import { IMM, IMMEDIATE, NAME, OP, POPS, PUSHES, refusal } from "./opcodes.ts";

/** Locals, parameters included, that engines accept in one function. */
export const LOCALS_MAX = 50_000;
/** Units, and calls, after which even straight code gets a check. */
const STRAIGHT_UNITS_MAX = 65_536;
const STRAIGHT_CALLS_MAX = 256;
/** Bytes, from its first instruction to its tail, of a loop that may be unrolled. */
const UNROLLED_BYTES_MAX = 384;
/** Larger functions, unrolled and metered more than twentyfold, might be refused by engines. */
const UNROLLED_FUNCTION_BYTES_MAX = 1 << 17;

/** Columns of the open constructs, outermost (the function itself) first. */
class Frames {
  kind = new Uint8Array(64);
  /** Height below the parameters. */
  base = new Int32Array(64);
  params = new Int32Array(64);
  results = new Int32Array(64);
  /** The event that code in front of the construct charges to. */
  place = new Int32Array(64);
  /** Outermost construct that a branch from inside goes to; -1 leaves the function. */
  escape = new Int32Array(64);
  /** Event of the opening instruction, -1 if it has none. */
  event = new Int32Array(64);
  /** Where the type of the block stands. */
  typeAt = new Int32Array(64);
  bits = new Uint8Array(64);

  grow(): void {
    const size = this.kind.length * 2;
    for (
      const key of ["base", "params", "results", "place", "escape", "event", "typeAt"] as const
    ) {
      const to = new Int32Array(size);
      to.set(this[key]);
      this[key] = to;
    }
    for (const key of ["kind", "bits"] as const) {
      const to = new Uint8Array(size);
      to.set(this[key]);
      this[key] = to;
    }
  }
}

const BIT_TARGETED = 1;
const BIT_CAUGHT = 2;
/** Opened in code that control never reaches. */
const BIT_DEAD = 4;
/** An earlier arm of an `if` or `try` falls through to the end. */
const BIT_ARM_LIVE = 8;
const BIT_CATCH_ALL = 16;

/** Decodes the bodies of one module, one after the other, into one {@link Body}. */
export class BodyDecoder {
  readonly body = new Body();
  readonly #frames = new Frames();
  #depth = 0;
  #height = 0;
  #heightMax = 0;
  #dead = false;
  /** Event that the current code charges to. */
  #place = 0;
  #v128 = false;
  #callsInRow = 0;
  /** Offset of the last instruction that a loop to be unrolled must not hold. */
  #unrollFrom = -1;
  #blockAt = -1;
  #blockParams = 0;
  #blockResults = 0;

  /** Whether any function so far has an instruction of {@link LASTING_CHANGES}. */
  changesLast = false;
  /** Which encodings of exception handling the functions so far have. */
  #legacyHandling = false;
  #standardHandling = false;

  constructor(readonly module: Module, readonly reader: Reader) {}

  /** Decodes the body that starts at the reader's position and ends at its `end`. */
  decode(functionIndex: number): Body {
    const { body, module: m, reader: r } = this;
    const type = m.types[m.functions[functionIndex]!]!;
    body.events = 0;
    body.calls =
      body.tailCalls =
      body.returns =
      body.loops =
      body.tryTables =
      body.handlers =
      body.units =
        0;
    body.labelTargeted = false;
    body.params = type.params;
    body.flow.clear();
    this.#v128 = type.v128;
    const localBytes = this.#locals(type.params) + type.paramFrameBytes;

    this.#depth = -1;
    this.#height = this.#heightMax = 0;
    this.#dead = false;
    this.#callsInRow = 0;
    this.#unrollFrom = -1;
    this.#place = body.push(PLACE, body.codeStart, body.codeStart, 0, 0, 0);
    this.#blockAt = -1;
    this.#open(OP.BLOCK, 0, type.results, 0);
    this.#code();
    if (r.at !== r.end) throw r.invalid(`${r.end - r.at} more bytes`, "the function ended");
    this.#requireOneHandling();

    for (let e = 0; e < body.events; e++) body.units += body.cost[e]!;
    body.frameBytes = localBytes + this.#heightMax * (this.#v128 ? 16 : 8);
    return body;
  }

  /**
   * Refuses `try` beside `try_table`, `throw_ref` or exceptions as values. V8 means to refuse that
   * too, but looks at each of its threads alone: it takes such a module at one time and not at another.
   */
  #requireOneHandling(): void {
    const { reader: r } = this;
    if (!this.#legacyHandling || !(this.#standardHandling || r.sawExceptionType)) return;
    throw r.unsupported("exception handling", "legacy and standard instructions may not be mixed");
  }

  /** Reads the declarations of locals and returns the bytes they take in a frame. */
  #locals(params: number): number {
    const { body, reader: r } = this;
    let bytes = 0;
    body.locals = params;
    body.localGroups = r.count("groups of locals");
    body.localsStart = r.at;
    for (let i = 0; i < body.localGroups; i++) {
      const at = r.at;
      const n = r.u32();
      body.locals += n;
      if (body.locals > LOCALS_MAX - 2) {
        throw r.unsupported(`${body.locals} locals`, `at most ${LOCALS_MAX - 2} are supported`, at);
      }
      const v128 = readValueType(r, this.module.types.length);
      if (v128) this.#v128 = true;
      bytes += n * (v128 ? 16 : 8);
    }
    body.codeStart = r.at;
    return bytes;
  }

  #open(kind: number, params: number, results: number, event: number): void {
    const f = this.#frames;
    this.#pop(params);
    const i = ++this.#depth;
    if (i === f.kind.length) f.grow();
    f.kind[i] = kind;
    f.base[i] = this.#height;
    f.params[i] = params;
    f.results[i] = results;
    f.place[i] = this.#place;
    f.escape[i] = i;
    f.event[i] = event;
    f.typeAt[i] = this.#blockAt;
    f.bits[i] = this.#dead ? BIT_DEAD : 0;
    this.#push(params);
    this.body.flow.open();
  }

  #pop(n: number): void {
    const height = this.#height - n;
    const base = this.#depth < 0 ? 0 : this.#frames.base[this.#depth]!;
    if (height >= base) {
      this.#height = height;
    } else if (this.#dead) {
      this.#height = base;
    } else {
      throw this.reader.invalid("instruction", "the operand stack is too low before it");
    }
  }

  #push(n: number): void {
    this.#height += n;
    if (this.#height > this.#heightMax) this.#heightMax = this.#height;
  }

  /** The rest of the construct is not reached. */
  #die(): void {
    if (!this.#dead) this.body.flow.stop();
    this.#dead = true;
    this.#height = this.#frames.base[this.#depth]!;
  }

  /** Code behind this event is charged there. */
  #openPlace(event: number): void {
    this.#place = event;
  }

  /** Whether branches to the label `depth` levels up take operands along. */
  #takesValues(depth: number): boolean {
    const { kind, params, results } = this.#frames;
    const target = this.#depth - depth;
    return (kind[target] === OP.LOOP ? params : results)[target]! > 0;
  }

  /** Notes a branch to the label `depth` levels up. */
  #branch(depth: number, caught = false): void {
    if (this.#dead) return;
    const f = this.#frames;
    const target = this.#depth - depth;
    f.bits[target]! |= caught ? BIT_TARGETED | BIT_CAUGHT : BIT_TARGETED;
    if (f.escape[this.#depth]! > target) f.escape[this.#depth] = target;
    if (target === 0) this.body.labelTargeted = true;
    this.body.flow.branch(target, f.typeAt[target]!, f.kind[target] === OP.LOOP);
    if (f.kind[target] === OP.LOOP) {
      const flags = this.body.flags[f.event[target]!]!;
      if (!(flags & FLAG.JOIN)) this.body.loops++;
      this.body.flags[f.event[target]!] = flags | FLAG.CHECK | FLAG.JOIN |
        (caught ? FLAG.CAUGHT : 0);
    }
  }

  /** Control may leave the function here. */
  #leave(): void {
    if (!this.#dead) this.#frames.escape[this.#depth] = -1;
  }

  #label(): number {
    return this.reader.index("label", this.#depth + 1);
  }

  /** Reads a block type into `#blockParams` and `#blockResults`. */
  #blockType(): void {
    const { module: m, reader: r } = this;
    const byte = r.at < r.end ? r.bytes[r.at]! : 0;
    this.#blockAt = r.at;
    this.#blockParams = 0;
    if (byte === 0x40) {
      r.at++;
      this.#blockResults = 0;
    } else if (byte === 0x63 || byte === 0x64 || (byte & 0xc0) === 0x40) {
      if (readValueType(r, m.types.length)) this.#v128 = true;
      this.#blockResults = 1;
    } else {
      const type = m.types[readTypeIndex(r, m.types.length)]!;
      if (type.v128) this.#v128 = true;
      this.#blockParams = type.params;
      this.#blockResults = type.results;
    }
  }

  /** The effect of calling a function of this type. */
  #applyType(index: number): void {
    const type = this.module.types[index]!;
    if (type.v128) this.#v128 = true;
    this.#pop(type.params);
    this.#push(type.results);
  }

  #memarg(): void {
    const { module: m, reader: r } = this;
    const at = r.at;
    const align = r.u32();
    if (align >= 128) throw r.invalid(`alignment ${align}`, "it is too large", at);
    if (align & 64) r.index("memory", m.memories.length);
    else if (m.memories.length === 0) throw r.invalid("memory access", "there is no memory", at);
    r.u32();
  }

  #code(): void {
    const r = this.reader;
    while (this.#depth >= 0) {
      const start = r.at;
      let op = r.u8();
      if (op >= 0xfb) {
        const prefix = op;
        const sub = r.u32();
        op = prefix === 0xfc && sub < 0x100
          ? 0x100 + sub
          : prefix === 0xfd && sub < 0x200
          ? 0x200 + sub
          : -1;
        if (op < 0 || IMMEDIATE[op] === 0) {
          throw r.unsupported(`opcode 0x${prefix.toString(16)} ${sub}`, refusal(prefix), start);
        }
        if (prefix === 0xfd) this.#v128 = true;
      }
      switch (IMMEDIATE[op]) {
        case IMM.NONE:
          break;
        case IMM.CONTROL:
          this.#control(op, start);
          continue;
        case IMM.SPECIAL:
          this.#spend(start);
          this.#special(op, start);
          this.#pop(POPS[op]!);
          this.#push(PUSHES[op]!);
          continue;
        case IMM.MEMARG:
          this.#memarg();
          break;
        case IMM.MEMARG_LANE:
          this.#memarg();
          r.skip(1);
          break;
        case IMM.LANE:
          r.skip(1);
          break;
        case IMM.BYTES_4:
          r.skip(4);
          break;
        case IMM.BYTES_8:
          r.skip(8);
          break;
        case IMM.BYTES_16:
          r.skip(16);
          break;
        case IMM.LEB32:
          r.skipLeb(5);
          break;
        case IMM.LEB64:
          r.skipLeb(10);
          break;
        default:
          throw r.unsupported(`opcode 0x${op.toString(16)}`, refusal(op), start);
      }
      if (op === OP.NOP) continue;
      this.#spend(start);
      if (op === OP.UNREACHABLE) {
        this.#die();
        continue;
      }
      this.#pop(POPS[op]!);
      this.#push(PUSHES[op]!);
    }
  }

  /** One unit for the instruction that starts here; now and then a check in front of it. */
  #spend(start: number): void {
    if (this.#dead) return;
    if (++this.body.cost[this.#place]! < STRAIGHT_UNITS_MAX) return;
    this.#openPlace(this.body.push(PLACE, start, start, 0, 0, FLAG.CHECK));
  }

  /** Reads the immediates of instructions that name something, and records what is renumbered. */
  #special(op: number, start: number): void {
    const { body, module: m, reader: r } = this;
    if (LASTING_CHANGES.has(op)) this.changesLast = true;
    switch (op) {
      case OP.LOCAL_GET:
        body.flow.read(r.index("local", body.locals));
        break;
      case OP.LOCAL_SET:
      case OP.LOCAL_TEE:
        body.flow.write(r.index("local", body.locals));
        break;
      case OP.GLOBAL_GET:
      case OP.GLOBAL_SET: {
        const index = r.index("global", m.globals.length);
        if (m.globals[index]) this.#v128 = true;
        // Imported globals keep their numbers.
        if (index >= m.importedGlobals) this.#event(op, start, index, 0);
        break;
      }
      case OP.TABLE_GET:
      case OP.TABLE_SET:
      case OP.TABLE_SIZE:
        r.index("table", m.tables.length);
        break;
      case OP.TABLE_GROW:
      case OP.TABLE_FILL:
        this.#event(op, start, r.index("table", m.tables.length), 0);
        break;
      case OP.MEMORY_SIZE:
        r.index("memory", m.memories.length);
        break;
      case OP.MEMORY_GROW:
      case OP.MEMORY_FILL:
        this.#event(op, start, r.index("memory", m.memories.length), 0);
        break;
      case OP.MEMORY_COPY: {
        const to = r.index("memory", m.memories.length);
        this.#event(op, start, to, r.index("memory", m.memories.length));
        break;
      }
      case OP.MEMORY_INIT: {
        const segment = r.index("data segment", m.dataSegments);
        this.#event(op, start, segment, r.index("memory", m.memories.length));
        break;
      }
      case OP.DATA_DROP:
        r.index("data segment", m.dataSegments);
        break;
      case OP.TABLE_COPY: {
        const to = r.index("table", m.tables.length);
        this.#event(op, start, to, r.index("table", m.tables.length));
        break;
      }
      case OP.TABLE_INIT: {
        const segment = r.index("element segment", m.elements);
        this.#event(op, start, segment, r.index("table", m.tables.length));
        break;
      }
      case OP.ELEM_DROP:
        r.index("element segment", m.elements);
        break;
      case OP.REF_NULL:
        readHeapTypeImmediate(r, m);
        break;
      case OP.REF_FUNC:
        this.#event(op, start, r.index("function", m.functions.length), 0);
        break;
      case OP.SELECT_T: {
        const n = r.count("types");
        for (let i = 0; i < n; i++) if (readValueType(r, m.types.length)) this.#v128 = true;
        break;
      }
    }
  }

  /** Records the instruction that was just read. */
  #event(op: number, start: number, a: number, b: number): number {
    return this.body.push(op, start, this.reader.at, a, b, this.#dead ? FLAG.DEAD : 0);
  }

  #call(op: number, start: number): void {
    const { body, module: m, reader: r } = this;
    let index = 0;
    let type: number;
    if (op === OP.CALL || op === OP.RETURN_CALL) {
      index = r.index("function", m.functions.length);
      type = m.functions[index]!;
    } else {
      type = r.index("type", m.types.length);
      if (op === OP.CALL_INDIRECT || op === OP.RETURN_CALL_INDIRECT) {
        r.index("table", m.tables.length);
      }
      this.#pop(1);
    }
    this.#spend(start);
    const tail = op === OP.RETURN_CALL || op === OP.RETURN_CALL_INDIRECT ||
      op === OP.RETURN_CALL_REF;
    this.#applyType(type);
    const e = this.#event(op, start, index, 0);
    if (tail) {
      if (!this.#dead) body.tailCalls++;
      body.flow.forbid();
      this.#leave();
      this.#die();
      return;
    }
    if (this.#dead) return;
    body.calls++;
    body.flow.call();
    const long = ++this.#callsInRow >= STRAIGHT_CALLS_MAX;
    if (long) {
      this.#callsInRow = 0;
      body.flags[e]! |= FLAG.CHECK;
    }
    // A callee may throw past the rest of this block, so the rest is paid when it is reached.
    const mayThrow = m.tags.length > 0;
    if (mayThrow) this.#leave();
    if (long || mayThrow) this.#openPlace(e);
  }

  #control(op: number, start: number): void {
    const { body, module: m, reader: r } = this;
    switch (op) {
      case OP.CALL:
      case OP.CALL_INDIRECT:
      case OP.CALL_REF:
      case OP.RETURN_CALL:
      case OP.RETURN_CALL_INDIRECT:
      case OP.RETURN_CALL_REF:
        this.#call(op, start);
        return;
      case OP.BLOCK:
      case OP.TRY:
        if (op === OP.TRY) {
          this.#legacyHandling = true;
          this.#unrollFrom = start;
          body.handlers++;
        }
        this.#blockType();
        this.#open(op, this.#blockParams, this.#blockResults, -1);
        return;
      case OP.LOOP: {
        this.#blockType();
        const e = this.#event(op, start, this.#depth + 1, 0);
        this.#open(op, this.#blockParams, this.#blockResults, e);
        body.flow.openLoop(e, this.#blockAt, this.#blockParams === 0);
        if (!this.#dead) this.#openPlace(e);
        return;
      }
      case OP.IF: {
        this.#blockType();
        this.#spend(start);
        this.#pop(1);
        const e = this.#event(op, start, this.#depth + 1, 0);
        this.#open(op, this.#blockParams, this.#blockResults, e);
        if (!this.#dead) this.#openPlace(e);
        return;
      }
      case OP.TRY_TABLE: {
        this.#standardHandling = true;
        this.#unrollFrom = start;
        this.#blockType();
        const clauses = r.count("catch clauses");
        for (let i = 0; i < clauses; i++) {
          const at = r.at;
          const kind = r.u8();
          if (kind > 3) throw r.invalid(`catch clause ${kind}`, "0 to 3 was expected", at);
          let height = kind & 1;
          if (kind < 2) {
            const type = m.types[m.tags[r.index("tag", m.tags.length)]!]!;
            if (type.v128) this.#v128 = true;
            height += type.params;
          }
          this.#branch(this.#label(), true);
          // The values of the exception lie on top of what is there.
          if (this.#height + height > this.#heightMax) this.#heightMax = this.#height + height;
        }
        if (!this.#dead) body.tryTables++;
        body.handlers++;
        this.#open(op, this.#blockParams, this.#blockResults, -1);
        return;
      }
      case OP.ELSE:
      case OP.CATCH:
      case OP.CATCH_ALL:
        this.#arm(op, start);
        return;
      case OP.END:
      case OP.DELEGATE:
        this.#close(op, start);
        return;
      case OP.BR:
      case OP.BR_IF: {
        const depth = this.#label();
        this.#spend(start);
        if (op === OP.BR_IF) this.#pop(1);
        const e = this.#event(op, start, depth, this.#depth - depth);
        if (this.#takesValues(depth)) body.flags[e]! |= FLAG.VALUES;
        this.#branch(depth);
        if (op === OP.BR) this.#die();
        else if (!this.#dead) this.#openPlace(e);
        return;
      }
      case OP.BR_ON_NULL:
      case OP.BR_ON_NON_NULL: {
        this.#unrollFrom = start;
        const depth = this.#label();
        this.#spend(start);
        this.#pop(1);
        if (op === OP.BR_ON_NULL) this.#push(1);
        const e = this.#event(op, start, depth, this.#depth - depth);
        this.#branch(depth);
        if (!this.#dead) this.#openPlace(e);
        return;
      }
      case OP.BR_TABLE: {
        this.#spend(start);
        this.#pop(1);
        const n = r.count("labels");
        let innermost = 0;
        for (let i = 0; i <= n; i++) {
          const depth = this.#label();
          innermost = Math.max(innermost, this.#depth - depth);
          this.#branch(depth);
        }
        this.#event(op, start, this.#depth, innermost);
        this.#die();
        return;
      }
      case OP.RETURN:
        this.#spend(start);
        this.#event(op, start, this.#depth, 0);
        if (!this.#dead) {
          body.returns++;
          body.flow.branch(0, -1, false);
        }
        this.#leave();
        this.#die();
        return;
      case OP.THROW:
      case OP.RETHROW:
      case OP.THROW_REF: {
        this.#unrollFrom = start;
        if (op === OP.THROW) {
          const type = m.types[m.tags[r.index("tag", m.tags.length)]!]!;
          if (type.v128) this.#v128 = true;
          this.#pop(type.params);
        } else if (op === OP.RETHROW) this.#label();
        else {
          this.#standardHandling = true;
          this.#pop(1);
        }
        this.#spend(start);
        this.#event(op, start, 0, 0);
        this.#leave();
        this.#die();
        return;
      }
      default:
        throw r.unsupported(`opcode ${NAME[op]}`, "it is not known here", start);
    }
  }

  /** `else`, `catch` or `catch_all`: the previous arm ends, another one starts. */
  #arm(op: number, start: number): void {
    const { body, module: m, reader: r } = this;
    const f = this.#frames;
    const i = this.#depth;
    const kind = f.kind[i]!;
    const bits = f.bits[i]!;
    let height = f.params[i]!;
    if (op === OP.ELSE) {
      if (kind !== OP.IF) throw r.invalid("else", "it must belong to an if", start);
    } else {
      if (kind !== OP.TRY && kind !== OP.CATCH || bits & BIT_CATCH_ALL) {
        throw r.invalid(NAME[op]!, "it must belong to a try", start);
      }
      height = 0;
      if (op === OP.CATCH) {
        const type = m.types[m.tags[r.index("tag", m.tags.length)]!]!;
        if (type.v128) this.#v128 = true;
        height = type.params;
      } else f.bits[i]! |= BIT_CATCH_ALL;
    }
    this.#checkHeight("arm");
    const e = this.#event(op, start, f.event[i]!, 0);
    if (op === OP.ELSE) body.flow.else();
    if (!this.#dead) f.bits[i]! |= BIT_ARM_LIVE;
    f.kind[i] = op === OP.ELSE ? OP.ELSE : OP.CATCH;
    this.#dead = (bits & BIT_DEAD) !== 0;
    if (!this.#dead) {
      this.#openPlace(e);
      if (op === OP.ELSE) body.flags[f.event[i]!]! |= FLAG.HAS_ELSE;
    }
    this.#height = f.base[i]!;
    this.#push(height);
  }

  /** Where code falls through, exactly the results must be left. */
  #checkHeight(what: string): void {
    const i = this.#depth;
    const height = this.#frames.base[i]! + this.#frames.results[i]!;
    if (!this.#dead && this.#height !== height) {
      throw this.reader.invalid(
        `end of ${what} with operand height ${this.#height}`,
        `${height} was expected`,
      );
    }
  }

  /** Marks the loop that ends here, if it may be unrolled; its label has this depth. */
  #markUnrolled(loop: number, depth: number, end: number): void {
    const { body, reader: r } = this;
    const f = this.#frames;
    const tail = body.events - 1;
    const op = body.opcode[tail]!;
    if (
      this.#unrollFrom > body.start[loop]! || end - body.end[loop]! > UNROLLED_BYTES_MAX ||
      r.end - body.codeStart > UNROLLED_FUNCTION_BYTES_MAX ||
      f.params[depth] !== 0 || f.results[depth] !== 0 ||
      op !== OP.BR && op !== OP.BR_IF || body.a[tail] !== 0 || body.end[tail] !== end ||
      body.flags[tail]! & FLAG.DEAD
    ) return;
    body.flags[loop]! |= FLAG.UNROLL;
    body.b[loop] = tail;
  }

  #close(op: number, start: number): void {
    const { body, reader: r } = this;
    const f = this.#frames;
    const i = this.#depth;
    const kind = f.kind[i]!;
    const bits = f.bits[i]!;
    if (op === OP.DELEGATE) {
      if (kind !== OP.TRY || i === 0) throw r.invalid("delegate", "it must belong to a try", start);
      // Its label is counted from outside of the try, up to the function itself.
      r.index("label", i);
      this.#leave();
    }
    this.#checkHeight("block");
    const fallsThrough = !this.#dead;
    const openedDead = (bits & BIT_DEAD) !== 0;
    // An if without else is also left by its condition.
    const otherWays = kind === OP.LOOP
      ? false
      : (bits & (BIT_TARGETED | BIT_ARM_LIVE)) !== 0 || kind === OP.IF;
    const structural = kind === OP.IF || kind === OP.ELSE || kind === OP.TRY || kind === OP.CATCH;
    this.#depth--;
    this.#height = f.base[i]!;
    this.#push(f.results[i]!);
    const loop = body.flow.close(kind === OP.IF || kind === OP.ELSE);
    if (i === 0) {
      this.body.push(op, start, r.at, 0, 0, fallsThrough ? 0 : FLAG.DEAD);
      return;
    }
    if (f.escape[i]! < f.escape[i - 1]!) f.escape[i - 1] = f.escape[i]!;
    this.#dead = openedDead || !(fallsThrough || otherWays);
    if (openedDead) return;
    if (kind === OP.LOOP && body.flags[f.event[i]!]! & FLAG.JOIN) {
      this.#markUnrolled(f.event[i]!, i, start);
      const flags = FLAG.LOOP_END | (fallsThrough ? 0 : FLAG.DEAD);
      const end = body.push(op, start, r.at, i, 0, flags);
      if (loop) Object.assign(loop, { end, fallsThrough });
    }

    const joins = otherWays || structural;
    let e = -1;
    if (joins) {
      const flags = (otherWays ? FLAG.JOIN : 0) | (fallsThrough ? 0 : FLAG.DEAD) |
        (bits & BIT_CAUGHT ? FLAG.CAUGHT : 0);
      e = body.push(op, start, r.at, i, 0, flags);
    }
    if (this.#dead) return;
    const before = f.place[i]!;
    if (f.escape[i]! >= i && body.cost[before]! < STRAIGHT_UNITS_MAX - 1) this.#openPlace(before);
    else if (otherWays) this.#openPlace(e);
  }
}
