//! A line chart as SVG. Colours are classes, so that the style sheet can follow the screen's light and dark.
//!
//! Drawn by hand: a plotting crate writes fixed colours and font sizes into every element, which follow neither the width nor
//! the darkness of a screen, and has no place for the values that appear under the pointer.

use super::axis::{Axis, Spacing};
use super::html::escape;

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 216.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 390.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 178.0;
/// Width of a digit and height of a line of labels.
const DIGIT: f64 = 7.0;
const LINE: f64 = 13.0;

/// What is plotted.
pub(super) struct Chart<'a> {
    /// Key of the values in the page's data, for the pointer.
    pub key: &'a str,
    /// What is along the bottom: `epoch` or `step`.
    pub along: &'a str,
    pub series: Vec<Series>,
    pub references: Vec<Reference>,
    /// The range of recorded healthy runs, behind the others; `mean` is not drawn.
    pub healthy: Vec<Point>,
    pub spacing: Spacing,
    /// Values that must be in sight besides those of the series.
    pub include: Vec<f64>,
}

/// The values of one run.
pub(super) struct Series {
    /// Place of the run, which decides its colour.
    pub run: usize,
    pub points: Vec<Point>,
    /// Whether each value gets a dot.
    pub dots: bool,
}

/// One value, or the mean of neighbouring ones with their range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub x: f64,
    pub mean: f64,
    pub low: f64,
    pub high: f64,
}

/// A level to compare with.
#[derive(Clone)]
pub(super) struct Reference {
    pub value: f64,
    pub label: String,
    /// `healthy` or `collapse`.
    pub class: &'static str,
}

impl Chart<'_> {
    /// The `<svg>` element.
    pub fn svg(&self, title: &str) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let levels = self.references.iter().map(|reference| reference.value).chain(self.include.iter().copied());
        let x = Axis::over(points().map(|point| point.x).chain([0.0]), Spacing::Exact, 7);
        let heights = points().chain(&self.healthy).flat_map(|point| [point.low, point.high]);
        let y = Axis::over(heights.chain(levels), self.spacing, 5);
        let (across, up) =
            (|value| LEFT + x.place(value) * (RIGHT - LEFT), |value| BOTTOM - y.place(value) * (BOTTOM - TOP));
        let [first, last] = x.range();
        let mut svg = format!(
            "<svg class=\"chart by-{along}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\" data-key=\"{}\" \
             data-along=\"{along}\" data-plot=\"{LEFT} {TOP} {RIGHT} {BOTTOM} {first} {last}\">\n",
            escape(title),
            escape(self.key),
            along = self.along,
        );
        for &tick in &y.ticks {
            let (at, label) = (up(tick), y.label(tick));
            svg += &format!(
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/><text class=\"y\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>\n",
                LEFT - 6.0,
                at + 4.0
            );
        }
        let mut free_from = f64::NEG_INFINITY;
        for &tick in &x.ticks {
            let (at, mut label) = (across(tick), x.label(tick));
            let half = label.chars().count() as f64 * DIGIT / 2.0;
            if at - half < free_from || at + half > WIDTH {
                label.clear();
            } else {
                free_from = at + half + DIGIT;
            }
            svg += &format!(
                "<path class=\"tick\" d=\"M{at:.1} {BOTTOM}v4\"/><text class=\"x\" x=\"{at:.1}\" y=\"{:.1}\">{label}</text>\n",
                BOTTOM + 17.0
            );
        }
        svg += &format!(
            "<path class=\"axis\" d=\"M{LEFT} {BOTTOM}H{RIGHT}\"/><text class=\"x name\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
            (LEFT + RIGHT) / 2.0,
            HEIGHT - 4.0,
            self.along
        );
        for reference in &self.references {
            svg += &format!(
                "<path class=\"level {}\" d=\"M{LEFT} {:.1}H{RIGHT}\"/>\n",
                reference.class,
                up(reference.value)
            );
        }
        if !self.healthy.is_empty() {
            svg += &format!("<path class=\"healthy-band\" d=\"{}\"/>\n", area(&self.healthy, &across, &up));
        }
        for series in &self.series {
            svg += &series.svg(&across, &up);
        }
        let levels: Vec<f64> = self.references.iter().map(|reference| up(reference.value)).collect();
        for (reference, at) in self.references.iter().zip(apart(&levels)) {
            svg += &format!(
                "<text class=\"level-label\" x=\"{:.1}\" y=\"{at:.1}\">{}</text>\n",
                RIGHT - 3.0,
                escape(&reference.label)
            );
        }
        svg + "<g class=\"pointer\"></g></svg>\n"
    }
}

