/**
 * What an instance of a rewritten module takes of the host before any code of it runs. The rewriter
 * writes it into the module, so that whoever instantiates one, however often, can charge for it.
 * Every Worker reads it, and needs nothing else of the rewriter.
 *
 * @module
 */

/** See the module. */
export interface InstanceSize {
  /** Sum of the minima of the memories that the module defines, in pages of 64 KiB. */
  readonly memoryPages: number;
  /** Sum of the minima of the tables that the module defines. */
  readonly tableElements: number;
  /** What V8 and realm keep for it beside them, in bytes: an estimate, rather too high. */
  readonly hostBytes: number;
}

/** Name of the custom section: three integers of 32 bits, little-endian. */
export const INSTANCE_SIZE = "realm size";
const FIELDS = 3;

/** The content of the custom section, behind its name. */
export function encodeSize({ memoryPages, tableElements, hostBytes }: InstanceSize): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 * FIELDS));
  [memoryPages, tableElements, hostBytes].forEach((value, i) => {
    view.setUint32(4 * i, Math.min(value, 0xffff_ffff), true);
  });
  return new Uint8Array(view.buffer);
}

const NOTHING: InstanceSize = { memoryPages: 0, tableElements: 0, hostBytes: 0 };
const known = new WeakMap<WebAssembly.Module, InstanceSize>();

/** The size of a rewritten module's instances; nothing for a module that was not rewritten. */
export function sizeOf(module: WebAssembly.Module): InstanceSize {
  let size = known.get(module);
  if (!size) {
    const [section] = WebAssembly.Module.customSections(module, INSTANCE_SIZE);
    if (section?.byteLength !== 4 * FIELDS) size = NOTHING;
    else {
      const view = new DataView(section);
      const [memoryPages, tableElements, hostBytes] = [0, 4, 8].map((at) =>
        view.getUint32(at, true)
      );
      size = {
        memoryPages: memoryPages!,
        tableElements: tableElements!,
        hostBytes: hostBytes!,
      };
    }
    known.set(module, size);
  }
  return size;
}
