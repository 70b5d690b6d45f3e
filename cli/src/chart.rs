//! A scatter chart as SVG: axes logarithmic, linear or of names; points with intervals or without.

use std::fmt::Write;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 560.0;
/// Left, top, right and bottom of the plot.
const PLOT: [f64; 4] = [80.0, 50.0, 620.0, 500.0];
/// Told apart by most people who do not see all colours (Okabe and Ito 2008).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const GREY: &str = "#555555";
const GRID: &str = "#dddddd";

/// How points are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Circle,
    Diamond,
    Square,
}

/// A point.
#[derive(Clone, Debug, Default)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    /// From where to where y may lie.
    pub interval: Option<(f64, f64)>,
    /// The title of the chart.
    pub title: String,
}

/// Points that belong together.
#[derive(Clone, Debug)]
pub struct Series {
    pub label: String,
    /// Its number; one beyond all is grey.
    pub colour: usize,
    pub mark: Mark,
    pub points: Vec<Point>,
}

/// How values lie on an axis.
#[derive(Clone, Debug, PartialEq)]
pub enum Scale {
    /// From one power of a base to another.
    Log(f64),
    /// Between two multiples of a step.
    Linear,
    /// Names, in order; the place of each is its number. A line break in one is kept.
    Names(Vec<String>),
}

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    pub label: String,
    pub scale: Scale,
    /// True if values are shown times 100.
    pub percent: bool,
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
}

/// An axis with its ends, and where these are drawn.
struct Placed<'a> {
    axis: &'a Axis,
    low: f64,
    high: f64,
    /// Of a linear axis.
    step: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// True if the axis has a place for a value.
    fn has(&self, v: f64) -> bool {
        match &self.scale {
            Scale::Log(_) => v.is_finite() && v > 0.0,
            Scale::Linear => v.is_finite(),
            Scale::Names(names) => v >= 0.0 && v < names.len() as f64,
        }
    }

    /// With all of the values on it, of which it has a place for each.
    fn place(&self, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Placed<'_> {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high, step) = match &self.scale {
            Scale::Log(base) => {
                let power = |v: f64, round: fn(f64) -> f64| base.powf(round(v.log(*base)));
                let (low, high) = (power(low, f64::floor), power(high, f64::ceil));
                (low, if high > low { high } else { low * base }, 0.0)
            }
            Scale::Linear => {
                let step = step(if high > low { high - low } else { 1.0 });
                let (low, top) = ((low / step).floor() * step, (high / step).ceil() * step);
                (low, if top > low { top } else { low + step }, step)
            }
            Scale::Names(names) => (-0.5, names.len() as f64 - 0.5, 1.0),
        };
        Placed { axis: self, low, high, step, from, to }
    }
}

/// A step of 1, 2 or 5 times a power of ten, of which a range has four to ten.
fn step(range: f64) -> f64 {
    let power = 10f64.powf((range / 4.0).log10().floor());
    let most = range / 4.0 * (1.0 + 1e-9);
    [5.0, 2.0].into_iter().map(|n| n * power).find(|&s| s <= most).unwrap_or(power)
}

impl Placed<'_> {
    fn at(&self, v: f64) -> f64 {
        let share = match self.axis.scale {
            Scale::Log(_) => (v / self.low).ln() / (self.high / self.low).ln(),
            _ => (v - self.low) / (self.high - self.low),
        };
        self.from + share * (self.to - self.from)
    }

    /// Values that have a line, with the text beside them.
    fn ticks(&self) -> Vec<(f64, String)> {
        let shown = |v: f64| match self.axis.percent {
            true => format!("{} %", crate::format::number(v * 100.0)),
            false => crate::format::number(v),
        };
        match &self.axis.scale {
            Scale::Log(base) => {
                let n = (self.high / self.low).log(*base).round() as i32;
                (0..=n).map(|i| self.low * base.powi(i)).map(|v| (v, shown(v))).collect()
            }
            Scale::Linear => {
                let (first, last) = ((self.low / self.step).round() as i64, (self.high / self.step).round() as i64);
                (first..=last).map(|i| i as f64 * self.step).map(|v| (v, shown(v))).collect()
            }
            Scale::Names(names) => names.iter().enumerate().map(|(i, name)| (i as f64, name.clone())).collect(),
        }
    }
}

