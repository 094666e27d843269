//! From values to places: ranges, ticks and their labels.

/// How values are spread along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spacing {
    /// Equal differences, equal distances; the range ends at ticks.
    Rounded,
    /// Equal differences, equal distances; the range is that of the values.
    Exact,
    /// Equal ratios, equal distances; for values above 0 of very different size. What is below a 10 000th of the largest, such as
    /// a rate that begins at 0, lies on the bottom.
    Logarithmic,
}

/// One axis of a plot.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    spacing: Spacing,
    step: f64,
    /// Values that are labelled, rising.
    pub ticks: Vec<f64>,
}

impl Axis {
    /// An axis over all of `values` with about `wanted` ticks; values that are not finite do not count. Without any it
    /// goes from 0 to 1.
    pub fn over(values: impl Iterator<Item = f64>, spacing: Spacing, wanted: usize) -> Self {
        let finite: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        let range = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
        };
        if spacing == Spacing::Logarithmic {
            let (low, high) = range(&mut finite.iter().copied().filter(|value| *value > 0.0));
            if low <= high {
                return Self::logarithmic(low.max(high * 1e-4), high);
            }
        }
        let (low, high) = range(&mut finite.iter().copied());
        // A run of no steps goes somewhere, too.
        let nothing = low > high || (spacing == Spacing::Exact && low == 0.0 && high == 0.0);
        let (low, high) = if nothing { (0.0, 1.0) } else { (low, high) };
        let spacing = if spacing == Spacing::Logarithmic { Spacing::Rounded } else { spacing };
        // A constant gets room on both sides; far from 0 a step must still change the number.
        let margin = if high - low <= 1e-9 * high.abs().max(low.abs()) { (0.1 * high.abs()).max(1e-6) } else { 0.0 };
        let (low, high) = (low - margin, high + margin);
        let step = round_step((high - low) / wanted.max(1) as f64);
        let (first, last) = match spacing {
            Spacing::Exact => ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor()),
            _ => ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil()),
        };
        let ticks: Vec<f64> = (0..=(last - first).max(0.0) as usize).map(|tick| (first + tick as f64) * step).collect();
        let (low, high) = match spacing {
            Spacing::Exact => (low, high),
            _ => (first * step, last * step),
        };
        Self { low, high, spacing, step, ticks }
    }

    /// Whole powers of ten around the values; where that is one or two, 2 and 5 between them.
    fn logarithmic(low: f64, high: f64) -> Self {
        let (first, last) =
            (low.log10().floor() as i32, (high.log10().ceil() as i32).max(low.log10().floor() as i32 + 1));
        let factors: &[f64] = if last - first <= 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let thin_out = (last - first) / 6 + 1;
        let ticks = (first..=last)
            .filter(|power| (power - first) % thin_out == 0)
            .flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)))
            .filter(|&tick| tick <= 10f64.powi(last) * 1.0001)
            .collect();
        let (low, high) = (10f64.powi(first), 10f64.powi(last));
        Self { low, high, spacing: Spacing::Logarithmic, step: low, ticks }
    }

    /// Where `value` lies, from 0 at the low end to 1 at the high end.
    pub fn place(&self, value: f64) -> f64 {
        match self.spacing {
            Spacing::Logarithmic => {
                let value = value.max(self.low);
                (value / self.low).log10() / (self.high / self.low).log10()
            }
            _ => (value - self.low) / (self.high - self.low),
        }
    }

    /// The low and the high end.
    pub fn range(&self) -> [f64; 2] {
        [self.low, self.high]
    }

    /// What stands at `tick`: as many digits as tell it from its neighbours.
    pub fn label(&self, tick: f64) -> String {
        let step = if self.spacing == Spacing::Logarithmic { tick } else { self.step };
        let largest = self.low.abs().max(self.high.abs());
        if tick == 0.0 {
            return "0".to_owned();
        }
        if step < 0.99e-4 && largest < 0.1 {
            return typeset(&scientific(tick));
        }
        let decimals = (-(step * 1.0001).log10().floor()).max(0.0) as usize;
        typeset(&format!("{tick:.decimals$}"))
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= least * 0.9999).unwrap_or(power)
}

/// `value` with four digits that count, for people.
pub(super) fn significant(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e7).contains(&size) {
        return typeset(&scientific(value));
    }
    let before = if size < 1.0 { (size.max(1e-4)).log10().floor() } else { size.log10().floor() };
    let decimals = (3.0 - before).max(0.0) as usize;
    let text = format!("{value:.decimals$}");
    typeset(if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text })
}

