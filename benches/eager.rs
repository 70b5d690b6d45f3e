//! Burn programs whose ops are read at once, or never come again: what recording them costs.
//!
//! ```text
//! cargo bench --bench eager
//! ```
//!
//! Three ways take turns, each in a process of its own, so that none meets what another has compiled: bare `Flex`,
//! `BgzFusion<Flex>`, and the floor, which is burn-fusion with a fuser that takes nothing (`BGZ_TRACE=off`).
//! `one op`: `exp` of 16 numbers and the read of its result, over and over. `one model`: a linear layer, GELU and softmax
//! of 4 rows, read each time. `ever new N`: 10,000 programs of 2 to 8 ops on N x N numbers, no two alike, each read once.
//! Times are medians of the rounds, in microseconds an iteration.

use bgz_fusion::{BgzFusion, Flex};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData, activation};
use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

const WAYS: [&str; 3] = ["flex", "floor", "bgz-flex"];
const CASES: [&str; 5] = ["one op", "one model", "ever new 16", "ever new 64", "ever new 128"];
const ROUNDS: usize = 7;
const PROGRAMS: u64 = 10_000;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().position(|a| a == "--way").and_then(|i| args.get(i + 1)).map(String::as_str) {
        Some("flex") => measure::<Flex>(),
        Some(_) => measure::<BgzFusion<Flex>>(),
        None => compare(),
    }
}

/// Runs each way in turn and prints medians.
fn compare() {
    let exe = std::env::current_exe().expect("a program knows itself");
    let mut times = vec![vec![Vec::new(); CASES.len()]; WAYS.len()];
    for _ in 0..ROUNDS {
        for (way, times) in WAYS.iter().zip(&mut times) {
            let mut command = Command::new(&exe);
            command.args(["--way", way]).env("BGZ_TRACE", if *way == "floor" { "off" } else { "on" });
            let out = command.output().expect("it starts again");
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            for (times, us) in times.iter_mut().zip(String::from_utf8_lossy(&out.stdout).split_whitespace()) {
                times.push(us.parse::<f64>().expect("a number"));
            }
        }
    }
    let median = |times: &[f64]| {
        let mut sorted = times.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    println!("{:<12}{:>10}{:>10}{:>10}{:>16}{:>14}", "us", WAYS[0], WAYS[1], WAYS[2], "over the floor", "over flex");
    for (case, name) in CASES.iter().enumerate() {
        let [flex, floor, ours] = [0, 1, 2].map(|way| median(&times[way][case]));
        println!("{name:<12}{flex:>10.2}{floor:>10.2}{ours:>10.2}{:>13.2} us{:>12.2} x", ours - floor, ours / flex);
    }
}

/// Prints the times of one way, in microseconds.
fn measure<B: Backend>() {
    let ever_new = [16, 64, 128].map(ever_new::<B>).map(|us| us.to_string()).join(" ");
    println!("{} {} {ever_new}", one_op::<B>(), one_model::<B>());
}

fn us(start: Instant, iterations: u64) -> f64 {
    start.elapsed().as_secs_f64() * 1e6 / iterations as f64
}

/// The median of batches, each of so many iterations.
fn median_of(batches: usize, iterations: u64, mut run: impl FnMut()) -> f64 {
    (0..iterations).for_each(|_| run());
    let mut times: Vec<f64> = (0..batches)
        .map(|_| {
            let start = Instant::now();
            (0..iterations).for_each(|_| run());
            us(start, iterations)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[batches / 2]
}

fn one_op<B: Backend>() -> f64 {
    let device = B::Device::default();
    let x = Tensor::<B, 1>::from_data(TensorData::new(numbers(1, 16), [16]), &device);
    median_of(21, 500, || drop(black_box(x.clone().exp().into_data())))
}

fn one_model<B: Backend>() -> f64 {
    let device = B::Device::default();
    let tensor = |seed, shape: [usize; 2]| {
        Tensor::<B, 2>::from_data(TensorData::new(numbers(seed, shape[0] * shape[1]), shape), &device)
    };
    let (w, b) = (tensor(1, [32, 32]), tensor(2, [1, 32]));
    let x = TensorData::new(numbers(3, 128), [4, 32]);
    median_of(21, 100, || {
        let x = Tensor::<B, 2>::from_data(x.clone(), &device);
        let y = activation::softmax(activation::gelu(x.matmul(w.clone()) + b.clone()), 1);
        drop(black_box(y.into_data()));
    })
}

/// Every program is another one: its ops are the digits of its number, scrambled. Other sizes have programs of their own.
fn ever_new<B: Backend>(n: usize) -> f64 {
    let device = B::Device::default();
    let data = |seed| TensorData::new(numbers(seed, n * n), [n, n]);
    let (x, y) = (Tensor::<B, 2>::from_data(data(1), &device), Tensor::<B, 2>::from_data(data(2), &device));
    let start = Instant::now();
    for program in 0..PROGRAMS {
        let mut z = x.clone();
        let mut digits = program * 7919 + n as u64;
        while digits > 0 {
            z = match digits % 10 {
                0 => z + y.clone(),
                1 => z * y.clone(),
                2 => z.tanh(),
                3 => z.abs(),
                4 => z.clone() - z.mean_dim(1),
                5 => z.matmul(y.clone()),
                6 => z.transpose(),
                7 => activation::softmax(z, 1),
                8 => z.clamp(-2.0, 2.0),
                _ => z + 0.5,
            };
            digits /= 10;
        }
        drop(black_box(z.into_data()));
    }
    us(start, PROGRAMS)
}

fn numbers(seed: u64, n: usize) -> Vec<f32> {
    (0..n as u64).map(|i| ((i * 7919 + seed * 104_729) % 4001) as f32 / 2000.0 - 1.0).collect()
}
