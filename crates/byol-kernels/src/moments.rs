//! Mean and variance from partial sums.

use crate::lanes::{LANES, Lanes};

/// Sums over some rows of [`LANES`] channels.
pub(crate) struct Partial {
    pub(crate) rows: f64,
    /// What was subtracted from every value, so that sums of deviations stay accurate where the mean is large.
    pub(crate) pivot: Lanes,
    /// `Σ (x − pivot)`
    pub(crate) sum: Lanes,
    /// `Σ (x − pivot)²`
    pub(crate) square: Lanes,
}

/// Writes mean and biased variance of up to [`LANES`] channels over the rows of all `partials`, by the formula of Chan, Golub and
/// LeVeque (1983). Always inlined into code compiled for the instruction set.
#[inline(always)]
pub(crate) fn combine(partials: impl Iterator<Item = Partial>, mean: &mut [f32], variance: &mut [f32]) {
    let (mut rows, mut means, mut squares) = (0.0, [0.0; LANES], [0.0; LANES]);
    for partial in partials {
        let total = rows + partial.rows;
        let (share, weight, inverse) = (partial.rows / total, rows * partial.rows / total, 1.0 / partial.rows);
        for lane in 0..LANES {
            let sum = f64::from(partial.sum[lane]);
            let deviation = sum * inverse;
            let difference = f64::from(partial.pivot[lane]) + deviation - means[lane];
            let own_square = f64::from(partial.square[lane]) - sum * deviation;
            squares[lane] += own_square + difference * difference * weight;
            means[lane] += difference * share;
        }
        rows = total;
    }
    for (lane, (mean, variance)) in mean.iter_mut().zip(variance).enumerate() {
        *mean = means[lane] as f32;
        *variance = (squares[lane] / rows).max(0.0) as f32;
    }
}
