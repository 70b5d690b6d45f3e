//! A scatter chart as SVG, both axes logarithmic.

use std::fmt::Write;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 560.0;
/// Left, top, right and bottom of the plot.
const PLOT: [f64; 4] = [80.0, 50.0, 620.0, 500.0];
/// Told apart by most people who do not see all colours (Okabe and Ito 2008).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const GREY: &str = "#555555";

/// How points are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Circle,
    Diamond,
    Square,
}

/// x, y and what it is.
pub type Point = (f64, f64, String);

/// Points that belong together.
#[derive(Clone, Debug)]
pub struct Series {
    pub label: String,
    /// Its number; one beyond all is grey.
    pub colour: usize,
    pub mark: Mark,
    pub points: Vec<Point>,
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    pub title: String,
    pub x: String,
    pub y: String,
    pub series: Vec<Series>,
}

/// A logarithmic axis.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// For values above 0, from one power of `base` to another.
    fn new(values: impl Iterator<Item = f64>, base: f64, from: f64, to: f64) -> Self {
        let (low, high) = values.fold((f64::INFINITY, 0.0_f64), |(l, h), v| (l.min(v), h.max(v)));
        let power = |v: f64, round: fn(f64) -> f64| base.powf(round(v.log(base)));
        let (low, high) = (power(low, f64::floor), power(high, f64::ceil));
        Self { low, high: if high > low { high } else { low * base }, from, to }
    }

    fn at(&self, v: f64) -> f64 {
        self.from + (v / self.low).ln() / (self.high / self.low).ln() * (self.to - self.from)
    }

    /// Powers of `base` in it.
    fn ticks(&self, base: f64) -> Vec<f64> {
        let n = (self.high / self.low).log(base).round() as i32;
        (0..=n).map(|i| self.low * base.powi(i)).collect()
    }
}

impl Chart {
    /// Whether it has no point that can be drawn.
    pub fn is_empty(&self) -> bool {
        self.points().next().is_none()
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.series.iter().flat_map(|s| &s.points).map(|p| (p.0, p.1)).filter(drawable)
    }

    /// The document. Values that a logarithmic axis does not have are left out.
    pub fn svg(&self) -> String {
        let [left, top, right, bottom] = PLOT;
        let x = Axis::new(self.points().map(|p| p.0), 2.0, left, right);
        let y = Axis::new(self.points().map(|p| p.1), 10.0, bottom, top);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        let text = |out: &mut String, x: f64, y: f64, anchor: &str, text: &str| {
            let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escaped(text));
        };
        let line = |out: &mut String, [x1, y1, x2, y2]: [f64; 4]| {
            let at = format!("x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"");
            let _ = writeln!(out, "<line {at} stroke=\"#dddddd\"/>");
        };
        for v in x.ticks(2.0) {
            line(&mut out, [x.at(v), top, x.at(v), bottom]);
            text(&mut out, x.at(v), bottom + 18.0, "middle", &v.to_string());
        }
        for v in y.ticks(10.0) {
            line(&mut out, [left, y.at(v), right, y.at(v)]);
            text(&mut out, left - 8.0, y.at(v) + 4.0, "end", &format!("{} %", crate::cli::format::number(v * 100.0)));
        }
        text(&mut out, left, 28.0, "start", &self.title);
        text(&mut out, (left + right) / 2.0, bottom + 42.0, "middle", &self.x);
        let (at, middle) = (24.0, (top + bottom) / 2.0);
        let turned =
            format!("x=\"{at}\" y=\"{middle}\" transform=\"rotate(-90 {at} {middle})\" text-anchor=\"middle\"");
        let _ = writeln!(out, "<text {turned}>{}</text>", escaped(&self.y));
        for (i, s) in self.series.iter().enumerate() {
            let colour = COLOURS.get(if s.colour == usize::MAX { usize::MAX } else { s.colour % COLOURS.len() });
            let colour = colour.copied().unwrap_or(GREY);
            for (j, p) in s.points.iter().enumerate().filter(|(_, p)| drawable(&(p.0, p.1))) {
                // Marks of one place side by side: heads have the same bytes, and series may, too.
                let aside = (j % 7) as f64 * 2.0 - 6.0;
                mark(&mut out, s.mark, colour, x.at(p.0) + aside, y.at(p.1), &format!("{}: {}", p.2, p.1));
            }
            let row = top + 10.0 + 20.0 * i as f64;
            mark(&mut out, s.mark, colour, right + 24.0, row, &s.label);
            text(&mut out, right + 36.0, row + 4.0, "start", &s.label);
        }
        out.push_str("</svg>\n");
        out
    }
}

fn drawable(p: &(f64, f64)) -> bool {
    [p.0, p.1].iter().all(|v| v.is_finite() && *v > 0.0)
}

fn mark(out: &mut String, mark: Mark, colour: &str, x: f64, y: f64, title: &str) {
    let shape = match mark {
        Mark::Circle => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\""),
        Mark::Square => format!("<rect x=\"{:.1}\" y=\"{:.1}\" width=\"7\" height=\"7\"", x - 3.5, y - 3.5),
        Mark::Diamond => {
            let [l, r, t, b] = [x - 5.0, x + 5.0, y - 5.0, y + 5.0];
            format!("<path d=\"M{x:.1} {t:.1}L{r:.1} {y:.1}L{x:.1} {b:.1}L{l:.1} {y:.1}Z\"")
        }
    };
    let name = shape.split(' ').next().unwrap_or_default().trim_start_matches('<').to_string();
    let look = format!("fill=\"{colour}\" fill-opacity=\"0.35\" stroke=\"{colour}\"");
    let _ = writeln!(out, "{shape} {look}><title>{}</title></{name}>", escaped(title));
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: &[(f64, f64)]) -> Chart {
        let points = points.iter().map(|&(x, y)| (x, y, "a<b & \"c\"".into())).collect();
        let series = vec![Series { label: "s".into(), colour: 0, mark: Mark::Diamond, points }];
        Chart { title: "t".into(), x: "x".into(), y: "y".into(), series }
    }

    #[test]
    fn axes_span_powers() {
        let axis = Axis::new([3.0, 20.0].into_iter(), 2.0, 0.0, 100.0);
        assert_eq!((axis.low, axis.high), (2.0, 32.0));
        assert_eq!(axis.ticks(2.0), [2.0, 4.0, 8.0, 16.0, 32.0]);
        assert_eq!((axis.at(2.0), axis.at(8.0), axis.at(32.0)), (0.0, 50.0, 100.0));
        let one = Axis::new([4.0].into_iter(), 2.0, 0.0, 1.0);
        assert_eq!((one.low, one.high), (4.0, 8.0));
    }

    #[test]
    fn every_point_that_can_be_drawn_has_a_mark() {
        let svg = chart(&[(8.0, 0.01), (8.0, 0.0), (8.0, f64::NAN), (16.0, 0.2)]).svg();
        // Two points and the legend.
        assert_eq!(svg.matches("<path ").count(), 3, "{svg}");
        assert!(svg.contains("a&lt;b &amp; &quot;c&quot;: 0.01") && svg.ends_with("</svg>\n"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(chart(&[(8.0, 0.0)]).is_empty());
    }
}
