//! Numbers for people.

use std::time::Duration;

/// Five significant digits or fewer, in the plainest form.
pub fn number(v: f64) -> String {
    let magnitude = v.abs();
    if v == 0.0 || !v.is_finite() {
        return v.to_string();
    }
    if !(1e-3..1e6).contains(&magnitude) {
        return format!("{v:.2e}");
    }
    let digits = (4 - magnitude.log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{v:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').into(),
        false => text,
    }
}

/// Milliseconds with three significant digits or more.
pub fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    let digits = if ms < 10.0 { 3 } else { usize::from(ms < 100.0) + 1 };
    format!("{ms:.digits$}")
}

/// Bytes in the unit that suits them.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let mut value = n as f64;
    let mut unit = "bytes";
    for next in UNITS {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    format!("{} {unit}", if unit == "bytes" { n.to_string() } else { format!("{value:.1}") })
}

/// `1` thing, `2` things.
pub fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// An integer in groups of three digits.
pub fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (1.0 / 3.0, "0.33333"),
            (0.00123456, "0.001235"),
            (123456.7, "123457"),
            (100000.0, "100000"),
            (1.5e-7, "1.50e-7"),
            (-3.4e38, "-3.40e38"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
        ];
        for (v, text) in cases {
            assert_eq!(number(v), text);
        }
    }

    #[test]
    fn units_follow_size() {
        assert_eq!(bytes(999), "999 bytes");
        assert_eq!(bytes(2_719_630), "2.7 MB");
        assert_eq!(ms(Duration::from_micros(1234)), "1.234");
        assert_eq!(ms(Duration::from_micros(12340)), "12.34");
        assert_eq!(ms(Duration::from_micros(123400)), "123.4");
        assert_eq!(grouped(1234567), "1,234,567");
        assert_eq!(grouped(12), "12");
        assert_eq!(count(1, "op"), "1 op");
        assert_eq!(count(0, "op"), "0 ops");
    }
}
