//! A Burn model on Flex, and the same on `BgzFusion<Flex>`: what it was rewritten to, its time, and how far results differ.
//!
//! ```sh
//! cargo run --release -p bgz-models --example burn_model
//! ```

use bgz_fusion::{BgzFusion, Flex, trace};
use bgz_models::decoder::{CharLm, CharLmConfig, token_tensor};
use burn::tensor::backend::Backend;
use std::error::Error;
use std::time::{Duration, Instant};

/// Runs that are timed, the median of which counts.
const RUNS: usize = 30;

/// The default model on a backend.
fn model<B: Backend>(bytes: &[u8]) -> Result<CharLm<B>, Box<dyn Error>> {
    Ok(bgz_models::import::from_bytes::<B>(&CharLmConfig::default(), bytes, &B::Device::default())?)
}

fn logits<B: Backend>(model: &CharLm<B>, tokens: &[u8]) -> Result<Vec<f32>, Box<dyn Error>> {
    let tokens = token_tensor(tokens, [1, tokens.len()], &B::Device::default());
    model.forward(tokens).into_data().to_vec().map_err(|e| format!("{e:?}").into())
}

/// The median of the times of runs by turns.
fn by_turns(runs: &mut [&mut dyn FnMut() -> Result<(), Box<dyn Error>>]) -> Result<Vec<Duration>, Box<dyn Error>> {
    let mut times = vec![Vec::new(); runs.len()];
    for _ in 0..RUNS {
        for (run, times) in runs.iter_mut().zip(&mut times) {
            let start = Instant::now();
            run()?;
            times.push(start.elapsed());
        }
    }
    let median = |mut t: Vec<Duration>| {
        t.sort_unstable();
        t[t.len() / 2]
    };
    Ok(times.into_iter().map(median).collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    let bytes = std::fs::read(bgz_models::default_model())?;
    let (plain, fused) = (model::<Flex>(&bytes)?, model::<BgzFusion<Flex>>(&bytes)?);
    for n in [16, 64, 256] {
        let tokens: Vec<u8> = (0..n).map(|i| (i * 31 % 90) as u8).collect();
        let want = logits(&plain, &tokens)?;
        // A trace that is met for the first time and has little to do runs as recorded.
        logits(&fused, &tokens)?;
        let (got, seen) = trace::capture(|| logits(&fused, &tokens));
        let difference = want.iter().zip(&got?).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let ops = |text: &str| text.lines().filter(|l| l.trim_start().starts_with('%')).count();
        let count = |of: fn(&trace::Region) -> &str| seen.regions.iter().map(|r| ops(of(r))).sum::<usize>();
        let times =
            by_turns(&mut [&mut || logits(&plain, &tokens).map(drop), &mut || logits(&fused, &tokens).map(drop)])?;
        let ms = |t: Duration| t.as_secs_f64() * 1e3;
        println!(
            "{n:3} tokens: {} ops as recorded, {} rewritten; Flex {:.3} ms, BgzFusion<Flex> {:.3} ms, {:.1} times the speed; maximum difference {difference:.1e}",
            count(|r| &r.before),
            count(|r| &r.after),
            ms(times[0]),
            ms(times[1]),
            ms(times[0]) / ms(times[1]),
        );
    }
    Ok(())
}
