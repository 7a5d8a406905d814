/**
 * What `realm app new` writes: an app that builds with nothing but realm.
 *
 * @module
 */

/** The files of a new app, by name. */
export function appTemplate(name: string): ReadonlyMap<string, string> {
  return new Map([
    ["bundle.toml", manifest(name)],
    ["app.wit", WIT],
    ["note.wat", NOTE],
    ["propose.wat", PROPOSE],
  ]);
}

const manifest = (name: string) =>
  `# The bundle of the app "${name}". Every key is described in docs/bundles.md.
# Build it with realm app build, then realm app install ${name}-0.1.0.bundle.

name = "${name}"
version = "0.1.0"
# follows = "${name}-0.1.0.bundle"      # in later versions: any earlier bundle of this app
capabilities = ["state-write"]          # all that any component may import

[components.state-apply]                # what an event does to the state, alike on every peer
file = "note.wat"                       # or a .wasm: a component, or a core module
wit = "app.wit"                         # not for a component, nor for what wit-bindgen made

[components.state-propose]              # from what a person wants to events: realm app call
file = "propose.wat"
wit = "app.wit"

# [components.interaction]              # what a person sees and does
# [components.behavior]                 # acts on its own
`;

const WIT = `// What of realm:app this app uses. docs/apps.md has the whole contract.
package realm:app@0.1.0;

interface state-write {
  put: func(key: list<u8>, value: list<u8>);
}

interface applier {
  apply: func(payload: list<u8>) -> result<_, list<u8>>;
}

interface proposer {
  record proposal {
    kind: list<u8>,
    payload: list<u8>,
  }

  propose: func(intent: list<u8>, input: list<u8>) -> result<list<proposal>, list<u8>>;
}

world state-apply {
  import state-write;
  export applier;
}

world state-propose {
  export proposer;
}
`;

const NOTE =
  `;; A note that everybody may replace: the payload of an event becomes the note, unless it is empty.
;; Before every event memory and globals are as they are here: nothing is ever freed.
(module
  (import "realm:app/state-write@0.1.0" "put" (func $put (param i32 i32 i32 i32)))
  (memory (export "memory") 2)
  (data (i32.const 16) "note")
  (data (i32.const 32) "the note is empty")
  (global $free (mut i32) (i32.const 64))

  ;; Where the payload is put. One that does not fit rejects its event: no value may be that long.
  (func (export "cabi_realloc") (param $old i32) (param $had i32) (param $align i32) (param $size i32)
    (result i32)
    (local $at i32)
    (local.set $at
      (i32.and
        (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (local.get $at))

  ;; Gives the address of a result<_, list<u8>>: whether it is an error, where the reason is, its length.
  (func (export "realm:app/applier@0.1.0#apply") (param $payload i32) (param $length i32) (result i32)
    (if (i32.eqz (local.get $length))
      (then
        (i32.store (i32.const 0) (i32.const 1))
        (i32.store (i32.const 4) (i32.const 32))
        (i32.store (i32.const 8) (i32.const 17)))
      (else
        (call $put (i32.const 16) (i32.const 4) (local.get $payload) (local.get $length))))
    (i32.const 0)))
`;

const PROPOSE = `;; The one intent is "write": an event of that type, whose payload is the input.
(module
  (memory (export "memory") 8)
  (data (i32.const 32) "unknown intent, wanted write")
  (global $free (mut i32) (i32.const 64))

  ;; Where intent and input are put, after one another.
  (func (export "cabi_realloc") (param $old i32) (param $had i32) (param $align i32) (param $size i32)
    (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (local.get $at))

  (func $is_write (param $name i32) (param $length i32) (result i32)
    (if (i32.ne (local.get $length) (i32.const 5)) (then (return (i32.const 0))))
    (i32.and
      (i32.eq (i32.load align=1 (local.get $name)) (i32.const 0x74697277)) ;; "writ", the last byte first
      (i32.eq (i32.load8_u offset=4 (local.get $name)) (i32.const 0x65))))

  ;; Gives the address of a result<list<proposal>, list<u8>>: that it is no error, where the list is,
  ;; its length. At 16 is its one proposal: address and length of the type, then of the payload.
  (func (export "realm:app/proposer@0.1.0#propose")
    (param $intent i32) (param $named i32) (param $input i32) (param $length i32) (result i32)
    (global.set $free (i32.const 64)) ;; for the next call
    (if (i32.eqz (call $is_write (local.get $intent) (local.get $named)))
      (then
        (i32.store (i32.const 0) (i32.const 1)) ;; an error: where the reason is, its length
        (i32.store (i32.const 4) (i32.const 32))
        (i32.store (i32.const 8) (i32.const 28))
        (return (i32.const 0))))
    (i32.store (i32.const 0) (i32.const 0))
    (i32.store (i32.const 4) (i32.const 16))
    (i32.store (i32.const 8) (i32.const 1))
    (i32.store (i32.const 16) (local.get $intent))
    (i32.store (i32.const 20) (local.get $named))
    (i32.store (i32.const 24) (local.get $input))
    (i32.store (i32.const 28) (local.get $length))
    (i32.const 0)))
`;
