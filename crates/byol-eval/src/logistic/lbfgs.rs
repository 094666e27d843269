//! `argmin`'s L-BFGS, made to end with the best point it has seen whatever stops it.

use std::cell::{Cell, RefCell};

use argmin::core::{
    CostFunction, Error, Executor, Gradient, IterState, KV, Problem, Solver, TerminationReason, TerminationStatus,
};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;

/// Pairs of steps and gradient changes that stand for the curvature; scikit-learn and SciPy keep 10, too.
const MEMORY: usize = 10;

/// Where a search ended.
pub(super) struct Minimum {
    pub point: Vec<f64>,
    /// Steps taken.
    pub iterations: usize,
    /// Whether the gradient became small enough.
    pub converged: bool,
}

/// Minimises `function`, which is not negative and gives value and gradient at a point, until the gradient's Euclidean norm is at
/// most `tolerance · min(1, value)`, `max_iterations` are taken or rounding allows no more progress.
///
/// The line search sometimes gives up short of the minimum
/// ([argmin#400](https://github.com/argmin-rs/argmin/issues/400)); L-BFGS then starts anew from the best point, without what
/// it had learned of the curvature, as long as that lowers the value.
pub(super) fn minimise(
    function: impl Fn(&[f64]) -> (f64, Vec<f64>),
    start: Vec<f64>,
    max_iterations: usize,
    tolerance: f64,
) -> Minimum {
    let (value, gradient) = function(&start);
    let first = Evaluated { point: start, value, gradient };
    let record = Record {
        function,
        last: RefCell::new(first.clone()),
        best: RefCell::new(first),
        evaluations_left: Cell::new(20 + 4 * max_iterations),
    };
    let mut iterations = 0;
    let mut stuck = false;
    loop {
        let best = record.best.borrow().clone();
        let before = best.value;
        let converged = is_small(&best.gradient, before, tolerance);
        if converged || stuck || iterations >= max_iterations {
            return Minimum { point: best.point, iterations, converged };
        }
        record.last.replace(best.clone());
        let remaining = (max_iterations - iterations) as u64;
        let search = Search { lbfgs: LBFGS::new(MoreThuenteLineSearch::new(), MEMORY), tolerance };
        let result = Executor::new(&record, search)
            // Without the value: `argmin` would take it for the one before, too, see no change and stop.
            .configure(|state| state.param(best.point).max_iters(remaining))
            .run();
        // An error says that a line search failed; the record has the best point all the same.
        iterations += result.map_or(1, |result| result.state.iter.max(1) as usize);
        stuck = before - record.best.borrow().value <= 1e-12 * before.abs();
    }
}

