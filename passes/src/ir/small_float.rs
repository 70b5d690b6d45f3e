//! Floats of a byte or less, as the bits that stand for them.

/// A float format of at most eight bits, in the low ones of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmallFloat {
    /// Bits behind the point.
    mantissa: u32,
    /// Exponent of the smallest normal number.
    least: i32,
    /// Code of the largest finite number.
    largest: u8,
    /// Code of an infinity, where there is one.
    infinity: Option<u8>,
    nan: Nan,
    /// The bit of the sign, 0 where there are no negative numbers.
    sign: u8,
}

/// How a format says that something is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nan {
    /// This code, and all above it, of either sign.
    From(u8),
    /// The code that would else be -0.
    MinusZero,
    /// Not at all.
    Never,
}

const fn format(mantissa: u32, least: i32, largest: u8, infinity: Option<u8>, nan: Nan, sign: u8) -> SmallFloat {
    SmallFloat { mantissa, least, largest, infinity, nan, sign }
}

impl SmallFloat {
    /// Four bits of exponent, three of mantissa, no infinities.
    pub const E4M3FN: Self = format(3, -6, 0x7e, None, Nan::From(0x7f), 0x80);
    /// The same with neither infinities nor -0.
    pub const E4M3FNUZ: Self = format(3, -7, 0x7f, None, Nan::MinusZero, 0x80);
    /// Five bits of exponent, two of mantissa: the upper half of an f16.
    pub const E5M2: Self = format(2, -14, 0x7b, Some(0x7c), Nan::From(0x7d), 0x80);
    /// The same with neither infinities nor -0.
    pub const E5M2FNUZ: Self = format(2, -15, 0x7f, None, Nan::MinusZero, 0x80);
    /// Powers of two, from 2^-127 to 2^127.
    pub const E8M0: Self = format(0, -127, 0xfe, None, Nan::From(0xff), 0);
    /// Six bits with neither infinities nor NaN.
    pub const E2M3: Self = format(3, 0, 0x1f, None, Nan::Never, 0x20);
    /// Six bits with neither infinities nor NaN.
    pub const E3M2: Self = format(2, -2, 0x1f, None, Nan::Never, 0x20);
    /// Four bits with neither infinities nor NaN.
    pub const E2M1: Self = format(1, 0, 0x7, None, Nan::Never, 0x8);

    /// The greatest finite number.
    pub fn largest(self) -> f32 {
        self.decode(self.largest)
    }

    /// The smallest number, where there is neither 0 nor a sign.
    pub fn smallest(self) -> Option<f32> {
        (self.sign == 0).then(|| self.decode(0))
    }

    /// The number that a code stands for; bits above those of the format do not count.
    pub fn decode(self, code: u8) -> f32 {
        let magnitude = if self.sign == 0 { code } else { code & (self.sign - 1) };
        let negative = code & self.sign != 0;
        let is_nan = match self.nan {
            Nan::From(first) => magnitude >= first,
            Nan::MinusZero => negative && magnitude == 0,
            Nan::Never => false,
        };
        // Which sign a NaN has says nothing.
        if is_nan {
            return f32::NAN;
        }
        let value = if self.infinity == Some(magnitude) {
            f32::INFINITY
        } else if self.sign == 0 {
            power(self.least + i32::from(magnitude)) as f32
        } else {
            let (exponent, fraction) = (i32::from(magnitude >> self.mantissa), magnitude & ((1 << self.mantissa) - 1));
            let significand = if exponent == 0 { fraction } else { fraction | 1 << self.mantissa };
            let scale = power(self.least + (exponent - 1).max(0) - self.mantissa as i32);
            (f64::from(significand) * scale) as f32
        };
        if negative { -value } else { value }
    }

