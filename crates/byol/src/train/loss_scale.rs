//! What the loss is multiplied by in `f16`.

use crate::method::FIRST_LOSS_SCALE;

/// The smallest number of `f16` is 6e-8, and gradients of a mean over a batch are smaller: they would be rounded to 0. So the loss is multiplied
/// before the pass back, and the gradients, which are `f32`, are divided afterwards (Micikevicius et al. 2018, section 3.2). Where a gradient
/// leaves the range of `f16`, which ends at 65504, the factor is halved and the step is not taken; after [`GROWTH_STEPS`] steps without that
/// it is doubled. Constants of PyTorch's `GradScaler`. Powers of two change no bit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    factor: f32,
    /// Steps in a row since the factor changed.
    steps: u32,
    /// Steps that were not taken, of the whole run.
    skipped_steps: u64,
}

/// Steps in a row after which a larger factor is tried.
const GROWTH_STEPS: u32 = 2000;

/// A factor that is larger overflows by itself.
const LARGEST: f32 = (1u64 << 40) as f32;

impl Default for LossScale {
    /// Before the first step.
    fn default() -> Self {
        Self { factor: FIRST_LOSS_SCALE, steps: 0, skipped_steps: 0 }
    }
}

impl LossScale {
    /// One that a checkpoint holds: [`Self::numbers`].
    pub fn restore([factor, steps, skipped_steps]: [u64; 3]) -> Self {
        Self { factor: factor as f32, steps: steps as u32, skipped_steps }
    }

    /// Factor, steps in a row, and steps not taken.
    pub fn numbers(&self) -> [u64; 3] {
        [self.factor as u64, self.steps.into(), self.skipped_steps]
    }

    /// What the loss of the next step is multiplied by: a power of two from 1 on.
    pub fn factor(&self) -> f32 {
        self.factor
    }

    /// Steps that were not taken, of the whole run.
    pub fn skipped_steps(&self) -> u64 {
        self.skipped_steps
    }

    /// Notes whether the gradients of a step are `finite`. `false`: the step is not to be taken, and the next has half the factor. Gradients that are
    /// not finite without any factor are no matter of range.
    pub fn takes(&mut self, finite: bool) -> bool {
        if !finite && self.factor > 1.0 {
            *self = Self { factor: self.factor / 2.0, steps: 0, skipped_steps: self.skipped_steps + 1 };
            return false;
        }
        self.steps += 1;
        if self.steps == GROWTH_STEPS {
            self.steps = 0;
            self.factor = (2.0 * self.factor).min(LARGEST);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_is_halved_by_every_overflow_and_doubled_after_2000_good_steps() {
        let mut scale = LossScale::default();
        for skipped in 1..=3 {
            assert!(!scale.takes(false));
            assert_eq!(scale.numbers(), [65536 >> skipped, 0, skipped]);
        }
        for step in 1..2000 {
            assert!(scale.takes(true));
            assert_eq!(scale.numbers(), [8192, step, 3]);
        }
        assert!(scale.takes(true));
        assert_eq!(scale.numbers(), [16384, 0, 3]);
        assert_eq!(LossScale::restore(scale.numbers()), scale);
    }

    #[test]
    fn without_a_factor_what_is_not_finite_is_no_overflow_and_no_factor_is_beyond_its_largest() {
        let mut scale = LossScale::restore([2, 0, 0]);
        assert!(!scale.takes(false));
        assert_eq!(scale.factor(), 1.0);
        assert!(scale.takes(false), "the run ends with what is not finite, as without a factor");
        let mut scale = LossScale::restore([1 << 40, 1999, 0]);
        assert!(scale.takes(true));
        assert_eq!(scale.factor(), LARGEST);
    }
}
