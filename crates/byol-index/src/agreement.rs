//! How clusters and classes agree.

/// Of a partition with the classes of the rows that have one.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Agreement {
    /// `1/n · Σ_c max_l n(c, l)`: share of rows that are of the most frequent class of their cluster. More clusters raise it by themselves.
    pub purity: f64,
    /// `I(C; L) / ((H(C) + H(L)) / 2)`: normalised mutual information, 0 (independent) to 1 (the same partition).
    pub nmi: f64,
    /// Rows with a class.
    pub labelled: usize,
}

impl Agreement {
    /// Of `clusters` with `labels`; `None` without labels.
    pub fn of(clusters: &[u32], labels: &[Option<u32>]) -> Option<Self> {
        let pairs: Vec<(u32, u32)> =
            clusters.iter().zip(labels).filter_map(|(&cluster, &label)| Some((cluster, label?))).collect();
        if pairs.is_empty() {
            return None;
        }
        let count = pairs.len() as f64;
        let mut cells: std::collections::BTreeMap<(u32, u32), usize> = std::collections::BTreeMap::new();
        pairs.iter().for_each(|&pair| *cells.entry(pair).or_default() += 1);
        let (mut rows, mut columns, mut largest) = (Counts::new(), Counts::new(), Counts::new());
        for (&(cluster, label), &cell) in &cells {
            *rows.entry(cluster).or_default() += cell;
            *columns.entry(label).or_default() += cell;
            let largest = largest.entry(cluster).or_default();
            *largest = cell.max(*largest);
        }
        let entropy = |counts: &Counts| -> f64 {
            counts.values().map(|&cell| cell as f64 / count).map(|share| -share * share.ln()).sum()
        };
        let shared: f64 = cells
            .iter()
            .map(|(&(cluster, label), &cell)| {
                let cell = cell as f64;
                cell / count * (cell * count / (rows[&cluster] as f64 * columns[&label] as f64)).ln()
            })
            .sum();
        let mean = (entropy(&rows) + entropy(&columns)) / 2.0;
        // One cluster of one class: the same partition.
        let nmi = if mean > 0.0 { (shared / mean).clamp(0.0, 1.0) } else { 1.0 };
        let purity = largest.values().sum::<usize>() as f64 / count;
        Some(Self { purity, nmi, labelled: pairs.len() })
    }
}

type Counts = std::collections::BTreeMap<u32, usize>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_the_scale_are_known() {
        let labels = [0, 0, 1, 1].map(Some);
        let same = Agreement::of(&[5, 5, 2, 2], &labels).unwrap();
        assert!((same.purity, same.labelled) == (1.0, 4) && (same.nmi - 1.0).abs() < 1e-12);
        let independent = Agreement::of(&[0, 1, 0, 1], &labels).unwrap();
        assert_eq!((independent.purity, independent.nmi), (0.5, 0.0));
        assert_eq!(Agreement::of(&[0, 0], &[Some(1), Some(1)]).unwrap().nmi, 1.0);
        assert_eq!(Agreement::of(&[0, 1], &[None, None]), None);
        assert_eq!(Agreement::of(&[0, 0, 0], &[Some(1), None, Some(2)]).unwrap().labelled, 2);
    }
}
