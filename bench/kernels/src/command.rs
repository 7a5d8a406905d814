//! The kernels as a command: `command KERNEL ROUNDS` does all rounds in one call and prints what it
//! returned.

mod kernels;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let kernel = match args[1].as_str() {
        "sha256" => kernels::sha256,
        "sieve" => kernels::sieve,
        "quicksort" => kernels::quicksort,
        "matmul" => kernels::matmul,
        "fib" => kernels::fib,
        "json" => kernels::json,
        "memcpy" => kernels::memcpy,
        "dispatch" => kernels::dispatch,
        "nbody" => kernels::nbody,
        other => panic!("no kernel is called {other}"),
    };
    println!("{}", kernel(args[2].parse().unwrap()) as i32);
}
