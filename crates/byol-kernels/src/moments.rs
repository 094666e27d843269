//! Mean and variance from partial sums.

/// Sums over some rows of one channel.
pub(crate) struct Partial {
    pub(crate) rows: f64,
    /// What was subtracted from every value, so that sums of deviations stay accurate where the mean is large.
    pub(crate) pivot: f32,
    /// `Σ (x − pivot)`
    pub(crate) sum: f32,
    /// `Σ (x − pivot)²`
    pub(crate) square: f32,
}

/// Mean and biased variance over the rows of all `partials`, by the formula of Chan, Golub and LeVeque (1983).
pub(crate) fn combine(partials: impl Iterator<Item = Partial>) -> (f32, f32) {
    let (mut rows, mut mean, mut square) = (0.0, 0.0, 0.0);
    for partial in partials {
        let sum = f64::from(partial.sum);
        let difference = f64::from(partial.pivot) + sum / partial.rows - mean;
        let own_square = f64::from(partial.square) - sum * sum / partial.rows;
        let total = rows + partial.rows;
        square += own_square + difference * difference * rows * partial.rows / total;
        mean += difference * partial.rows / total;
        rows = total;
    }
    (mean as f32, (square / rows).max(0.0) as f32)
}