    /// The code of the number next to `value`, the one with an even code where two are: an infinity, or else NaN, beyond the
    /// largest, and that one where the format has neither; of a NaN that there is not, -0 as in NumPy's `ml_dtypes`.
    /// Of powers of two, the greater of two, and NaN for what is below them all.
    pub fn encode(self, value: f64) -> u8 {
        let sign = if value.is_sign_negative() { self.sign } else { 0 };
        let nan = match self.nan {
            Nan::From(code) => code | if self.infinity.is_some() { 3 } else { 0 } | sign,
            Nan::MinusZero | Nan::Never => self.sign,
        };
        let beyond = match (self.infinity, self.nan) {
            (Some(code), _) => code | sign,
            (None, Nan::Never) => self.largest | sign,
            (None, _) => nan,
        };
        let magnitude = value.abs();
        if value.is_nan() {
            return nan;
        }
        if magnitude.is_infinite() {
            return beyond;
        }
        // Of f64 that are not normal, a lower exponent than any here.
        let exponent = (magnitude.to_bits() >> 52) as i32 - 1023;
        if self.sign == 0 {
            let up = magnitude >= 1.5 * power(exponent.max(self.least));
            let code = exponent - self.least + i32::from(up);
            let fits = value >= power(self.least) && code <= i32::from(self.largest);
            return if fits { code as u8 } else { nan };
        }
        let exponent = exponent.max(self.least);
        // Exact, as it is by a power of two, and less than 2^53.
        let steps = (magnitude / power(exponent - self.mantissa as i32)).round_ties_even();
        // The steps of a normal number have the bit that its code leaves out, and what is rounded up to the next power of two
        // has the code of that.
        let code = f64::from(exponent - self.least) * f64::from(1 << self.mantissa) + steps;
        if code > f64::from(self.largest) {
            return beyond;
        }
        match code as u8 {
            0 if self.nan == Nan::MinusZero => 0,
            code => code | sign,
        }
    }

    /// The number of the format next to `value`.
    pub fn round(self, value: f64) -> f32 {
        self.decode(self.encode(value))
    }
}

