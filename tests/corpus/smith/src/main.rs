//! Writes modules of wasm-smith, or mutations of a module by wasm-mutate, to standard output: each
//! behind its length (four bytes, little endian).
//!
//! usage: smith generate COUNT SEED | smith mutate FILE COUNT SEED ROUNDS
use std::io::Write;
use wasm_smith::{Config, Module};

/// splitmix64: bytes for the generator.
struct Dice(u64);
impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.next() % n == 0
    }
}

fn config(dice: &mut Dice) -> Config {
    Config {
        allow_start_export: true,
        bulk_memory_enabled: true,
        canonicalize_nans: true,
        disallow_traps: !dice.one_in(4),
        exceptions_enabled: dice.one_in(2),
        export_everything: true,
        // Struct and array types are refused; now and then that is what is tried.
        gc_enabled: dice.one_in(10),
        compact_imports_enabled: false,
        generate_custom_sections: dice.one_in(8),
        max_imports: if dice.one_in(3) { 6 } else { 0 },
        max_funcs: 12,
        min_funcs: 1,
        max_instructions: if dice.one_in(4) { 2000 } else { 300 },
        max_memories: 3,
        max_memory32_bytes: 1 << 20,
        memory_max_size_required: true,
        max_tables: 4,
        max_table_elements: 1000,
        table_max_size_required: true,
        max_nesting_depth: 12,
        max_type_size: 100,
        memory64_enabled: dice.one_in(40),
        relaxed_simd_enabled: false,
        simd_enabled: dice.one_in(2),
        tail_call_enabled: true,
        threads_enabled: dice.one_in(40),
        wide_arithmetic_enabled: false,
        min_uleb_size: if dice.one_in(4) { 1 + (dice.next() % 5) as u8 } else { 1 },
        ..Config::default()
    }
}

fn put(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    out.write_all(&(bytes.len() as u32).to_le_bytes()).unwrap();
    out.write_all(bytes).unwrap();
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |i: usize| args[i].parse::<u64>().expect("a number");
    if args[1] == "generate" {
        let (count, seed) = (number(2), number(3));
        let mut written = 0;
        let mut at = seed << 20;
        while written < count {
            at += 1;
            let mut dice = Dice(at);
            let length = 256 << (dice.next() % 5);
            let raw: Vec<u8> = (0..length).flat_map(|_| dice.next().to_le_bytes()).collect();
            let config = config(&mut dice);
            let mut u = arbitrary::Unstructured::new(&raw);
            let Ok(mut module) = Module::new(config, &mut u) else { continue };
            let Ok(_) = module.ensure_termination(1000) else { continue };
            put(&module.to_bytes());
            written += 1;
        }
        return;
    }
    let (count, seed, rounds) = (number(3), number(4), number(5));
    let source = std::fs::read(&args[2]).expect("a file");
    let mut written = 0;
    let mut at = seed << 20;
    let mut tries = 0;
    while written < count && tries < 20 * count {
        tries += 1;
        let mut wasm = source.clone();
        let mut changed = 0;
        for _ in 0..rounds {
            at += 1;
            let mut mutate = wasm_mutate::WasmMutate::default();
            mutate.seed(at).fuel(300).preserve_semantics(false);
            let next = match mutate.run(&wasm) {
                Ok(mut all) => all.next().and_then(|r| r.ok()),
                Err(_) => None,
            };
            if let Some(next) = next {
                wasm = next;
                changed += 1;
            }
        }
        if changed > 0 && wasm.len() < 2 * source.len() && wasmparser::validate(&wasm).is_ok() {
            put(&wasm);
            written += 1;
        }
    }
}
