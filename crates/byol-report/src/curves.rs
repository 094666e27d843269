//! The curves of all runs, one plot per number.

use byol::train::watch::{COLLAPSE_SHARE, Number};
use serde_json::{Value, json};

use super::axis::Spacing;
use super::chart::{Chart, Point, Reference, Series};
use super::html::{data_block, escape, note};
use super::runs::{Logged, RunRecord};

/// Points of a line; more logged steps are averaged, with their range as a band.
const MOST_POINTS: usize = 400;

/// Points of the range of recorded healthy runs.
const HEALTHY_POINTS: usize = 24;

/// A number worth a plot.
struct Curve {
    key: &'static str,
    title: &'static str,
    about: &'static str,
    /// What values are multiplied by, 100 for shares in percent.
    scale: f64,
    /// Values that must be in sight.
    include: &'static [f64],
    /// When it is drawn by its ratios.
    ratios: Ratios,
    /// What recorded healthy runs are asked for.
    compared: Option<Number>,
}

/// When a plot is logarithmic: where values are above 0 and differ by more than a factor of [`FAR`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ratios {
    /// Never: shares, and what has a natural end.
    Never,
    /// The values of all runs.
    Values,
    /// The highest values of the runs: for what begins or ends at 0.
    Peaks,
}

/// Beyond this factor the smaller value is not seen beside the larger one.
const FAR: f64 = 30.0;

const fn curve(key: &'static str, title: &'static str, about: &'static str, include: &'static [f64]) -> Curve {
    Curve { key, title, about, scale: 1.0, include, ratios: Ratios::Never, compared: None }
}

const fn by_ratios(ratios: Ratios, curve: Curve) -> Curve {
    Curve { ratios, ..curve }
}

const fn beside_healthy(number: Number, curve: Curve) -> Curve {
    Curve { compared: Some(number), ..curve }
}

/// What logged steps have; the probe only where there are labels.
const STEPS: [Curve; 10] = [
    by_ratios(Ratios::Values, curve("loss", "Loss", "0 to 8, mean over the batch; says little about quality", &[0.0])),
    by_ratios(
        Ratios::Values,
        curve("projection_std", "Spread of the projections", "projection_std; healthy is about 1/√size", &[0.0]),
    ),
    curve("positive_cosine", "Cosine of the two views", "positive_cosine, online projections of one picture", &[1.0]),
    by_ratios(Ratios::Values, curve("grad_norm", "Gradient norm", "all parameters of the online network", &[])),
    by_ratios(Ratios::Peaks, curve("learning_rate", "Learning rate", "base × batch / 256, warm-up, cosine", &[0.0])),
    curve("target_ema", "Target τ", "target_ema: how much of the target stays at each step", &[1.0]),
    by_ratios(
        Ratios::Peaks,
        curve("images_per_second", "Pictures per second", "loading and training together", &[0.0]),
    ),
    Curve {
        scale: 100.0,
        ..curve("data_wait", "Waiting for data", "percent of the time; high: decoding is the bottleneck", &[0.0])
    },
    curve("probe_top1", "Linear probe on the batch", "top-1 in percent, pictures that it learns from", &[0.0]),
    by_ratios(Ratios::Values, curve("probe_loss", "Loss of the linear probe", "cross-entropy on the batch", &[0.0])),
];

/// What monitors add now and then.
const MONITORS: [Curve; 5] = [
    beside_healthy(
        Number::KnnTop1,
        curve("knn_top1", "k-NN top-1 during training", "percent, on the monitor's pictures", &[]),
    ),
    curve("linear_probe_top1", "Linear probe top-1 during training", "percent, on the monitor's pictures", &[]),
    beside_healthy(
        Number::RankMe,
        by_ratios(
            Ratios::Peaks,
            curve("rank_me", "RankMe", "effective rank of the representation; a fall is collapse", &[0.0]),
        ),
    ),
    beside_healthy(
        Number::Alignment,
        by_ratios(
            Ratios::Values,
            curve("alignment", "Alignment", "mean squared distance of two views; smaller is closer", &[0.0]),
        ),
    ),
    beside_healthy(
        Number::Uniformity,
        curve("uniformity", "Uniformity", "log mean Gaussian potential; lower is more even", &[]),
    ),
];

