//! Stanford Cars: <https://ai.stanford.edu/~jkrause/cars/car_dataset.html>. Annotations are MATLAB files.

use super::found::{Found, Part};
use super::mat::{self, Value};
use super::tree::Tree;
use crate::DataError;

/// The paper's share of the training part.
const VAL: u32 = 1650;
const TRAIN: u32 = 8144;

pub(super) fn read(tree: &Tree<'_>) -> Result<Found, DataError> {
    let meta = "devkit/cars_meta.mat";
    let names = variable(tree, meta, "the names of the classes", "class_names")?;
    let names = match &names {
        Value::Cells(names) => names.iter().map(Value::text).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    let names = names.ok_or_else(|| tree.malformed(meta, "a list of texts in class_names", "something else"))?;
    let mut found = Found::new(names.into_iter().map(str::to_owned).collect());
    // The labels of the test part were published later, and torchvision keeps them one folder up.
    let test = tree.existing(&["devkit/cars_test_annos_withlabels.mat", "cars_test_annos_withlabels.mat"]);
    for (part, folder, name) in
        [(Part::Train, "cars_train", "devkit/cars_train_annos.mat"), (Part::Test, "cars_test", test)]
    {
        let annotations = variable(tree, name, "files and classes of the pictures", "annotations")?;
        let rows = annotations.column("fname").zip(annotations.column("class"));
        let (files, classes) =
            rows.ok_or_else(|| tree.malformed(name, "annotations with fname and class", "others"))?;
        for (number, (file, class)) in (1..).zip(files.zip(classes)) {
            let row = file.text().zip(class.whole_number().and_then(|class| found.numbered(&class.to_string(), 1)));
            let expected = "a file name, and a class from 1 to the number of names in cars_meta.mat";
            let (file, label) =
                row.ok_or_else(|| tree.malformed(name, expected, format!("others in annotation {number}")))?;
            found.push(part, &format!("{folder}/{file}"), Some(label));
        }
    }
    found.hold_out_share(tree, VAL, TRAIN);
    Ok(found)
}

fn variable(tree: &Tree<'_>, name: &str, expected: &str, variable: &str) -> Result<Value, DataError> {
    let bytes = tree.bytes(name, expected)?;
    mat::variable(&bytes, variable)
        .map_err(|reason| tree.malformed(name, format!("{variable} in a MATLAB 5 file"), reason))
}
