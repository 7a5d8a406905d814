//! Nine kernels: see README.md. Each does `rounds` rounds in one call.

use core::cell::UnsafeCell;
use core::hint::black_box;

/// Memory of one kernel; nothing here runs at the same time as anything else.
struct Buffer<T>(UnsafeCell<T>);

unsafe impl<T> Sync for Buffer<T> {}

impl<T> Buffer<T> {
    #[allow(clippy::mut_from_ref)]
    fn get(&self) -> &mut T {
        unsafe { &mut *self.0.get() }
    }
}

macro_rules! buffer {
    ($t:ty, $zero:expr) => {{
        static BUFFER: Buffer<$t> = Buffer(UnsafeCell::new($zero));
        BUFFER.get()
    }};
}

/// Numerical Recipes' generator: fast, and good enough for data to work on.
fn next(seed: &mut u32) -> u32 {
    *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    *seed
}

#[rustfmt::skip]
const K: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

/// FIPS 180-4, without the padding of the last block.
fn compress(state: &mut [u32; 8], block: &[u8]) {
    let mut w = [0u32; 64];
    for (word, bytes) in w.iter_mut().zip(block.chunks_exact(4)) {
        *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    for i in 16..64 {
        let a = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ (w[i - 15] >> 3);
        let b = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ (w[i - 2] >> 10);
        w[i] = w[i - 16].wrapping_add(a).wrapping_add(w[i - 7]).wrapping_add(b);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for i in 0..64 {
        let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let t1 = h
            .wrapping_add(s1)
            .wrapping_add((e & f) ^ (!e & g))
            .wrapping_add(K[i])
            .wrapping_add(w[i]);
        let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let t2 = s0.wrapping_add((a & b) ^ (a & c) ^ (b & c));
        (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
    }
    for (s, v) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *s = s.wrapping_add(v);
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn sha256(rounds: u32) -> u32 {
    let data = buffer!([u8; 65_536], [0; 65_536]);
    let mut state = [
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab,
        0x5be0cd19,
    ];
    for round in 0..rounds {
        data[0] = round as u8;
        for block in black_box(&*data).chunks_exact(64) {
            compress(&mut state, block);
        }
    }
    state[0]
}

#[unsafe(no_mangle)]
pub extern "C" fn sieve(rounds: u32) -> u32 {
    const N: usize = 200_000;
    let composite = buffer!([bool; N], [false; N]);
    let mut sum = 0u32;
    for _ in 0..rounds {
        black_box(&mut *composite).fill(false);
        let mut i = 2;
        while i * i < N {
            if !composite[i] {
                let mut j = i * i;
                while j < N {
                    composite[j] = true;
                    j += i;
                }
            }
            i += 1;
        }
        for (i, &c) in composite.iter().enumerate().skip(2) {
            if !c {
                sum = sum.wrapping_add(i as u32);
            }
        }
    }
    sum
}

fn sort(v: &mut [u32]) {
    if v.len() <= 12 {
        for i in 1..v.len() {
            let x = v[i];
            let mut j = i;
            while j > 0 && v[j - 1] > x {
                v[j] = v[j - 1];
                j -= 1;
            }
            v[j] = x;
        }
        return;
    }
    let pivot = v[v.len() / 2];
    let (mut i, mut j) = (0, v.len() - 1);
    loop {
        while v[i] < pivot {
            i += 1;
        }
        while v[j] > pivot {
            j -= 1;
        }
        if i >= j {
            break;
        }
        v.swap(i, j);
        i += 1;
        j -= 1;
    }
    let (low, high) = v.split_at_mut(i);
    sort(low);
    sort(high);
}

#[unsafe(no_mangle)]
pub extern "C" fn quicksort(rounds: u32) -> u32 {
    const N: usize = 8192;
    let v = buffer!([u32; N], [0; N]);
    let (mut seed, mut sum) = (1, 0u32);
    for _ in 0..rounds {
        for x in v.iter_mut() {
            *x = next(&mut seed);
        }
        sort(black_box(&mut *v));
        sum = sum.wrapping_mul(31).wrapping_add(v[N / 3]);
        if v.windows(2).any(|w| w[0] > w[1]) {
            core::arch::wasm32::unreachable();
        }
    }
    sum
}

#[unsafe(no_mangle)]
pub extern "C" fn matmul(rounds: u32) -> u32 {
    const N: usize = 64;
    let a = buffer!([f64; N * N], [0.0; N * N]);
    let b = buffer!([f64; N * N], [0.0; N * N]);
    let c = buffer!([f64; N * N], [0.0; N * N]);
    let mut seed = 1;
    for (x, y) in a.iter_mut().zip(b.iter_mut()) {
        *x = f64::from(next(&mut seed) >> 16) / 65_536.0;
        *y = f64::from(next(&mut seed) >> 16) / 65_536.0;
    }
    let mut sum = 0u32;
    for round in 0..rounds {
        a[0] = f64::from(round);
        let (a, b) = (black_box(&*a), black_box(&*b));
        for i in 0..N {
            for j in 0..N {
                let mut dot = 0.0;
                for k in 0..N {
                    dot += a[i * N + k] * b[k * N + j];
                }
                c[i * N + j] = dot;
            }
        }
        sum = sum.wrapping_mul(31).wrapping_add(c[(round as usize * 97) % (N * N)] as u32);
    }
    sum
}

fn fibonacci(n: u32) -> u32 {
    if n < 2 { n } else { fibonacci(n - 1).wrapping_add(fibonacci(n - 2)) }
}

#[unsafe(no_mangle)]
pub extern "C" fn fib(rounds: u32) -> u32 {
    (0..rounds).fold(0u32, |sum, _| sum.wrapping_mul(31).wrapping_add(fibonacci(black_box(24))))
}

/// A recursive-descent parser that checks JSON and folds what it saw into a hash.
struct Json<'a> {
    text: &'a [u8],
    at: usize,
    hash: u32,
}

impl Json<'_> {
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    fn fold(&mut self, value: u32) {
        self.hash = (self.hash ^ value).wrapping_mul(16_777_619);
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\t' | b'\r') {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            match self.peek() {
                b'"' => break,
                0 => return None,
                b'\\' => self.at += 1,
                _ => {}
            }
            self.fold(u32::from(self.peek()));
            self.at += 1;
        }
        self.at += 1;
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        let (mut value, mut scale) = (0.0f64, 0.0f64);
        let negative = self.peek() == b'-';
        self.at += usize::from(negative);
        loop {
            match self.peek() {
                digit @ b'0'..=b'9' => {
                    value = value * 10.0 + f64::from(digit - b'0');
                    scale *= 10.0;
                }
                b'.' if scale == 0.0 => scale = 1.0,
                _ => break,
            }
            self.at += 1;
        }
        let value = if scale > 0.0 { value / scale } else { value };
        self.fold((if negative { -value } else { value }).to_bits() as u32);
        Some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        if !self.text[self.at..].starts_with(word) {
            return None;
        }
        self.at += word.len();
        self.fold(word.len() as u32);
        Some(())
    }

    fn value(&mut self) -> Option<()> {
        self.space();
        match self.peek() {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            open @ (b'{' | b'[') => {
                let close = open + 2;
                self.at += 1;
                self.space();
                while self.peek() != close {
                    if open == b'{' {
                        self.string()?;
                        self.space();
                        self.word(b":")?;
                    }
                    self.value()?;
                    self.space();
                    if self.peek() == b',' {
                        self.at += 1;
                        self.space();
                    }
                }
                self.at += 1;
                Some(())
            }
            _ => None,
        }
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn json(rounds: u32) -> u32 {
    const RECORD: &[u8] = br#"  {"id": 48151, "name": "Lovelace, \"Ada\"", "tags": ["first", "notes"], "born": -1815.125,
    "address": {"street": "12 St James's Square", "city": "London", "flat": null}, "active": true},
"#;
    const N: usize = 16_384;
    let text = buffer!([u8; N], [0; N]);
    text.fill(b' ');
    text[0] = b'[';
    let records = (N - 2) / RECORD.len();
    for (i, part) in text[1..].chunks_exact_mut(RECORD.len()).enumerate() {
        if i < records {
            part.copy_from_slice(RECORD);
        }
    }
    text[N - 1] = b']';
    let mut hash = 0;
    for _ in 0..rounds {
        let mut json = Json { text: black_box(&*text), at: 0, hash };
        if json.value().is_none() || json.at != N {
            core::arch::wasm32::unreachable();
        }
        hash = json.hash;
    }
    hash
}

#[unsafe(no_mangle)]
pub extern "C" fn memcpy(rounds: u32) -> u32 {
    const N: usize = 65_536;
    let from = buffer!([u8; N], [0; N]);
    let to = buffer!([u8; N], [0; N]);
    let mut sum = 0u32;
    for round in 0..rounds {
        from[0] = round as u8;
        // As many bytes in pieces of each size, so that short copies are most of the calls.
        for shift in [6, 8, 10, 12, 14, 16] {
            let size = 1usize << shift;
            for _ in 0..3 {
                for (to, from) in to.chunks_exact_mut(size).zip(from.chunks_exact(size)) {
                    black_box(to).copy_from_slice(black_box(from));
                }
            }
        }
        sum = sum.wrapping_add(u32::from(to[0])).wrapping_add(u32::from(to[N - 1]));
    }
    sum
}

/// A machine with a stack of eight, whose instructions are functions in a table.
struct Machine {
    stack: [u32; 8],
    top: usize,
    pc: usize,
}

type Instruction = fn(&mut Machine, u32);

impl Machine {
    fn push(&mut self, value: u32) {
        self.top = (self.top + 1) & 7;
        self.stack[self.top] = value;
    }

    fn pop(&mut self) -> u32 {
        let value = self.stack[self.top];
        self.top = (self.top + 7) & 7;
        value
    }
}

const TABLE: [Instruction; 8] = [
    |m, x| m.push(x),
    |m, _| {
        let (a, b) = (m.pop(), m.pop());
        m.push(a.wrapping_add(b));
    },
    |m, _| {
        let (a, b) = (m.pop(), m.pop());
        m.push(a.wrapping_mul(b | 1));
    },
    |m, _| {
        let (a, b) = (m.pop(), m.pop());
        m.push(a ^ b.rotate_left(7));
    },
    |m, _| {
        let a = m.stack[m.top];
        m.push(a);
    },
    |m, x| {
        let a = m.pop();
        m.push(a >> (x & 15));
    },
    |m, x| {
        if m.stack[m.top] & 1 == 0 {
            m.pc += x as usize & 3;
        }
    },
    |m, _| m.stack.swap(0, 5),
];

#[unsafe(no_mangle)]
pub extern "C" fn dispatch(rounds: u32) -> u32 {
    const N: usize = 256;
    let program = buffer!([(u8, u32); N], [(0, 0); N]);
    let mut seed = 1;
    for (op, operand) in program.iter_mut() {
        *op = (next(&mut seed) >> 24) as u8 & 7;
        *operand = next(&mut seed) >> 8;
    }
    let mut machine = Machine { stack: [1; 8], top: 0, pc: 0 };
    for _ in 0..rounds {
        let table = black_box(&TABLE);
        for _ in 0..100_000 {
            let (op, operand) = program[machine.pc % N];
            machine.pc += 1;
            table[usize::from(op)](&mut machine, operand);
        }
    }
    machine.stack.iter().fold(machine.pc as u32, |hash, x| hash.wrapping_mul(31) ^ x)
}

/// A body of the solar system: position, velocity and mass.
#[derive(Clone, Copy)]
struct Body {
    at: [f64; 3],
    speed: [f64; 3],
    mass: f64,
}

#[unsafe(no_mangle)]
pub extern "C" fn nbody(rounds: u32) -> u32 {
    const N: usize = 5;
    let mut seed = 1;
    let mut number = || f64::from(next(&mut seed) >> 16) / 65_536.0;
    let mut bodies = [Body { at: [0.0; 3], speed: [0.0; 3], mass: 0.0 }; N];
    for (i, body) in bodies.iter_mut().enumerate() {
        for k in 0..3 {
            body.at[k] = number() + 3.0 * i as f64;
            body.speed[k] = number() / 100.0;
        }
        body.mass = number() / 1000.0;
    }
    let step = 0.001;
    for _ in 0..rounds {
        for _ in 0..1000 {
            for i in 0..N {
                let (done, rest) = bodies.split_at_mut(i + 1);
                let a = &mut done[i];
                for b in rest {
                    let mut apart = [0.0; 3];
                    for k in 0..3 {
                        apart[k] = a.at[k] - b.at[k];
                    }
                    let square = apart.iter().map(|x| x * x).sum::<f64>() + 0.01;
                    let pull = step / (square * square);
                    for k in 0..3 {
                        a.speed[k] -= apart[k] * b.mass * pull;
                        b.speed[k] += apart[k] * a.mass * pull;
                    }
                }
            }
            for body in &mut bodies {
                for k in 0..3 {
                    body.at[k] += step * body.speed[k];
                }
            }
        }
    }
    bodies.iter().fold(0u32, |hash, body| hash.wrapping_mul(31) ^ (body.at[0] * 1e6) as i64 as u32)
}