/// The section: a legend, the plots, and their values for the pointer.
pub(super) fn section(runs: &[RunRecord]) -> String {
    if runs.iter().all(|run| run.steps.is_empty() && run.monitors.is_empty()) {
        return note("No step is logged yet, so there are no curves.");
    }
    let mut html = "<div class=\"bar\">".to_owned() + &legend(runs) + SWITCH + "</div>\n<div class=\"charts\">\n";
    let mut values = serde_json::Map::new();
    let of_steps = STEPS.iter().map(|curve| (curve, false));
    for (curve, monitor) in of_steps.chain(MONITORS.iter().map(|curve| (curve, true))) {
        let lines: Vec<Vec<Sample>> =
            runs.iter().map(|run| curve.of(if monitor { &run.monitors } else { &run.steps })).collect();
        if lines.iter().all(Vec::is_empty) {
            continue;
        }
        html += &curve.figure(runs, &lines, monitor);
        let rounded = |value: f64| format!("{value:.4e}").parse::<f64>().ok();
        let one = |line: &Vec<Sample>| -> Value {
            let column = |of: &dyn Fn(&Sample) -> f64| line.iter().map(|point| rounded(of(point))).collect::<Vec<_>>();
            let steps: Vec<u64> = line.iter().map(|point| point.step.round() as u64).collect();
            json!({"epoch": column(&|point| point.epoch), "step": steps, "y": column(&|point| point.mean)})
        };
        values.insert(curve.key.to_owned(), lines.iter().map(one).collect());
    }
    html += "</div>\n";
    let longest = runs.iter().map(|run| run.steps.len()).max().unwrap_or(0);
    if longest > MOST_POINTS {
        html += &note(&format!(
            "{longest} steps are logged; a line is the mean over neighbouring ones (at most {MOST_POINTS} points), the band their range."
        ));
    }
    if let [run] = runs
        && let Some(healthy) = run.facts().and_then(|facts| facts.healthy_runs())
        && !run.monitors.is_empty()
    {
        html += &note(&format!(
            "Pale green: the range of {} recorded healthy runs of this preset at the same share of the run; RankMe and k-NN from \
             where this one began.",
            healthy.count()
        ));
    }
    let mut protocols: Vec<&String> = runs.iter().filter_map(|run| run.monitor_protocol.as_ref()).collect();
    protocols.dedup();
    for protocol in protocols {
        html += &note(&format!("Measured during training: {protocol}."));
    }
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    html + &data_block("curve-values", &json!({"runs": names, "values": values}))
}

/// Whose line is which.
fn legend(runs: &[RunRecord]) -> String {
    let item = |(place, run): (usize, &RunRecord)| {
        format!("<span class=\"key\"><i class=\"swatch run{}\"></i>{}</span>", colour(place), escape(&run.name))
    };
    format!("<div class=\"legend\">{}</div>", runs.iter().enumerate().map(item).collect::<String>())
}

/// Runs beyond the palette use its colours again.
pub(super) fn colour(run: usize) -> usize {
    run % 8
}

/// Which axis; works without the script.
const SWITCH: &str = "<fieldset class=\"switch\"><legend>along</legend>\
    <label><input type=\"radio\" name=\"along\" id=\"along-epoch\" checked>epochs</label>\
    <label><input type=\"radio\" name=\"along\" id=\"along-step\">steps</label></fieldset>";

/// A logged value, or the mean of neighbours.
struct Sample {
    step: f64,
    epoch: f64,
    mean: f64,
    low: f64,
    high: f64,
}

impl Curve {
    fn of(&self, lines: &[Logged]) -> Vec<Sample> {
        let present: Vec<(&Logged, f64)> =
            lines.iter().filter_map(|line| Some((line, line.values.get(self.key)? * self.scale))).collect();
        let size = present.len().div_ceil(MOST_POINTS).max(1);
        let join = |bucket: &[(&Logged, f64)]| {
            let mean = |of: &dyn Fn(&(&Logged, f64)) -> f64| bucket.iter().map(of).sum::<f64>() / bucket.len() as f64;
            Sample {
                step: mean(&|(line, _)| line.step as f64),
                epoch: mean(&|(line, _)| line.epoch),
                mean: mean(&|(_, value)| *value),
                low: bucket.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min),
                high: bucket.iter().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max),
            }
        };
        present.chunks(size).map(join).collect()
    }

    fn figure(&self, runs: &[RunRecord], lines: &[Vec<Sample>], dots: bool) -> String {
        let healthy = self.healthy(runs, lines);
        let references = if self.key == "projection_std" { spread_levels(runs) } else { Vec::new() };
        let charts = ["epoch", "step"].map(|along| {
            let point = |of: &Sample| {
                let x = if along == "epoch" { of.epoch } else { of.step };
                Point { x, mean: of.mean, low: of.low, high: of.high }
            };
            let one = |(run, line): (usize, &Vec<Sample>)| Series {
                run: colour(run),
                points: line.iter().map(point).collect(),
                dots,
            };
            let spacing = self.spacing(lines);
            let healthy = healthy.iter().map(point).collect();
            Chart {
                healthy,
                key: self.key,
                along,
                series: lines.iter().enumerate().map(one).collect(),
                references: references.clone(),
                spacing,
                // No 0 where distances are ratios.
                include: self.include.iter().copied().filter(|_| spacing == Spacing::Rounded).collect(),
            }
            .svg(self.title)
        });
        format!(
            "<figure><figcaption><b>{}</b> <span>{}</span></figcaption>\n{}</figure>\n",
            escape(self.title),
            escape(self.about),
            charts.concat()
        )
    }

    /// What recorded healthy runs of the same preset measured, up to the last measurement of the one run there is: lines of
    /// several runs have each other to compare with.
    fn healthy(&self, runs: &[RunRecord], lines: &[Vec<Sample>]) -> Vec<Sample> {
        let band = || {
            let ([run], [line]) = (runs, lines) else { return None };
            let (number, last) = (self.compared?, line.last()?);
            let (healthy, start) = (run.facts()?.healthy_runs()?, run.series.start()?);
            let total = run.total_steps()?.max(1) as f64;
            let sample = |place: usize| {
                let of_last = place as f64 / HEALTHY_POINTS as f64;
                let band = healthy.band(number, of_last * last.step / total)?;
                let [low, high] = band.map(|value| number.placed(value, start));
                let (low, high) = (low?, high?);
                Some(Sample { step: of_last * last.step, epoch: of_last * last.epoch, mean: low, low, high })
            };
            (0..=HEALTHY_POINTS).map(sample).collect()
        };
        band().unwrap_or_default()
    }

    fn spacing(&self, lines: &[Vec<Sample>]) -> Spacing {
        let range = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
        };
        let (low, high) = match self.ratios {
            Ratios::Never => return Spacing::Rounded,
            Ratios::Values => range(&mut lines.iter().flatten().flat_map(|point| [point.low, point.high])),
            Ratios::Peaks => {
                let peak = |line: &Vec<Sample>| range(&mut line.iter().map(|point| point.high)).1;
                range(&mut lines.iter().filter(|line| !line.is_empty()).map(peak))
            }
        };
        if low > 0.0 && high > FAR * low { Spacing::Logarithmic } else { Spacing::Rounded }
    }
}