fn norm(vector: &[f64]) -> f64 {
    vector.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Relative to the value below 1: where classes separate, value, gradient and curvature go to 0 together, and a limit on the
/// gradient alone would end the search at a value many times the minimum.
fn is_small(gradient: &[f64], value: f64, tolerance: f64) -> bool {
    norm(gradient) <= tolerance * value.min(1.0)
}

type Vector = Vec<f64>;

/// `argmin`'s L-BFGS with the stopping rule of [`minimise`].
struct Search {
    lbfgs: LBFGS<MoreThuenteLineSearch<Vector, Vector, f64>, Vector, Vector, f64>,
    tolerance: f64,
}

type Reached = IterState<Vector, Vector, (), (), (), f64>;

impl<F: Fn(&[f64]) -> (f64, Vec<f64>)> Solver<&Record<F>, Reached> for Search {
    fn name(&self) -> &str {
        "L-BFGS"
    }

    fn init(&mut self, problem: &mut Problem<&Record<F>>, state: Reached) -> Result<(Reached, Option<KV>), Error> {
        self.lbfgs.init(problem, state)
    }

    fn next_iter(&mut self, problem: &mut Problem<&Record<F>>, state: Reached) -> Result<(Reached, Option<KV>), Error> {
        self.lbfgs.next_iter(problem, state)
    }

    fn terminate(&mut self, state: &Reached) -> TerminationStatus {
        let (value, change) = (state.get_cost(), state.get_prev_cost() - state.get_cost());
        let small = state.get_gradient().is_some_and(|gradient| is_small(gradient, value, self.tolerance));
        if small || change.abs() <= f64::EPSILON * value {
            return TerminationStatus::Terminated(TerminationReason::SolverConverged);
        }
        TerminationStatus::NotTerminated
    }
}

#[derive(Clone)]
struct Evaluated {
    point: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

impl Evaluated {
    /// Lower; where rounding hides which of two is, the one with the smaller gradient.
    fn is_better_than(&self, other: &Self) -> bool {
        let rounding = 1e-14 * other.value.abs();
        self.value < other.value - rounding
            || (self.value <= other.value + rounding && norm(&self.gradient) < norm(&other.gradient))
    }
}

/// The function for `argmin`, which asks for value and gradient apart, often of the same point: both are computed at once.
struct Record<F> {
    function: F,
    last: RefCell<Evaluated>,
    best: RefCell<Evaluated>,
    /// A step takes one evaluation as a rule, and `argmin` does not limit a line search.
    evaluations_left: Cell<usize>,
}

impl<F: Fn(&[f64]) -> (f64, Vec<f64>)> Record<F> {
    fn evaluate(&self, point: &[f64]) -> Result<(), Error> {
        if self.last.borrow().point == point {
            return Ok(());
        }
        let left = self.evaluations_left.get().checked_sub(1).ok_or_else(|| Error::msg("too many evaluations"))?;
        self.evaluations_left.set(left);
        let (value, gradient) = (self.function)(point);
        let evaluated = Evaluated { point: point.to_vec(), value, gradient };
        if evaluated.is_better_than(&self.best.borrow()) {
            self.best.replace(evaluated.clone());
        }
        self.last.replace(evaluated);
        Ok(())
    }
}

impl<F: Fn(&[f64]) -> (f64, Vec<f64>)> CostFunction for &Record<F> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, point: &Vec<f64>) -> Result<f64, Error> {
        self.evaluate(point)?;
        Ok(self.last.borrow().value)
    }
}

impl<F: Fn(&[f64]) -> (f64, Vec<f64>)> Gradient for &Record<F> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, point: &Vec<f64>) -> Result<Vec<f64>, Error> {
        self.evaluate(point)?;
        Ok(self.last.borrow().gradient.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rosenbrock's valley, whose minimum is 0 at (1, 1).
    fn rosenbrock(point: &[f64]) -> (f64, Vec<f64>) {
        let (x, y) = (point[0], point[1]);
        let valley = y - x * x;
        ((1.0 - x).powi(2) + 100.0 * valley * valley, vec![-2.0 * (1.0 - x) - 400.0 * x * valley, 200.0 * valley])
    }

    #[test]
    fn it_finds_the_end_of_a_curved_valley() {
        let minimum = minimise(rosenbrock, vec![-1.2, 1.0], 200, 1e-8);
        assert!(minimum.converged && minimum.iterations < 100, "{}", minimum.iterations);
        assert!((minimum.point[0] - 1.0).abs() < 1e-6 && (minimum.point[1] - 1.0).abs() < 1e-6, "{:?}", minimum.point);
    }

    #[test]
    fn it_stops_at_the_limit_with_the_best_point_so_far() {
        let minimum = minimise(rosenbrock, vec![-1.2, 1.0], 3, 1e-8);
        assert!(!minimum.converged && minimum.iterations == 3);
        assert!(rosenbrock(&minimum.point).0 < rosenbrock(&[-1.2, 1.0]).0);
        assert_eq!(minimise(rosenbrock, vec![1.0, 1.0], 3, 1e-8).iterations, 0, "already there");
    }

    #[test]
    fn a_function_that_cannot_be_lowered_further_ends_without_converging() {
        // The gradient is wrong on purpose: no step lowers the value.
        let minimum = minimise(|point| (point[0].abs(), vec![1.0]), vec![0.0], 50, 1e-8);
        assert!(!minimum.converged && minimum.point == [0.0]);
    }
}
