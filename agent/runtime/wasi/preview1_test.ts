import assert from "node:assert/strict";
import { ALL, createFixture, Ended, thrown } from "./context_fixture.ts";
import type { Grants, Stdio } from "../../kernel/ports.ts";
import { GRANT_OF_PREVIEW1 } from "./grants.ts";
import { PREVIEW1, SUSPENDING_FUNCTIONS } from "./host.ts";

type Functions = Record<string, (...args: (number | bigint)[]) => number | Promise<number>>;

/** Every function of `wasi_snapshot_preview1`. */
const SURFACE =
  "args_get args_sizes_get clock_res_get clock_time_get environ_get environ_sizes_get fd_advise " +
  "fd_allocate fd_close fd_datasync fd_fdstat_get fd_fdstat_set_flags fd_fdstat_set_rights " +
  "fd_filestat_get fd_filestat_set_size fd_filestat_set_times fd_pread fd_prestat_dir_name " +
  "fd_prestat_get fd_pwrite fd_read fd_readdir fd_renumber fd_seek fd_sync fd_tell fd_write " +
  "path_create_directory path_filestat_get path_filestat_set_times path_link path_open " +
  "path_readlink path_remove_directory path_rename path_symlink path_unlink_file poll_oneoff " +
  "proc_exit proc_raise random_get sched_yield sock_accept sock_recv sock_send sock_shutdown";

const SUCCESS = 0, BADF = 8, INVAL = 28, IO = 29, NAMETOOLONG = 37, NOTSOCK = 57, SPIPE = 70;

/** A module's view of the host: functions, and memory of one page. */
function open(grants: Partial<Grants> = {}, stdio?: Stdio) {
  const fixture = createFixture(grants, stdio ? { stdio } : {});
  const { bindMemory, ...functions } = fixture.get(PREVIEW1);
  const memory = new WebAssembly.Memory({ initial: 1 });
  bindMemory(memory);
  const view = () => new DataView(memory.buffer);
  const text = (at: number, length: number) =>
    new TextDecoder().decode(new Uint8Array(memory.buffer, at, length));
  /** Puts a buffer and the array of one that names it; returns where the array is. */
  const buffer = (bytes: Uint8Array | number) => {
    const length = typeof bytes === "number" ? bytes : bytes.length;
    if (typeof bytes !== "number") new Uint8Array(memory.buffer).set(bytes, 2048);
    view().setUint32(1024, 2048, true);
    view().setUint32(1028, length, true);
    return 1024;
  };
  return { ...fixture, call: functions as Functions, memory, view, text, buffer };
}

const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test("a module finds every function of WASI 0.1, and components none of them", () => {
  const { call, wasi } = open();
  assert.deepEqual(Object.keys(call).sort(), SURFACE.split(" ").sort());
  assert.ok(!Object.keys(Object.getPrototypeOf(wasi.imports)).includes(PREVIEW1));
  for (const name of SUSPENDING_FUNCTIONS) assert.ok(name in call, name);
  for (const name of Object.keys(GRANT_OF_PREVIEW1)) assert.ok(name in call, name);
});

Deno.test("arguments and environment are put with a zero behind each, empty values too", () => {
  const { call, view, text } = open({ args: ["p", "", "ü"], env: [["A", ""], ["B", "2"]] });
  assert.equal(call.args_sizes_get!(0, 4), SUCCESS);
  assert.deepEqual([view().getUint32(0, true), view().getUint32(4, true)], [3, 6]);
  call.args_get!(0, 100);
  assert.equal(text(100, 6), "p\0\0ü\0");
  assert.deepEqual([0, 4, 8].map((at) => view().getUint32(at, true)), [100, 102, 103]);
  call.environ_sizes_get!(0, 4);
  assert.deepEqual([view().getUint32(0, true), view().getUint32(4, true)], [2, 7]);
  call.environ_get!(0, 200);
  assert.equal(text(200, 7), "A=\0B=2\0");
});

Deno.test("fd_write writes the first buffer that is not empty, and fd_read waits for input", async () => {
  const input = Promise.withResolvers<Uint8Array | null>();
  const written: string[] = [];
  const stdio: Stdio = {
    terminal: { stdin: false, stdout: true, stderr: false },
    read: () => input.promise,
    write: (stream, bytes) => void written.push(`${stream} ${new TextDecoder().decode(bytes)}`),
  };
  const { call, view, text, buffer } = open({}, stdio);
  const iovs = buffer(bytes("hello"));
  view().setBigUint64(1016, 0n, true); // an empty one in front
  assert.equal(call.fd_write!(1, iovs - 8, 2, 0), SUCCESS);
  assert.equal(view().getUint32(0, true), 5);
  assert.equal(call.fd_write!(2, iovs, 1, 0), SUCCESS);
  assert.deepEqual(written, ["stdout hello", "stderr hello"]);
  const reading = call.fd_read!(0, buffer(3), 1, 0);
  assert.ok(reading instanceof Promise);
  input.resolve(bytes("input"));
  assert.equal(await reading, SUCCESS);
  assert.deepEqual([view().getUint32(0, true), text(2048, 3)], [3, "inp"]);
  assert.equal(call.fd_read!(0, buffer(9), 1, 0), SUCCESS);
  assert.equal(text(2048, 2), "ut");
  assert.equal(call.fd_read!(1, buffer(9), 1, 0), BADF);
  assert.equal(call.fd_seek!(1, 0n, 1, 0), SPIPE);
  call.fd_fdstat_get!(1, 0);
  assert.equal(view().getUint8(0), 2, "a terminal is a character device");
  call.fd_fdstat_get!(0, 0);
  assert.equal(view().getUint8(0), 0);
});