/// The healthy spread and where collapse begins, for each size of projections among the runs.
fn spread_levels(runs: &[RunRecord]) -> Vec<Reference> {
    let mut sizes: Vec<usize> =
        runs.iter().filter_map(|run| Some(run.config.as_ref()?.model.projection_size)).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let levels = |size: &usize| {
        let healthy = 1.0 / (*size as f64).sqrt();
        let level = |value, label, class| Reference { value, label, class };
        [
            level(healthy, format!("healthy 1/√{size}"), "healthy"),
            level(COLLAPSE_SHARE * healthy, "collapse".to_owned(), "collapse"),
        ]
    };
    sizes.iter().flat_map(levels).collect()
}

#[cfg(test)]
mod tests {
    use byol::Preset;

    use super::super::runs::tests::{run_of, run_with};
    use super::*;

    fn logged(count: u64) -> String {
        let line = |step| {
            format!("{{\"step\":{step},\"epoch\":{},\"loss\":{}}}\n", step as f64 / 10.0, 4.0 - step as f64 / 1000.0)
        };
        (0..count).map(line).collect()
    }

    fn section_of(metrics: &[String]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = metrics
            .iter()
            .enumerate()
            .map(|(place, metrics)| run_with(folder.path(), &format!("<run{place}>"), metrics))
            .collect();
        section(&RunRecord::read_all(&paths).unwrap())
    }

    #[test]
    fn two_runs_lie_over_each_other_and_only_what_is_logged_is_drawn() {
        let html = section_of(&[logged(10), logged(40)]);
        assert_eq!(html.matches("<figure>").count(), 1, "only the loss is there");
        assert_eq!(html.matches("class=\"line run1\"").count(), 2, "along epochs and along steps");
        assert!(html.contains("&lt;run0&gt;") && !html.contains("<run0>") && !html.contains("NaN"));
        let monitors = section_of(&[
            logged(3) + "{\"eval\":\"online\",\"step\":2,\"epoch\":0.2,\"rank_me\":9.5,\"protocol\":\"a & b\"}\n"
        ]);
        assert!(monitors.contains("RankMe") && monitors.contains("<circle") && monitors.contains("a &amp; b."));
        assert!(section_of(&[String::new()]).contains("no curves"));
    }

    #[test]
    fn a_run_lies_over_the_range_of_healthy_ones_of_its_preset() {
        let folder = tempfile::tempdir().unwrap();
        let measured = |step: u64| {
            format!(
                "{{\"eval\":\"online\",\"step\":{step},\"epoch\":{step},\"rank_me\":20,\"knn_top1\":12.5,\"alignment\":0.1}}\n"
            )
        };
        let metrics: String = [0, 50, 100].map(measured).concat();
        let small = |name| run_of(folder.path(), name, Preset::Small, &[], &metrics);
        let [one, other] = ["one", "other"].map(small);
        let section_of = |paths: &[_]| section(&RunRecord::read_all(paths).unwrap());
        let html = section_of(std::slice::from_ref(&one));
        assert_eq!(html.matches("healthy-band").count(), 6, "k-NN, RankMe and alignment along epochs and steps");
        assert!(html.contains("recorded healthy runs of this preset"));
        // In a comparison the runs have each other; other presets have none recorded.
        assert!(!section_of(&[one, other]).contains("healthy-band"));
        let cifar10 = run_with(folder.path(), "cifar10", &metrics);
        assert!(!section_of(&[cifar10]).contains("healthy-band"));
    }

    #[test]
    fn many_steps_become_means_with_their_range() {
        let html = section_of(&[logged(1000)]);
        assert!(html.contains("class=\"band run0\"") && html.contains("1000 steps are logged"));
        let line = html.lines().find(|line| line.contains("class=\"line run0\"")).unwrap();
        assert_eq!(line.matches('L').count() + 1, 334, "buckets of three");
    }
}
