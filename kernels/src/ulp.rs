//! Distance between floats.

/// The number of representable numbers from `a` to `b`; both zeros are one. A NaN
/// is at distance 0 from a NaN and `u32::MAX` from everything else.
pub fn distance(a: f32, b: f32) -> u32 {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => 0,
        (false, false) => {
            u32::try_from((i64::from(ordered(a)) - i64::from(ordered(b))).unsigned_abs()).unwrap_or(u32::MAX)
        }
        _ => u32::MAX,
    }
}

/// An integer that is ordered as the float is.
fn ordered(x: f32) -> i32 {
    let bits = x.to_bits() as i32;
    if bits < 0 { i32::MIN.wrapping_sub(bits) } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance(1.0, 1.0 + f32::EPSILON), 1);
        assert_eq!(distance(0.0, -0.0), 0);
        assert_eq!(distance(-f32::from_bits(1), f32::from_bits(1)), 2);
        assert_eq!(distance(f32::MAX, f32::INFINITY), 1);
        assert_eq!(distance(f32::NEG_INFINITY, f32::INFINITY), 2 * 0x7f80_0000);
        assert_eq!(distance(f32::NAN, -f32::NAN), 0);
        assert_eq!(distance(f32::NAN, 1.0), u32::MAX);
    }
}