/// Where the words of `levels` stand: above their line, below it where the plot ends, and no two over each other.
fn apart(levels: &[f64]) -> Vec<f64> {
    let mut taken: Vec<f64> = Vec::new();
    for &level in levels {
        let above = level - 5.0;
        let below = level + LINE;
        let steps = (1..=levels.len()).flat_map(|step| [above - step as f64 * LINE, below + step as f64 * LINE]);
        let free =
            |at: &f64| (TOP + 9.0..=BOTTOM - 2.0).contains(at) && taken.iter().all(|other| (at - other).abs() >= LINE);
        taken.push([above, below].into_iter().chain(steps).find(free).unwrap_or(above.max(TOP + 9.0)));
    }
    taken
}

/// A closed path around the ranges of `points`.
fn area(points: &[Point], across: &impl Fn(f64) -> f64, up: &impl Fn(f64) -> f64) -> String {
    let upper = points.iter().map(|point| (point.x, point.high));
    let lower = points.iter().rev().map(|point| (point.x, point.low));
    let places: Vec<String> = upper.chain(lower).map(|(x, y)| format!("{:.1} {:.1}", across(x), up(y))).collect();
    format!("M{}Z", places.join("L"))
}

impl Series {
    fn svg(&self, across: &impl Fn(f64) -> f64, up: &impl Fn(f64) -> f64) -> String {
        let run = self.run;
        let mut svg = String::new();
        if self.points.iter().any(|point| point.low < point.high) {
            svg += &format!("<path class=\"band run{run}\" d=\"{}\"/>\n", area(&self.points, across, up));
        }
        if self.points.len() > 1 {
            let places: Vec<String> =
                self.points.iter().map(|point| format!("{:.1} {:.1}", across(point.x), up(point.mean))).collect();
            svg += &format!("<path class=\"line run{run}\" d=\"M{}\"/>\n", places.join("L"));
        }
        if self.dots || self.points.len() == 1 {
            for point in &self.points {
                svg += &format!(
                    "<circle class=\"dot run{run}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.6\"/>",
                    across(point.x),
                    up(point.mean)
                );
            }
        }
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(series: Vec<Series>) -> String {
        let reference = Reference { value: 0.25, label: "healthy <1/√16>".to_owned(), class: "healthy" };
        Chart {
            key: "loss",
            along: "epoch",
            series,
            references: vec![reference],
            healthy: vec![],
            spacing: Spacing::Rounded,
            include: vec![0.0],
        }
        .svg("loss")
    }

    fn series(run: usize, values: &[f64]) -> Series {
        let point = |(x, &mean): (usize, &f64)| Point { x: x as f64, mean, low: mean, high: mean };
        Series { run, points: values.iter().enumerate().map(point).collect(), dots: false }
    }

    #[test]
    fn runs_of_different_lengths_share_both_axes() {
        let svg = chart(vec![series(0, &[4.0, 2.0, 1.0]), series(1, &[3.0, 2.5, 2.0, 1.5, 0.0])]);
        let ends: Vec<&str> = svg
            .lines()
            .filter(|line| line.starts_with("<path class=\"line"))
            .map(|line| line.rsplit('L').next().unwrap().trim_end_matches("\"/>"))
            .collect();
        assert_eq!(
            ends,
            [
                format!("{:.1} {:.1}", (LEFT + RIGHT) / 2.0, BOTTOM - (BOTTOM - TOP) / 4.0),
                format!("{RIGHT:.1} {BOTTOM:.1}")
            ]
        );
        assert!(svg.contains("class=\"line run0\"") && svg.contains("class=\"line run1\""));
    }

    #[test]
    fn words_of_near_levels_do_not_lie_over_each_other() {
        let places = apart(&[60.0, 62.0, 66.0, 170.0, 172.0, 12.0]);
        for (number, place) in places.iter().enumerate() {
            assert!((TOP..=BOTTOM).contains(place), "{places:?}");
            assert!(places[..number].iter().all(|other| (place - other).abs() >= LINE), "{places:?}");
        }
        assert_eq!(places[0], 55.0);
        let wide = chart(vec![
            series(0, &[1.0]),
            Series { run: 1, points: vec![Point { x: 190_000.0, mean: 1.0, low: 1.0, high: 1.0 }], dots: false },
        ]);
        let labels: Vec<f64> = wide
            .lines()
            .filter(|line| line.contains("class=\"x\"") && !line.contains("></text>"))
            .map(|line| line.rsplit("x=\"").next().unwrap().split('"').next().unwrap().parse().unwrap())
            .collect();
        assert!(labels.windows(2).all(|pair| pair[1] - pair[0] > 6.5 * DIGIT), "{labels:?}");
    }

    #[test]
    fn there_is_no_nan_and_no_text_that_is_a_tag() {
        for values in [&[][..], &[1.0], &[1.0, 1.0], &[0.0, 1e12], &[1e-30, 2e-30]] {
            let svg = chart(vec![series(0, values)]);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert!(svg.contains("healthy &lt;1/√16&gt;"));
            assert_eq!(svg.matches("<circle").count(), usize::from(values.len() == 1), "one value is a dot");
        }
    }
}
