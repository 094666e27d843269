//! Labels that the neighbours of a picture contradict.

use super::neighbours::Neighbours;

/// How neighbours vote.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct LabelErrorOptions {
    /// Neighbours that vote.
    pub k: usize,
    /// `T` of a vote's weight, `exp(cosine / T)`.
    pub temperature: f64,
}

impl Default for LabelErrorOptions {
    /// k 20 and T 0.07, as in `byol eval knn`.
    fn default() -> Self {
        Self { k: 20, temperature: 0.07 }
    }
}

/// A row whose label its neighbours contradict.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suspect {
    /// Which row.
    pub row: u32,
    /// The label it has.
    pub label: u32,
    /// The label with the heaviest vote.
    pub suggested: u32,
    /// Share of the votes for the label it has, below ½.
    pub own_share: f64,
    /// Share of the votes for the suggested one.
    pub suggested_share: f64,
}

impl Suspect {
    /// How far the suggested label leads, 0 to 1.
    pub fn score(&self) -> f64 {
        self.suggested_share - self.own_share
    }
}

/// All of them, and how far to trust them.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelErrors {
    /// By score, highest first; ties go to the lower row.
    pub suspects: Vec<Suspect>,
    /// Share of rows whose heaviest vote is for their own label: that of a k-NN classifier on these labels. Where it is low, most suspects are
    /// pictures that the encoder does not tell apart.
    pub agreeing: f64,
}

/// Rows whose neighbours mostly have another label: a label `c` gets the share
/// `p(c) = Σ_{i ≤ k, l_i = c} exp(cos_i / T) / Σ_{i ≤ k} exp(cos_i / T)` of the votes of the k nearest other rows, and a row is suspect when
/// `p(own) < ½` and another label leads. The score is `p(suggested) − p(own)`.
///
/// `labels` are those of the rows that `neighbours` speaks of, all of them known.
pub fn suspects(neighbours: &Neighbours, labels: &[u32], temperature: f64) -> LabelErrors {
    let classes = labels.iter().max().map_or(0, |&label| label as usize + 1);
    let mut votes = vec![0.0f64; classes];
    let mut suspects = Vec::new();
    let mut agreeing = 0usize;
    for (row, &label) in (0u32..).zip(labels) {
        votes.fill(0.0);
        for near in neighbours.of(row as usize) {
            // Shifted by 1 so that small temperatures do not overflow; shares stay the same.
            votes[labels[near.row as usize] as usize] += ((f64::from(near.cosine) - 1.0) / temperature).exp();
        }
        let total: f64 = votes.iter().sum();
        if total == 0.0 {
            continue;
        }
        // Ties go to the lower label.
        let heaviest = (0..classes).fold(0, |best, class| if votes[class] > votes[best] { class } else { best });
        agreeing += usize::from(heaviest == label as usize);
        let share = |class: usize| votes[class] / total;
        let found = Suspect {
            row,
            label,
            suggested: heaviest as u32,
            own_share: share(label as usize),
            suggested_share: share(heaviest),
        };
        if found.own_share < 0.5 && found.score() > 0.0 {
            suspects.push(found);
        }
    }
    suspects.sort_by(|a, b| b.score().total_cmp(&a.score()).then(a.row.cmp(&b.row)));
    LabelErrors { suspects, agreeing: agreeing as f64 / labels.len().max(1) as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbours::tests::drawn;
    use crate::{Work, of_all};

    #[test]
    fn exchanged_labels_come_first_with_the_right_suggestion() {
        let vectors = drawn(350, 24);
        let mut labels: Vec<u32> = (0..350).map(|row| row % 7).collect();
        for row in [10, 100, 333] {
            labels[row] = (labels[row] + 3) % 7;
        }
        let found = suspects(&of_all(&vectors, 20, Work::silent()), &labels, 0.07);
        let mut first: Vec<(u32, u32)> = found.suspects[..3].iter().map(|found| (found.row, found.suggested)).collect();
        first.sort_unstable();
        assert_eq!(first, [(10, 3), (100, 2), (333, 4)]);
        assert!(found.suspects.iter().all(|found| found.own_share < 0.5 && found.suggested != found.label));
        assert!(found.agreeing > 0.95 && found.agreeing < 1.0, "{}", found.agreeing);
    }
}
