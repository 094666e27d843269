//! Accuracies and average precision, from scores or predicted classes and the truth. All in percent.

pub use byol_data::benchmarks::{Metric, Presence};

/// The truth about pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Targets<'a> {
    /// One class per picture.
    Classes(&'a [u32]),
    /// Any number of classes per picture: `[pictures, classes]`, row-major.
    Presences(&'a [Presence]),
}

/// Whether `metric` can be measured against such targets.
pub fn fits(metric: Metric, targets: Targets) -> bool {
    matches!(targets, Targets::Presences(_)) == (metric == Metric::MeanAp11)
}

/// The metric of `scores` `[pictures, classes]`; 0 for targets it does not [fit](fits).
pub fn measure(metric: Metric, scores: &[f64], targets: Targets, classes: usize) -> f64 {
    match (metric, targets) {
        (Metric::Top1, Targets::Classes(labels)) => top_k(scores, labels, classes, 1),
        (Metric::MeanPerClass, Targets::Classes(labels)) => {
            mean_per_class(&confusion(labels, &predictions(scores, classes), classes))
        }
        (Metric::MeanAp11, Targets::Presences(presences)) => mean_average_precision_11(scores, presences, classes),
        (Metric::Top1 | Metric::MeanPerClass, Targets::Presences(_)) | (Metric::MeanAp11, Targets::Classes(_)) => 0.0,
    }
}

/// Whether fewer than `top` other classes score at least as high as `label`: a tie counts against the classifier, as does a NaN.
/// A network that gives every class the same score is thus right about nothing, rather than about the first class.
pub fn is_among_top<T: PartialOrd>(scores: &[T], label: u32, top: usize) -> bool {
    let label = label as usize;
    let behind = |score: &T| *score < scores[label];
    scores.iter().enumerate().filter(|(class, score)| *class != label && !behind(score)).count() < top
}

/// Share of pictures whose class is among the `top` highest of its row in `scores` `[pictures, classes]`, see [`is_among_top`].
/// 0 without pictures.
pub fn top_k<T: PartialOrd>(scores: &[T], labels: &[u32], classes: usize, top: usize) -> f64 {
    let rows = scores.chunks_exact(classes.max(1));
    percent(rows.zip(labels).filter(|(row, label)| is_among_top(row, **label, top)).count(), labels.len())
}

/// The class with the highest score of each row of `scores` `[pictures, classes]`; ties go to the lower class.
pub fn predictions(scores: &[f64], classes: usize) -> Vec<u32> {
    scores.chunks_exact(classes.max(1)).map(highest).collect()
}

/// The index of the largest number; ties go to the lower index.
pub fn highest(scores: &[f64]) -> u32 {
    let best = scores.iter().enumerate().max_by(|(a, x), (b, y)| x.total_cmp(y).then(b.cmp(a)));
    best.map_or(0, |(class, _)| class as u32)
}

/// How many pictures of class i were taken for class j: `[i][j]`, i the truth.
pub fn confusion(labels: &[u32], predictions: &[u32], classes: usize) -> Vec<Vec<u32>> {
    let mut counts = vec![vec![0; classes]; classes];
    for (&label, &predicted) in labels.iter().zip(predictions) {
        counts[label as usize][predicted as usize] += 1;
    }
    counts
}

/// Share of pictures on the diagonal of a [`confusion`]; 0 without pictures.
pub fn accuracy(confusion: &[Vec<u32>]) -> f64 {
    let right = confusion.iter().enumerate().map(|(class, row)| row[class] as usize).sum();
    percent(right, confusion.iter().flatten().map(|&count| count as usize).sum())
}

/// Mean over the classes of the share of their pictures that was recognised, from a [`confusion`]:
/// `1/C · Σ_c confusion[c][c] / Σ_j confusion[c][j]`. Classes without pictures are left out; 0 without any.
pub fn mean_per_class(confusion: &[Vec<u32>]) -> f64 {
    mean(confusion.iter().enumerate().filter_map(|(class, row)| {
        let pictures: usize = row.iter().map(|&count| count as usize).sum();
        (pictures > 0).then(|| percent(row[class] as usize, pictures))
    }))
}

/// Mean of [`average_precision_11`] over the classes of `scores` and `presences`, both `[pictures, classes]`. Classes without
/// positive pictures are left out; 0 without any.
pub fn mean_average_precision_11(scores: &[f64], presences: &[Presence], classes: usize) -> f64 {
    mean((0..classes).filter_map(|class| {
        let of_class = |index: usize| index * classes + class;
        let pictures = scores.len() / classes;
        let scores: Vec<f64> = (0..pictures).map(|index| scores[of_class(index)]).collect();
        let presences: Vec<Presence> = (0..pictures).map(|index| presences[of_class(index)]).collect();
        average_precision_11(&scores, &presences)
    }))
}

/// Average precision of one class at eleven recalls, as VOC2007 defines it (Everingham et al. 2010, section 4.2; the
/// development kit's `VOCevalcls.m`): `1/11 · Σ_{r ∈ {0, 0.1, …, 1}} max_{r' ≥ r} precision(r')`.
///
/// Pictures are ordered by falling score, equal ones in the order of the data set (MATLAB's `sort` is stable); NaN comes last.
/// Each place of that order has a recall and a precision; difficult pictures keep their place but count neither way. Recalls
/// are compared exactly, in whole numbers, where the kit compares `0:0.1:1` in floating point.
///
/// `None` without positive pictures.
pub fn average_precision_11(scores: &[f64], presences: &[Presence]) -> Option<f64> {
    let count_of = |wanted: Presence| presences.iter().filter(|presence| **presence == wanted).count();
    let positives = count_of(Presence::Positive);
    if positives == 0 {
        return None;
    }
    let confidence = |index: usize| if scores[index].is_nan() { f64::NEG_INFINITY } else { scores[index] };
    let mut order: Vec<usize> = (0..scores.len()).collect();
    // `sort_by` is stable; without NaN every pair has an order.
    order.sort_by(|&a, &b| confidence(b).partial_cmp(&confidence(a)).unwrap_or(std::cmp::Ordering::Equal));

    let (mut found, mut seen) = (0usize, 0usize);
    let mut best = [0.0f64; 11];
    for index in order {
        match presences[index] {
            Presence::Positive => (found, seen) = (found + 1, seen + 1),
            Presence::Negative => seen += 1,
            Presence::Difficult => continue,
        }
        for (tenths, best) in best.iter_mut().enumerate() {
            if 10 * found >= tenths * positives {
                *best = best.max(found as f64 / seen as f64);
            }
        }
    }
    Some(100.0 * best.iter().sum::<f64>() / 11.0)
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    sum / count.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_and_nans_count_against_the_classifier() {
        assert!(is_among_top(&[0.1, 0.3, 0.2], 2, 2));
        assert!(!is_among_top(&[0.1, 0.3, 0.2], 2, 1));
        assert!(!is_among_top(&[1.0, 1.0], 0, 1), "a constant network knows nothing");
        assert!(!is_among_top(&[f32::NAN, 1.0], 0, 1));
        assert!(!is_among_top(&[f32::NAN, 1.0], 1, 1));
        assert!(is_among_top(&[1.0, 1.0], 0, 5), "fewer classes than places");
        assert_eq!(top_k(&[0.9, 0.1, 0.2, 0.8, 0.6, 0.4], &[0, 1, 1], 2, 1), 100.0 * 2.0 / 3.0);
        assert_eq!(top_k::<f64>(&[], &[], 3, 1), 0.0);
    }

    #[test]
    fn a_confusion_counts_truth_by_row_and_classes_without_pictures_are_left_out_of_the_mean() {
        let counts = confusion(&[0, 0, 0, 2], &[0, 0, 1, 2], 3);
        assert_eq!(counts, [[2, 1, 0], [0, 0, 0], [0, 0, 1]]);
        assert_eq!(accuracy(&counts), 75.0);
        assert!((mean_per_class(&counts) - 100.0 * (2.0 / 3.0 + 1.0) / 2.0).abs() < 1e-9);
        assert_eq!((accuracy(&[]), mean_per_class(&[])), (0.0, 0.0));
        assert_eq!(predictions(&[0.0, 0.5, 0.5, 0.3, 0.2, 0.1], 3), [1, 0], "ties go to the lower class");
    }

    #[test]
    fn average_precision_takes_the_best_precision_at_or_after_each_recall() {
        use Presence::{Difficult, Negative, Positive};
        // Precisions 1, 1/2, 2/3 at recalls 1/2, 1/2, 1: six thresholds up to 0.5 take 1, the five others 2/3.
        let expected = 100.0 * (6.0 + 5.0 * 2.0 / 3.0) / 11.0;
        let three = average_precision_11(&[0.9, 0.8, 0.7], &[Positive, Negative, Positive]).unwrap();
        assert!((three - expected).abs() < 1e-9);
        let with_difficult = [Difficult, Positive, Difficult, Negative, Positive];
        let five = average_precision_11(&[1.0, 0.9, 0.85, 0.8, 0.7], &with_difficult).unwrap();
        assert!((five - expected).abs() < 1e-9, "difficult pictures count neither way");
        let tied = average_precision_11(&[0.5, 0.5], &[Negative, Positive]).unwrap();
        assert!((tied - 50.0).abs() < 1e-9, "equal scores stay in the order of the data set: {tied}");
        assert_eq!(average_precision_11(&[0.5, 0.1], &[Negative, Difficult]), None);
        // Ten positives in order: recall reaches 0.3 exactly at the third, which floating point would miss.
        let mut presences = vec![Positive; 10];
        presences.insert(3, Negative);
        let scores: Vec<f64> = (0..11).map(|index| -f64::from(index)).collect();
        let exact = average_precision_11(&scores, &presences).unwrap();
        assert!((exact - 100.0 * (4.0 + 7.0 * 10.0 / 11.0) / 11.0).abs() < 1e-9, "{exact}");
    }

    #[test]
    fn map_leaves_out_classes_without_positives() {
        use Presence::{Negative, Positive};
        let presences = [Positive, Negative, Negative, Negative];
        assert!((mean_average_precision_11(&[1.0, 1.0, 0.0, 0.0], &presences, 2) - 100.0).abs() < 1e-9);
        assert_eq!(mean_average_precision_11(&[1.0], &[Negative], 1), 0.0);
    }
}
