//! Pooling, convolutions in groups and resizing, images channels last unless said otherwise.
//!
//! ```text
//! cargo bench -p bgz-kernels --bench windows                     # all threads
//! RAYON_NUM_THREADS=1 cargo bench -p bgz-kernels --bench windows -- depthwise
//! BGZ_ISA=avx2 cargo bench -p bgz-kernels --bench windows
//! ```
//!
//! Throughput is bytes of the image and of the result, each once, or for convolutions operations, of which an element of a
//! filter is two.

use bgz_kernels::conv::{Channels, Grouped};
use bgz_kernels::pool::{Kind, Pool};
use bgz_kernels::resize::Resize;
use bgz_kernels::window::{Axis, Geometry};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 7919 % 1009) as f32 / 1000.0 - 0.5).collect()
}

/// A square window over a square image, as much padding as keeps `extent / stride` windows.
fn square(extent: usize, kernel: usize, stride: usize) -> Geometry {
    let before = (kernel - 1) / 2;
    let axis = Axis { extent, windows: extent.div_ceil(stride), kernel, stride, dilation: 1, before, after: before };
    Geometry::new(&[axis, axis]).expect("a window that fits")
}

fn bytes(elements: usize) -> Throughput {
    Throughput::Bytes((elements * size_of::<f32>()) as u64)
}

fn pools(c: &mut Criterion) {
    let mut group = c.benchmark_group("pool");
    // Channels first there are as many images of one channel.
    for (name, images, channels) in [("channels last", 1, 64), ("channels first", 64, 1)] {
        for (kernel, stride) in [(3, 2), (3, 1), (2, 2)] {
            let geometry = square(112, kernel, stride);
            let x = numbers(images * geometry.positions() * channels);
            let mut out = vec![0.0; images * geometry.windows() * channels];
            group.throughput(bytes(x.len() + out.len()));
            for (what, kind) in [("max", Kind::Max), ("mean", Kind::Average { count_pads: false })] {
                let pool = Pool::new(geometry.clone(), channels, kind);
                group.bench_function(format!("{what} {kernel}x{kernel} stride {stride}, 112x112x64 {name}"), |b| {
                    b.iter(|| pool.run(black_box(&x), black_box(&mut out)).expect("lengths that fit"));
                });
            }
        }
    }
}

fn convolutions(c: &mut Criterion) {
    let mut group = c.benchmark_group("depthwise");
    for (extent, kernel, stride, channels) in [(56, 3, 1, 144), (112, 3, 2, 96), (28, 5, 1, 240), (7, 3, 1, 960)] {
        let name = format!("{kernel}x{kernel} stride {stride}, {extent}x{extent}x{channels}");
        convolution(&mut group, name, square(extent, kernel, stride), [channels, channels]);
    }
    group.finish();
    let mut group = c.benchmark_group("groups");
    for (extent, groups, channels) in [(56, 32, 128), (28, 32, 256), (14, 32, 512), (28, 4, 256)] {
        let name = format!("{groups} of 3x3, {extent}x{extent}x{channels}");
        convolution(&mut group, name, square(extent, 3, 1), [groups, channels]);
    }
}

fn convolution(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: String,
    geometry: Geometry,
    [groups, channels]: [usize; 2],
) {
    let taps = geometry.taps().expect("few taps");
    let (x, w) = (numbers(geometry.positions() * channels), numbers(channels * channels / groups * taps));
    let (bias, mut out) = (numbers(channels), vec![0.0; geometry.windows() * channels]);
    group.throughput(Throughput::Elements((2 * out.len() * channels / groups * taps) as u64));
    let channels = Channels { groups, input: channels, output: channels };
    let conv = Grouped::new(geometry, channels, &w).expect("weights that fit");
    group.bench_function(name, |b| {
        b.iter(|| conv.run(black_box(&x), Some(&bias), black_box(&mut out)).expect("lengths that fit"));
    });
}

fn resizes(c: &mut Criterion) {
    let mut group = c.benchmark_group("resize");
    let taps = |i: usize| {
        let place = (i as f64 + 0.5) / 2.0 - 0.5;
        let (at, t) = (place.floor(), place - place.floor());
        let inside = |p: f64| p.clamp(0.0, 63.0) as usize;
        vec![(inside(at), 1.0 - t), (inside(at + 1.0), t)]
    };
    let nearest = |i: usize| vec![(i / 2, 1.0)];
    let x = numbers(64 * 64 * 64);
    let (mut wide, mut out) = (vec![0.0; 64 * 128 * 64], vec![0.0; 128 * 128 * 64]);
    let make = |inner, linear| {
        let made = if linear { Resize::new(64, 128, inner, taps) } else { Resize::new(64, 128, inner, nearest) };
        made.expect("entries that there are")
    };
    group.throughput(bytes(x.len() + out.len()));
    for (name, linear) in [("linear", true), ("nearest", false)] {
        // Lines, then columns, of 64 channels; or of 64 images.
        for (order, inner) in [("last", [64 * 64, 64]), ("first", [64, 1])] {
            let [lines, columns] = inner.map(|n| make(n, linear));
            group.bench_function(format!("{name} x2, 64x64x64 channels {order}"), |b| {
                b.iter(|| {
                    lines.run(black_box(&x), &mut wide).expect("lengths that fit");
                    columns.run(&wide, black_box(&mut out)).expect("lengths that fit");
                });
            });
        }
    }
}

fn short() -> Criterion {
    let second = std::time::Duration::from_millis(1000);
    Criterion::default().sample_size(20).warm_up_time(second / 2).measurement_time(second).without_plots()
}

criterion_group! { name = benches; config = short(); targets = pools, convolutions, resizes }
criterion_main!(benches);
