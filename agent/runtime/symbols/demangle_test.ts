import assert from "node:assert/strict";
import fc from "fast-check";
import { demangle } from "./demangle.ts";

const legacy = (...parts: string[]) =>
  `_ZN${parts.map((part) => `${part.length}${part}`).join("")}17h0123456789abcdefE`;

/** What rustc-demangle makes of the symbols in short, and of C++ the qualified name. */
const NAMES: readonly (readonly [string, string])[] = [
  ["_RNvC6_123foo3bar", "123foo::bar"],
  ["_RNCNCNgCs6DXkGYLi8lr_2cc5spawn00B5_", "cc::spawn::{closure#0}::{closure#0}"],
  [
    "_RNCINkXs25_NgCsbmNqQUJIY6D_4core5sliceINyB9_4IterhENuNgNoBb_4iter8iterator8Iterator9rpositionNCNgNpB9_6memchr7memrchrs_0E0Bb_",
    "<core::slice::Iter<u8> as core::iter::iterator::Iterator>::rposition::<core::slice::memchr::memrchr::{closure#1}>::{closure#0}",
  ],
  [
    "_RINbNbCskIICzLVPPb_5alloc5alloc8box_freeDINbNiB4_5boxed5FnBoxuEp6OutputuEL_ECs1iopQbuBiw2_3std",
    "alloc::alloc::box_free::<dyn alloc::boxed::FnBox<(), Output = ()>>",
  ],
  ["_RINtC8arrayvec8ArrayVechKj7b_E", "arrayvec::ArrayVec::<u8, 123>"],
  ["_RMCs4fqI2P2rA04_13const_genericINtB0_8UnsignedKhb_E", "<const_generic::Unsigned<11>>"],
  ["_RMCs4fqI2P2rA04_13const_genericINtB0_6SignedKan98_E", "<const_generic::Signed<-152>>"],
  ["_RMCs4fqI2P2rA04_13const_genericINtB0_4BoolKb1_E", "<const_generic::Bool<true>>"],
  ["_RMCs4fqI2P2rA04_13const_genericINtB0_4CharKc76_E", "<const_generic::Char<'v'>>"],
  ["_RINvC1c1fTReQSmAhj4_PuOzEE", "c::f::<(&str, &mut [u32], [u8; 4], *const (), *mut !)>"],
  ["_RINvC1c1fFUKCmEuFG_RL0_hEuE", "c::f::<unsafe extern \"C\" fn(u32), for<'a> fn(&'a u8)>"],
  [legacy("dbg", "innermost"), "dbg::innermost"],
  [
    legacy("_$LT$crash..Bounds$u20$as$u20$crash..Fail$LT$$RF$u8$GT$$GT$", "fail"),
    "<crash::Bounds as crash::Fail<&u8>>::fail",
  ],
  [
    legacy("std", "rt", "lang_start", "_$u7b$$u7b$closure$u7d$$u7d$"),
    "std::rt::lang_start::{{closure}}",
  ],
  ["_ZN9wikipedia7article6formatEv", "wikipedia::article::format"],
  ["_ZNSt6vectorIiSaIiEE9push_backERKi", "std::vector<…>::push_back"],
  ["_ZNK3Foo3BarIXadL_Z1fvEELi3EN1a1bEE3getEv", "Foo::Bar<…>::get"],
  ["_ZN3FooC1Ev", "Foo::Foo"],
  ["_ZN3FooIiED2Ev", "Foo<…>::~Foo"],
  ["_Z3addii", "add"],
  ["_ZSt4sortIPiEvT_S1_", "std::sort<…>"],
  ["_ZN12_GLOBAL__N_13fooEv", "(anonymous namespace)::foo"],
];

Deno.test("demangle() reads symbols of Rust and C++", () => {
  for (const [symbol, name] of NAMES) {
    assert.equal(demangle(symbol), name);
  }
});

Deno.test("demangle() leaves what it does not understand", () => {
  const kept = [
    "main",
    "_start",
    "wasi:cli/run@0.2.0#run",
    "_R",
    "_RNvC3",
    "_ZNK1aplERKS_",
    "_Z",
    "",
  ];
  for (const symbol of kept) assert.equal(demangle(symbol), symbol);
});

Deno.test("demangle() is bounded and never throws", () => {
  // Each back reference doubles the name.
  let bomb = "_RNvC1aTT";
  for (let i = 0; i < 60; i++) bomb += "TB7_B7_E";
  assert.ok(demangle(bomb).length <= 4096);
  const pieces = [..."_RZNCMXYIBTDFGLKEAQSPOusp0123456789hjab", "_R", "_ZN", "17h", "$LT$", "B_"];
  fc.assert(fc.property(
    fc.tuple(fc.constantFrom("_R", "_ZN", "_Z"), fc.array(fc.constantFrom(...pieces))),
    ([head, rest]) => {
      assert.ok(demangle(head + rest.join("")).length <= 4096);
    },
  ));
});
