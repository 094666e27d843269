//! What a step measures on the way: sums over micro-batches and ranks.

use burn::tensor::Tensor;
use byol_nn::Result;
use byol_nn::dist::Communicator;
use byol_nn::model::NamedGradients;
use byol_nn::ops;
use byol_nn::weights::to_vec;

use crate::method::{Losses, Part, positive_cosine, projection_std};

/// Means over the micro-batches of a step.
#[derive(Default)]
pub struct Sums {
    /// Loss, spread of the projections and cosine of the two views, `[3]`, where they are computed; of a process that is alone.
    means: Option<Tensor<1>>,
    /// This rank's part of the loss and of the cosine, and for each micro-batch its pictures with sum and sum of squares of every
    /// coordinate of the unit-length projections of both views: what the spread over the pictures of all ranks is made of.
    parts: Vec<f64>,
}

/// What a step measured.
pub struct Measured {
    pub loss: f32,
    pub projection_std: f32,
    pub positive_cosine: f32,
    pub grad_norm: f32,
}

impl Sums {
    pub fn add(&mut self, losses: &Losses, micro_batches: usize, part: &Part) {
        let [z1, z2] = losses.projections.clone();
        if !part.ranks.is_alone() {
            return self.add_part(losses, micro_batches, part);
        }
        let spread = (projection_std(z1.clone()) + projection_std(z2.clone())) * 0.5;
        let means = Tensor::cat(vec![losses.loss.clone(), spread, positive_cosine(z1, z2)], 0);
        let means = means * (1.0 / micro_batches as f32);
        self.means = Some(match self.means.take() {
            Some(sum) => sum + means,
            None => means,
        });
    }

    fn add_part(&mut self, losses: &Losses, micro_batches: usize, part: &Part) {
        let [z1, z2] = losses.projections.clone();
        let weight = f64::from(part.share) / micro_batches as f64;
        let number = |value: Tensor<1>| f64::from(ops::read_one(value)) * weight;
        if self.parts.is_empty() {
            self.parts = vec![0.0; 2];
        }
        self.parts[0] += number(losses.loss.clone());
        self.parts[1] += number(positive_cosine(z1.clone(), z2.clone()));
        let [pictures, size] = z1.dims();
        self.parts.push(pictures as f64);
        for z in [z1, z2] {
            let rows = to_vec(ops::l2_normalize(z).reshape([pictures * size]));
            let (mut sum, mut squares) = (vec![0.0; size], vec![0.0; size]);
            for row in rows.chunks_exact(size) {
                for (column, &value) in row.iter().enumerate() {
                    sum[column] += f64::from(value);
                    squares[column] += f64::from(value).powi(2);
                }
            }
            self.parts.extend(sum.into_iter().chain(squares));
        }
    }

    /// The one moment of a step at which this thread waits for the device. `gradients` are those of all ranks.
    ///
    /// # Errors
    /// The ranks cannot talk to each other.
    pub fn read(self, gradients: &NamedGradients, size: usize, ranks: &dyn Communicator) -> Result<Measured> {
        let squares = ops::sum_of_squares(gradients.values().cloned().collect());
        let all = self.means.into_iter().chain([squares]).collect();
        let values = ops::read(Tensor::cat(all, 0));
        if let [loss, projection_std, positive_cosine, squares] = values[..] {
            return Ok(Measured { loss, projection_std, positive_cosine, grad_norm: squares.sqrt() });
        }
        let mut parts = self.parts;
        ranks.sum(&mut parts)?;
        let (means, micro_batches) = parts.split_at(2);
        let spreads = micro_batches.chunks_exact(1 + 4 * size).map(|sums| spread(sums[0], &sums[1..], size));
        let count = micro_batches.len() / (1 + 4 * size);
        Ok(Measured {
            loss: means[0] as f32,
            projection_std: (spreads.sum::<f64>() / count as f64) as f32,
            positive_cosine: means[1] as f32,
            grad_norm: values[0].sqrt(),
        })
    }
}

/// See [`projection_std`]: mean over the coordinates of `√(E[z²] − E[z]²)`, and over both views.
fn spread(pictures: f64, sums: &[f64], size: usize) -> f64 {
    let view = |sums: &[f64]| -> f64 {
        let (sum, squares) = sums.split_at(size);
        let coordinates = sum.iter().zip(squares);
        let deviations = coordinates.map(|(sum, square)| square / pictures - (sum / pictures).powi(2));
        // A NaN stays one: `max` would hide it.
        deviations.map(|variance| if variance < 0.0 { 0.0 } else { variance.sqrt() }).sum::<f64>() / size as f64
    };
    let (first, second) = sums.split_at(2 * size);
    (view(first) + view(second)) / 2.0
}