impl Chart {
    /// True if the chart has no point that can be drawn.
    pub fn is_empty(&self) -> bool {
        self.points().next().is_none()
    }

    fn points(&self) -> impl Iterator<Item = &Point> + '_ {
        self.series.iter().flat_map(|s| &s.points).filter(|p| self.drawable(p))
    }

    fn drawable(&self, p: &Point) -> bool {
        let ends = p.interval.map_or([p.y; 2], |(low, high)| [low, high]);
        self.x.has(p.x) && [p.y, ends[0], ends[1]].into_iter().all(|y| self.y.has(y))
    }

    /// The document. Points for which an axis has no place are left out.
    pub fn svg(&self) -> String {
        let [left, top, right, bottom] = PLOT;
        let x = self.x.place(self.points().map(|p| p.x), left, right);
        let ends = |p: &Point| [p.y, p.interval.map_or(p.y, |i| i.0), p.interval.map_or(p.y, |i| i.1)];
        let y = self.y.place(self.points().flat_map(ends), bottom, top);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        let text = |out: &mut String, x: f64, y: f64, anchor: &str, text: &str| {
            let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escaped(text));
        };
        for (v, name) in x.ticks() {
            line(&mut out, [x.at(v), top, x.at(v), bottom], GRID);
            for (i, part) in name.lines().enumerate() {
                text(&mut out, x.at(v), bottom + 18.0 + 14.0 * i as f64, "middle", part);
            }
        }
        for (v, name) in y.ticks() {
            line(&mut out, [left, y.at(v), right, y.at(v)], GRID);
            text(&mut out, left - 8.0, y.at(v) + 4.0, "end", &name);
        }
        text(&mut out, left, 28.0, "start", &self.title);
        text(&mut out, (left + right) / 2.0, bottom + 48.0, "middle", &self.x.label);
        let (at, middle) = (24.0, (top + bottom) / 2.0);
        let turned =
            format!("x=\"{at}\" y=\"{middle}\" transform=\"rotate(-90 {at} {middle})\" text-anchor=\"middle\"");
        let _ = writeln!(out, "<text {turned}>{}</text>", escaped(&self.y.label));
        for (i, s) in self.series.iter().enumerate() {
            let colour = COLOURS.get(if s.colour == usize::MAX { usize::MAX } else { s.colour % COLOURS.len() });
            let colour = colour.copied().unwrap_or(GREY);
            for (j, p) in s.points.iter().enumerate().filter(|(_, p)| self.drawable(p)) {
                let aside = match self.x.scale {
                    // Marks of one place side by side: heads have the same bytes, and series may, too.
                    Scale::Log(_) => (j % 7) as f64 * 2.0 - 6.0,
                    Scale::Linear => 0.0,
                    Scale::Names(_) => (i as f64 - (self.series.len() - 1) as f64 / 2.0) * 13.0,
                };
                let at = x.at(p.x) + aside;
                if let Some((low, high)) = p.interval {
                    line(&mut out, [at, y.at(low), at, y.at(high)], colour);
                    [low, high].iter().for_each(|&v| line(&mut out, [at - 4.0, y.at(v), at + 4.0, y.at(v)], colour));
                }
                mark(&mut out, s.mark, colour, at, y.at(p.y), &format!("{}: {}", p.title, p.y));
            }
            let row = top + 10.0 + 20.0 * i as f64;
            mark(&mut out, s.mark, colour, right + 24.0, row, &s.label);
            text(&mut out, right + 36.0, row + 4.0, "start", &s.label);
        }
        out.push_str("</svg>\n");
        out
    }
}