/// 2 to a power that is a normal f64.
fn power(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    /// A format by what the standards say of it: bits of exponent and mantissa, the bias, and what codes without a sign are
    /// no numbers.
    struct Definition {
        format: SmallFloat,
        fields: (i32, i32),
        bias: i32,
        infinity: &'static [u8],
        nan: &'static [u8],
        /// True if the code of -0 is NaN.
        unsigned_zero: bool,
    }

    const DEFINITIONS: [Definition; 7] = {
        const fn of(
            format: SmallFloat,
            fields: (i32, i32),
            bias: i32,
            infinity: &'static [u8],
            nan: &'static [u8],
        ) -> Definition {
            Definition { format, fields, bias, infinity, nan, unsigned_zero: false }
        }
        [
            of(SmallFloat::E4M3FN, (4, 3), 7, &[], &[0b111_1111]),
            Definition { unsigned_zero: true, ..of(SmallFloat::E4M3FNUZ, (4, 3), 8, &[], &[]) },
            of(SmallFloat::E5M2, (5, 2), 15, &[0b111_1100], &[0b111_1101, 0b111_1110, 0b111_1111]),
            Definition { unsigned_zero: true, ..of(SmallFloat::E5M2FNUZ, (5, 2), 16, &[], &[]) },
            of(SmallFloat::E2M3, (2, 3), 1, &[], &[]),
            of(SmallFloat::E3M2, (3, 2), 3, &[], &[]),
            of(SmallFloat::E2M1, (2, 1), 1, &[], &[]),
        ]
    };

    impl Definition {
        fn bits(&self) -> i32 {
            1 + self.fields.0 + self.fields.1
        }

        fn value(&self, code: u8) -> f64 {
            let (e, m) = self.fields;
            let (code, sign) = (i32::from(code), i32::from(code) >> (e + m) & 1);
            let magnitude = (code & ((1 << (e + m)) - 1)) as u8;
            let (exponent, fraction) = (code >> m & ((1 << e) - 1), code & ((1 << m) - 1));
            let fraction = f64::from(fraction) / 2f64.powi(m);
            let value = if self.nan.contains(&magnitude) || self.unsigned_zero && sign == 1 && magnitude == 0 {
                f64::NAN
            } else if self.infinity.contains(&magnitude) {
                f64::INFINITY
            } else if exponent == 0 {
                2f64.powi(1 - self.bias) * fraction
            } else {
                2f64.powi(exponent - self.bias) * (1.0 + fraction)
            };
            if sign == 1 { -value } else { value }
        }

        /// The nearest of all finite numbers, the one with an even code of two, by looking at each.
        fn nearest(&self, value: f64) -> f64 {
            let finite = (0..1u16 << (self.bits() - 1)).map(|c| c as u8).filter(|&c| self.value(c).is_finite());
            let largest = finite.clone().max_by(|&a, &b| self.value(a).total_cmp(&self.value(b))).unwrap();
            let step = self.value(largest) - self.value(largest - 1);
            let middle = self.value(largest) + step / 2.0;
            let magnitude = value.abs();
            if value.is_nan() {
                return if self.nan.is_empty() && !self.unsigned_zero { -0.0 } else { f64::NAN };
            }
            let is_beyond = magnitude > middle || magnitude == middle && largest % 2 == 1;
            let rounded = match is_beyond {
                true if !self.infinity.is_empty() => f64::INFINITY,
                true if self.nan.is_empty() && !self.unsigned_zero => self.value(largest),
                true => f64::NAN,
                false => {
                    let far = |c: u8| (self.value(c) - magnitude).abs();
                    let best = finite.min_by(|&a, &b| far(a).total_cmp(&far(b)).then((a % 2).cmp(&(b % 2)))).unwrap();
                    self.value(best)
                }
            };
            let signed = if value.is_sign_negative() { -rounded } else { rounded };
            if signed == 0.0 && self.unsigned_zero { 0.0 } else { signed }
        }
    }

    fn same(a: f64, b: f64) -> bool {
        a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
    }

    #[test]
    fn every_code_is_the_number_of_its_fields() {
        for d in DEFINITIONS {
            for code in 0..=u8::MAX {
                let (got, want) = (f64::from(d.format.decode(code)), d.value(code));
                assert!(same(got, want), "{code:#04x} of {:?}: {got}, not {want}", d.format);
                let in_range = u32::from(code) < 1 << d.bits();
                // A NaN may have other codes.
                if in_range && !want.is_nan() {
                    assert_eq!(d.format.encode(want), code, "{want} in {:?}", d.format);
                }
            }
        }
        let largest = DEFINITIONS.map(|d| d.format.largest());
        assert_eq!(largest, [448.0, 240.0, 57344.0, 57344.0, 7.5, 28.0, 6.0]);
    }

    #[test]
    fn every_f16_rounds_to_the_nearest_number_and_of_two_to_the_even_one() {
        for d in DEFINITIONS {
            for bits in 0..=u16::MAX {
                let x = f16::from_bits(bits).to_f64();
                for x in [x, x * 4096.0, x * (1.0 + f64::EPSILON), x * 1e-300] {
                    let (got, want) = (f64::from(d.format.round(x)), d.nearest(x));
                    assert!(same(got, want), "{x:e} in {:?}: {got}, not {want}", d.format);
                }
            }
        }
    }

    #[test]
    fn powers_of_two() {
        let f = SmallFloat::E8M0;
        for code in 0..=254u8 {
            let value = 2f64.powi(i32::from(code) - 127);
            assert_eq!(f64::from(f.decode(code)), value);
            assert_eq!(f.encode(value), code);
            assert_eq!(f.encode(value * 1.499), code);
            // Of two that are as near, the greater one.
            assert_eq!(f.encode(value * 1.5), code + 1);
        }
        let least = 2f64.powi(-127);
        for x in [0.0, -0.0, -1.0, least * 0.999, 2f64.powi(128), f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            assert!(f.round(x).is_nan(), "{x}");
        }
        assert!(f.decode(255).is_nan());
        assert_eq!((f.largest(), f.smallest()), (2f32.powi(127), Some(least as f32)));
    }
}