Deno.test("output that nobody takes any more is an error of the call", () => {
  const stdio: Stdio = {
    terminal: { stdin: false, stdout: false, stderr: false },
    read: () => Promise.resolve(null),
    write() {
      throw new Error("the reader went away");
    },
  };
  const { call, buffer } = open({}, stdio);
  assert.equal(call.fd_write!(1, buffer(bytes("x")), 1, 0), IO);
});

Deno.test("numbers of descriptors are given again, the greatest first", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const mounts = [{ hostPath: folder, guestPath: "/data", writable: true }];
    const { call, view, memory, text, wasi } = open({ mounts });
    new Uint8Array(memory.buffer).set(bytes("file"), 100);
    const openFile = () => {
      assert.equal(call.path_open!(3, 0, 100, 4, 1, 66n, 0n, 0, 0), SUCCESS);
      return view().getUint32(0, true);
    };
    call.fd_prestat_get!(3, 0);
    assert.equal(view().getUint32(4, true), 5);
    call.fd_prestat_dir_name!(3, 0, 5);
    assert.equal(text(0, 5), "/data");
    assert.deepEqual([openFile(), openFile(), openFile()], [4, 5, 6]);
    assert.equal(call.fd_close!(4), SUCCESS);
    assert.equal(call.fd_close!(6), SUCCESS);
    assert.equal(call.fd_close!(6), BADF);
    assert.deepEqual([openFile(), openFile(), openFile()], [6, 4, 7]);
    assert.equal(call.fd_renumber!(7, 4), SUCCESS);
    assert.equal(call.fd_renumber!(7, 4), BADF);
    assert.equal(call.fd_filestat_get!(4, 0), SUCCESS);
    assert.equal(call.sock_shutdown!(4, 0), NOTSOCK);
    assert.equal(openFile(), 7);
    wasi.close();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("poll_oneoff sleeps, and tells which of several was first", async () => {
  const { call, view, advance } = open();
  const subscribe = (at: number, userdata: bigint, ns: bigint, id = 1) => {
    view().setBigUint64(at, userdata, true);
    view().setUint8(at + 8, 0);
    view().setUint32(at + 16, id, true);
    view().setBigUint64(at + 24, ns, true);
    view().setUint16(at + 40, 0, true);
  };
  subscribe(0, 7n, 50_000_000n);
  subscribe(48, 8n, 20_000_000n);
  const polling = call.poll_oneoff!(0, 1000, 2, 2000);
  await advance(20);
  assert.equal(await polling, SUCCESS);
  assert.deepEqual([view().getUint32(2000, true), view().getBigUint64(1000, true)], [1, 8n]);
  subscribe(0, 9n, 0n, 0);
  assert.equal(call.poll_oneoff!(0, 1000, 1, 2000), SUCCESS, "what is over is over at once");
  assert.equal(call.poll_oneoff!(0, 1000, 0, 2000), INVAL);
  subscribe(0, 9n, 0n, 2);
  assert.equal(call.poll_oneoff!(0, 1000, 1, 2000), INVAL, "no such clock to wait for");
});

Deno.test("a status has eight bits", () => {
  for (const [given, wanted] of [[0, 0], [7, 7], [255, 255], [256 + 3, 3], [-1, 255]] as const) {
    const { call } = open();
    const ended = thrown(() => call.proc_exit!(given)) as Ended;
    assert.deepEqual([ended.kind, ended.value], ["exit", wanted]);
  }
});

Deno.test("pointers past the memory and unknown flags end the guest", () => {
  const wrong: ((call: Functions) => unknown)[] = [
    (call) => call.args_sizes_get!(65_533, 0),
    (call) => call.fd_write!(1, 65_534, 1, 0),
    (call) => call.random_get!(65_530, 100),
    (call) => call.random_get!(-1, 2),
    (call) => call.clock_time_get!(9, 0n, 0),
    (call) => call.path_open!(3, 4, 0, 1, 0, 0n, 0n, 0, 0),
    (call) => call.path_open!(3, 0, 0, 1, 16, 0n, 0n, 0, 0),
  ];
  for (const [index, act] of wrong.entries()) {
    const { call } = open();
    const ended = thrown(() => act(call)) as Ended;
    assert.equal(ended.kind, "trap", `${index}`);
  }
});

Deno.test("random_get without the grant ends the guest", () => {
  const { call, notices } = open({ ...ALL, random: false });
  assert.equal((thrown(() => call.random_get!(0, 8)) as Ended).kind, "trap");
  assert.match(notices[0]![1], /random/);
});

Deno.test("a call looks at a thousand empty buffers and no more, and at no string that no path is", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const mounts = [{ hostPath: folder, guestPath: "/data", writable: true }];
    const { call, view, memory, output, wasi } = open({ mounts });
    memory.grow(3);
    const at = 2048, last = at + 1023 * 8;
    view().setUint32(last + 4, 2, true); // its pointer is 0
    assert.equal(call.fd_write!(1, at, 1024, 100), SUCCESS);
    assert.equal(view().getUint32(100, true), 2);
    assert.equal(call.fd_write!(1, at - 8, 1025, 100), SUCCESS);
    assert.equal(view().getUint32(100, true), 0);
    assert.equal(output.stdout.length, 2);
    new Uint8Array(memory.buffer).fill(97, 65_536);
    for (const length of [4096, 65_536, 65_537, 190_000]) {
      assert.equal(call.path_unlink_file!(3, 65_536, length), NAMETOOLONG, `${length}`);
    }
    wasi.close();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
