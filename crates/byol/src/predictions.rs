//! What a classifier takes pictures for, as a table.

use std::path::{Path, PathBuf};

use byol_data::Dataset;
use byol_eval::Features;
use byol_eval::classifier::Prediction;
use byol_eval::knn::Neighbour;
use byol_nn::files::{check_outside, check_writable, write_atomically};
use byol_nn::{Error, Result};

/// Most similar pictures that are named.
pub const NEIGHBOURS: usize = 3;

/// The most similar pictures of another data set for every row of features, as [`neighbours`](byol_eval::knn::neighbours) finds them.
pub struct Neighbours<'a> {
    /// Where they are.
    pub dataset: &'a Dataset,
    /// Its features.
    pub features: &'a Features,
    /// For each predicted picture, most similar first.
    pub found: &'a [Vec<Neighbour>],
}

/// Checks that predictions for `data` may be written to `path`, before pictures are read.
///
/// # Errors
/// [`Error::Path`] for another ending than `.csv`, an existing file or a place inside the data, [`Error::Io`] for a place that
/// cannot be written to.
pub fn check_free(path: &Path, data: &[PathBuf]) -> Result<()> {
    if path.extension().is_none_or(|extension| extension != "csv") {
        return Err(Error::path(path, "expected a file name that ends in .csv; give another -o"));
    }
    data.iter().try_for_each(|data| check_outside(path, data))?;
    if path.symlink_metadata().is_ok() {
        return Err(Error::path(path, "already exists and is not overwritten; give another -o"));
    }
    check_writable(path)
}

/// Writes one line per row of `features`: `name,label,probability,second_label,second_probability`, and with `neighbours`
/// `neighbour_1,similarity_1,…` (cosine). Names are those of `dataset`, labels those of `classes`.
///
/// # Errors
/// [`Error::Io`] when it cannot be written; then there is no file.
pub fn write_predictions(
    dataset: &Dataset,
    features: &Features,
    classes: &[String],
    predictions: &[Prediction],
    neighbours: Option<&Neighbours>,
    path: &Path,
) -> Result<()> {
    write_atomically(path, |writer| {
        let mut csv = csv::Writer::from_writer(writer);
        let mut head: Vec<String> =
            ["name", "label", "probability", "second_label", "second_probability"].map(str::to_owned).into();
        if neighbours.is_some() {
            let columns = |place: usize| [format!("neighbour_{place}"), format!("similarity_{place}")];
            head.extend((1..=NEIGHBOURS).flat_map(columns));
        }
        csv.write_record(&head)?;
        let class = |class: u32| classes[class as usize].clone();
        for (row, (prediction, &place)) in predictions.iter().zip(&features.images).enumerate() {
            let second = match prediction.second {
                Some((second, probability)) => [class(second), digits(probability)],
                None => [String::new(), String::new()],
            };
            let first = [dataset.name(place as usize), class(prediction.class), digits(prediction.probability)];
            let mut cells: Vec<String> = first.into_iter().chain(second).collect();
            if let Some(neighbours) = neighbours {
                cells.extend(neighbours.cells(row));
            }
            csv.write_record(&cells)?;
        }
        csv.flush()
    })
}

impl Neighbours<'_> {
    /// Names and similarities; empty where there are fewer pictures.
    fn cells(&self, row: usize) -> Vec<String> {
        let cell = |place: usize| match self.found[row].get(place) {
            Some(neighbour) => {
                let image = self.features.images[neighbour.row] as usize;
                [self.dataset.name(image), digits(neighbour.cosine.into())]
            }
            None => [String::new(), String::new()],
        };
        (0..NEIGHBOURS).flat_map(cell).collect()
    }
}

/// A probability or a cosine.
fn digits(value: f64) -> String {
    format!("{value:.6}")
}

#[cfg(test)]
mod tests {
    use byol_data::Image;

    use super::*;

    #[test]
    fn every_readable_picture_has_a_line_with_what_is_known() {
        let images = (0..3).map(|_| Image::rgb8(1, 1, vec![0; 3])).collect();
        let names = ["a, b.png", "bad.png", "c.png"].map(str::to_owned).to_vec();
        let dataset = Dataset::from_images(images, None, vec![], names);
        let features =
            Features { values: vec![0.0; 2], size: 1, images: vec![0, 2], labels: vec![None; 2], bad: vec![] };
        let predictions = [
            Prediction { class: 1, probability: 0.75, second: Some((0, 0.25)) },
            Prediction { class: 0, probability: 1.0, second: None },
        ];
        let found = [vec![Neighbour { row: 1, cosine: 0.5 }], vec![]];
        let neighbours = Neighbours { dataset: &dataset, features: &features, found: &found };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.csv");
        let classes = ["cat".to_owned(), "dog".to_owned()];
        write_predictions(&dataset, &features, &classes, &predictions, Some(&neighbours), &path).unwrap();
        let expected = "name,label,probability,second_label,second_probability,neighbour_1,similarity_1,neighbour_2,similarity_2,\
                        neighbour_3,similarity_3\n\"a, b.png\",dog,0.750000,cat,0.250000,c.png,0.500000,,,,\nc.png,cat,1.000000,,,,,,,,\n";
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        assert!(check_free(&path, &[]).unwrap_err().to_string().contains("already exists"));
        assert!(check_free(&folder.path().join("p.txt"), &[]).unwrap_err().to_string().contains(".csv"));
        let inside = check_free(&folder.path().join("q.csv"), &[folder.path().to_owned()]);
        assert!(inside.unwrap_err().to_string().contains("inside the data folder"));
    }
}
