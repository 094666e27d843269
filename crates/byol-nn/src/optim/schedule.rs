//! Schedules as pure functions of the step (`schedules.py` of the reference; spec §2.2, §4.2).

use std::f64::consts::PI;

/// The three numbers every schedule is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// `K`: optimiser steps of the whole run.
    pub total_steps: u64,
    /// `W`: steps of linear warm-up.
    pub warmup_steps: u64,
    /// `base · batch / 256`.
    pub peak_learning_rate: f64,
    /// `τ_base`.
    pub target_ema_base: f64,
}

impl Schedule {
    /// `K = ⌊epochs · images / batch⌋` and `W = ⌊warmup_epochs · images / batch⌋`, as `configs/byol.py`.
    pub fn new(lengths: RunLength, base_learning_rate: f64, target_ema_base: f64) -> Self {
        let steps = |epochs: f64| (epochs * lengths.images as f64 / lengths.batch_size as f64).floor() as u64;
        Self {
            total_steps: steps(lengths.epochs),
            warmup_steps: steps(lengths.warmup_epochs),
            peak_learning_rate: base_learning_rate * lengths.batch_size as f64 / 256.0,
            target_ema_base,
        }
    }

    /// Linear from 0 to the peak over the warm-up, then a half cosine to 0; the first step has rate 0.
    pub fn learning_rate(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak_learning_rate * step as f64 / self.warmup_steps as f64;
        }
        let decay_steps = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let progress = (step - self.warmup_steps).min(decay_steps) as f64 / decay_steps as f64;
        self.peak_learning_rate * 0.5 * (1.0 + (PI * progress).cos())
    }

    /// `τ(k) = 1 − (1 − τ_base) · (cos(πk/K) + 1) / 2`, rising from `τ_base` to 1.
    pub fn target_ema(&self, step: u64) -> f64 {
        let progress = step.min(self.total_steps) as f64 / self.total_steps.max(1) as f64;
        1.0 - (1.0 - self.target_ema_base) * 0.5 * (1.0 + (PI * progress).cos())
    }
}

/// What the number of steps follows from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunLength {
    /// Pictures in the training data.
    pub images: usize,
    /// Global batch size.
    pub batch_size: usize,
    /// Passes over the data.
    pub epochs: f64,
    /// Passes over the data during warm-up.
    pub warmup_epochs: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Schedule =
        Schedule { total_steps: 10, warmup_steps: 3, peak_learning_rate: 0.5, target_ema_base: 0.9 };

    #[test]
    fn the_first_step_has_rate_zero_and_the_last_nearly_zero() {
        assert_eq!(SHORT.learning_rate(0), 0.0);
        assert_eq!(SHORT.learning_rate(3), 0.5);
        assert!(SHORT.learning_rate(9) < 0.03 && SHORT.learning_rate(10).abs() < 1e-12);
    }

    #[test]
    fn the_target_ema_rises_from_its_base_to_one() {
        assert!((SHORT.target_ema(0) - 0.9).abs() < 1e-12);
        assert!((1..=10).all(|step| SHORT.target_ema(step) > SHORT.target_ema(step - 1)));
        assert_eq!(SHORT.target_ema(10), 1.0);
        assert_eq!(SHORT.target_ema(11), 1.0);
    }
}
