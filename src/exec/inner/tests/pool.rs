//! Pooling of what is not f32.

use super::windows::{EXTENTS, Window, op_of, pool, product, windows};
use super::*;
use bgz_passes::ir::Attr;

both!(poolings_of_bytes);
fn poolings_of_bytes<B: Backend>() {
    for n in 1..=3 {
        for w in windows(n) {
            for (dtype, low) in [(DType::I8, -128.0), (DType::U8, 0.0)] {
                let shape = [&[2, 3], &EXTENTS[..n]].concat();
                let v: Vec<f64> = (0..product(&shape)).map(|i| low + (i * 97 % 256) as f64).collect();
                let x = Tensor::f64s(dtype, shape, &v).unwrap();
                let expected = pool(&w, &x, false, None);
                expect_to::<B>(&op_of("max_pool", &w.attrs()), std::slice::from_ref(&x), &[expected], 0.0);
            }
        }
    }
    // Other integers have none, and averages are of floats.
    let attrs = Window::new(&[2, 2]).attrs();
    let none = [("max_pool", DType::I32), ("max_pool", DType::I64), ("average_pool", DType::U8), ("conv", DType::I8)];
    for (name, dtype) in none {
        let x = random(dtype, &[1, 1, 3, 3], 1);
        let operands = if name == "conv" { vec![x.clone(), x] } else { vec![x] };
        let e = on::<B>(&op_of(name, &attrs), &operands, &[Type::new(dtype, [1, 1, 2, 2])]).unwrap_err();
        assert_eq!(e.to_string(), format!("{name}: not defined for {dtype}"));
    }
}

/// Sums of a window that f16 cannot hold, or only to a few digits.
#[test]
fn averages_of_large_halves() {
    let v: Vec<f64> = (0..64 * 64).map(|i| 6e4 - (i % 7) as f64 * 32.0).collect();
    for (dtype, tolerance) in [(DType::F16, 1e-3), (DType::BF16, 8e-3), (DType::F64, 1e-12)] {
        let x = Tensor::f64s(dtype, [1, 1, 64, 64], &v).unwrap();
        for w in [Window::new(&[32, 32]), Window::new(&[5, 5]).pads(&[2, 1, 0, 2])] {
            for count in [false, true] {
                let mut attrs = w.attrs();
                attrs.push(("count_include_pad", Attr::Bool(count)));
                let expected = pool(&w, &x, false, Some(count));
                expect_to::<Flex>(&op_of("average_pool", &attrs), std::slice::from_ref(&x), &[expected], tolerance);
            }
        }
    }
}
