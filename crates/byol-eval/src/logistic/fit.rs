//! One classifier for one λ.

use byol_nn::Result;

use super::classifier::Logistic;
use super::lbfgs;
use super::objective::Objective;
use super::problem::{LogisticOptions, Samples, check_l2, check_options, check_samples, wrong};

/// Minimises the objective for one `l2`, from `start` if there is one, else from nothing.
///
/// # Errors
/// [`Error::Evaluation`](byol_nn::Error::Evaluation) for options, features or targets that make no sense.
pub fn fit(
    samples: Samples,
    classes: usize,
    l2: f64,
    options: &LogisticOptions,
    start: Option<&Logistic>,
) -> Result<Logistic> {
    check_options(options)?;
    check_l2(l2)?;
    check_samples(samples, classes, "training")?;
    if let Some(start) =
        start.filter(|start| start.weight.len() != classes * samples.size || start.bias.len() != classes)
    {
        return wrong(format!(
            "expected a start of {classes} classes × {} features, got {} weights for {} classes",
            samples.size,
            start.weight.len(),
            start.bias.len()
        ));
    }
    Ok(fit_checked(&mut Objective::new(samples, classes), l2, options, start))
}

/// [`fit`] of what was checked.
pub(super) fn fit_checked(
    objective: &mut Objective,
    l2: f64,
    options: &LogisticOptions,
    start: Option<&Logistic>,
) -> Logistic {
    objective.set_l2(l2);
    let start = objective.coordinates(start);
    let minimum = lbfgs::minimise(|point| objective.evaluate(point), start, options.max_iterations, options.tolerance);
    let (weight, bias) = objective.classifier(&minimum.point);
    let loss = objective.total(&minimum.point);
    Logistic { weight, bias, l2, loss, iterations: minimum.iterations, converged: minimum.converged }
}