fn line(out: &mut String, [x1, y1, x2, y2]: [f64; 4], colour: &str) {
    let at = format!("x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"");
    let _ = writeln!(out, "<line {at} stroke=\"{colour}\"/>");
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

    fn axis(scale: Scale) -> Axis {
        Axis { label: "x".into(), scale, percent: false }
    }

    fn chart(x: Scale, y: Scale, points: &[(f64, f64)]) -> Chart {
        let title = "a<b & \"c\"".to_string();
        let points = points.iter().map(|&(x, y)| Point { x, y, title: title.clone(), ..Point::default() }).collect();
        let series = vec![Series { label: "s".into(), colour: 0, mark: Mark::Diamond, points }];
        Chart { title: "t".into(), x: axis(x), y: axis(y), series }
    }

    #[test]
    fn logarithmic_axes_span_powers() {
        let axis = axis(Scale::Log(2.0));
        let placed = axis.place([3.0, 20.0].into_iter(), 0.0, 100.0);
        assert_eq!((placed.low, placed.high), (2.0, 32.0));
        assert_eq!(placed.ticks().iter().map(|t| t.0).collect::<Vec<_>>(), [2.0, 4.0, 8.0, 16.0, 32.0]);
        assert_eq!((placed.at(2.0), placed.at(8.0), placed.at(32.0)), (0.0, 50.0, 100.0));
        let one = axis.place([4.0].into_iter(), 0.0, 1.0);
        assert_eq!((one.low, one.high), (4.0, 8.0));
    }

    #[test]
    fn linear_axes_span_steps() {
        let axis = Axis { percent: true, ..axis(Scale::Linear) };
        let placed = axis.place([-0.05, 0.93].into_iter(), 100.0, 0.0);
        let ticks: Vec<String> = placed.ticks().into_iter().map(|t| t.1).collect();
        assert_eq!(ticks, ["-20 %", "0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]);
        assert!((placed.at(-0.2) - 100.0).abs() < 1e-9 && placed.at(1.0).abs() < 1e-9);
        let one = axis.place([3.0].into_iter(), 0.0, 1.0);
        assert!(one.low <= 3.0 && 3.0 <= one.high && one.low < one.high);
        assert_eq!([0.4, 4.0, 7.0, 9.0, 20.0].map(step), [0.1, 1.0, 1.0, 2.0, 5.0]);
    }

    #[test]
    fn names_have_a_place_each() {
        let axis = axis(Scale::Names(vec!["a".into(), "b\nc".into()]));
        let placed = axis.place(std::iter::empty(), 0.0, 100.0);
        assert_eq!((placed.at(0.0), placed.at(1.0)), (25.0, 75.0));
        assert!(axis.has(1.0) && !axis.has(2.0) && !axis.has(-1.0) && !axis.has(f64::NAN));
        let svg = chart(axis.scale.clone(), Scale::Linear, &[(0.0, 0.5)]).svg();
        assert!(svg.contains(">b</text>") && svg.contains(">c</text>"), "{svg}");
    }

    #[test]
    fn every_point_that_can_be_drawn_has_a_mark() {
        let points = [(8.0, 0.01), (8.0, 0.0), (8.0, f64::NAN), (16.0, 0.2)];
        let svg = chart(Scale::Log(2.0), Scale::Log(10.0), &points).svg();
        // Two points and the legend.
        assert_eq!(svg.matches("<path ").count(), 3, "{svg}");
        assert!(svg.contains("a&lt;b &amp; &quot;c&quot;: 0.01") && svg.ends_with("</svg>\n"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        // A linear axis has a place for 0.
        assert_eq!(chart(Scale::Log(2.0), Scale::Linear, &points).svg().matches("<path ").count(), 4);
        assert!(chart(Scale::Log(2.0), Scale::Log(10.0), &[(8.0, 0.0)]).is_empty());
    }

    #[test]
    fn intervals_have_lines_and_room() {
        let mut c = chart(Scale::Names(vec!["a".into()]), Scale::Linear, &[(0.0, 0.5)]);
        let without = c.svg().matches("<line ").count();
        c.series[0].points[0].interval = Some((0.4, 3.0));
        let y = c.y.place([0.4, 3.0].into_iter(), 0.0, 1.0).ticks().len();
        let svg = c.svg();
        assert!(svg.contains(">3</text>"), "{svg}");
        assert_eq!(svg.matches("#0072b2\"/>\n").count(), 3, "{svg}");
        assert!(without > 0 && y > 3);
        c.series[0].points[0].interval = Some((f64::NAN, 3.0));
        assert!(c.is_empty());
    }
}