/// `1.25e-5` with at most three digits.
fn scientific(value: f64) -> String {
    let text = format!("{value:.2e}");
    match text.split_once('e') {
        Some((digits, power)) => format!("{}e{power}", digits.trim_end_matches('0').trim_end_matches('.')),
        None => text,
    }
}

/// A true minus, and thin spaces between thousands from 10 000 on.
fn typeset(number: &str) -> String {
    let (sign, number) = number.strip_prefix('-').map_or(("", number), |rest| ("−", rest));
    let (whole, rest) = number.split_at(number.find(['.', 'e']).unwrap_or(number.len()));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if whole.len() > 4 && place > 0 && (whole.len() - place).is_multiple_of(3) {
            grouped.push('\u{202F}');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{}", rest.replace('-', "−"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], spacing: Spacing) -> Vec<String> {
        let axis = Axis::over(values.iter().copied(), spacing, 5);
        axis.ticks.iter().map(|&tick| axis.label(tick)).collect()
    }

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        assert_eq!(labels(&[0.03, 0.97], Spacing::Rounded), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"].map(zero));
        assert_eq!(labels(&[0.0, 13.7], Spacing::Exact), ["0", "5", "10"]);
        assert_eq!(labels(&[-1.0, 1.0], Spacing::Rounded), ["−1.0", "−0.5", "0", "0.5", "1.0"]);
        assert_eq!(labels(&[0.0, 1.9e-5], Spacing::Rounded), ["0", "5e−6", "1e−5", "1.5e−5", "2e−5"]);
        assert_eq!(labels(&[0.0, 60_000.0], Spacing::Rounded)[1], "20\u{202F}000");
        assert_eq!(labels(&[0.996, 1.0], Spacing::Rounded).last().unwrap(), "1.000");
    }

    fn zero(label: &str) -> String {
        if label == "0.0" { "0".to_owned() } else { label.to_owned() }
    }

    #[test]
    fn nothing_one_value_and_values_that_are_no_numbers_give_a_finite_axis() {
        for values in [&[][..], &[3.0], &[0.0], &[1e300], &[f64::NAN, f64::INFINITY], &[-2.0, -2.0]] {
            for spacing in [Spacing::Rounded, Spacing::Exact, Spacing::Logarithmic] {
                let axis = Axis::over(values.iter().copied(), spacing, 4);
                assert!(spacing != Spacing::Exact || values != [0.0] || axis.range() == [0.0, 1.0]);
                assert!((1..20).contains(&axis.ticks.len()), "{values:?}: {axis:?}");
                assert!(
                    axis.range()[0] < axis.range()[1] && axis.ticks.iter().all(|tick| tick.is_finite()),
                    "{axis:?}"
                );
                for value in values.iter().filter(|value| value.is_finite()) {
                    assert!((-1e-9..=1.0 + 1e-9).contains(&axis.place(*value)), "{value}: {axis:?}");
                }
            }
        }
    }

    #[test]
    fn a_logarithmic_axis_has_equal_ratios() {
        let axis = Axis::over([0.02, 30.0].into_iter(), Spacing::Logarithmic, 5);
        assert_eq!(
            axis.ticks.iter().map(|&tick| axis.label(tick)).collect::<Vec<_>>(),
            ["0.01", "0.1", "1", "10", "100"]
        );
        assert!((axis.place(0.1) - 0.25).abs() < 1e-12 && axis.place(1.0) == 0.5);
        let from_zero = Axis::over([0.0, 1e-9, 0.2].into_iter(), Spacing::Logarithmic, 5);
        assert_eq!((from_zero.range(), from_zero.place(0.0)), ([1e-5, 1.0], 0.0));
        let narrow = Axis::over([2.0, 60.0].into_iter(), Spacing::Logarithmic, 5);
        assert_eq!(
            narrow.ticks.iter().map(|&tick| narrow.label(tick)).collect::<Vec<_>>(),
            ["1", "2", "5", "10", "20", "50", "100"]
        );
    }

    #[test]
    fn numbers_have_four_digits_that_count() {
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (0.0625, "0.0625"),
            (12345.6, "12\u{202F}346"),
            (-0.5, "−0.5"),
            (1.234567e-6, "1.23e−6"),
            (389.26, "389.3"),
        ];
        for (value, expected) in cases {
            assert_eq!(significant(value), expected);
        }
    }
}
