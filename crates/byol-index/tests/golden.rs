//! What NumPy and scikit-learn make of the same numbers; see tests/golden/index.py.

use byol_index::{
    Agreement, Chosen, Clusters, Duplicates, Vectors, Work, k_centre, k_means, lloyd, of_all, outliers, search,
    suspects, typical,
};
use serde_json::Value;

/// What f32 may differ by from f64.
const ROUNDING: f64 = 2e-6;

fn golden() -> Value {
    serde_json::from_str(include_str!("data/index.json")).unwrap()
}

fn vectors(rows: &Value) -> Vectors {
    let size = rows[0].as_array().unwrap().len();
    Vectors::new(floats(rows).iter().map(|&value| value as f32).collect(), size)
}

/// All numbers, whatever they are nested in.
fn floats(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(floats).collect(),
        number => vec![number.as_f64().unwrap()],
    }
}

fn whole(value: &Value) -> Vec<u32> {
    floats(value).iter().map(|&number| number as u32).collect()
}

fn assert_near(found: impl IntoIterator<Item = f64>, expected: &Value) {
    let (found, expected): (Vec<f64>, _) = (found.into_iter().collect(), floats(expected));
    assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() < ROUNDING * expected.abs().max(1.0),
            "number {at}: {found}, expected {expected}"
        );
    }
}

#[test]
fn neighbours_are_those_that_numpy_finds() {
    let golden = golden();
    let (rows, queries) = (vectors(&golden["rows"]), vectors(&golden["queries"]));
    let cases = [("search", search(&rows, &queries, 6, Work::silent())), ("of_all", of_all(&rows, 7, Work::silent()))];
    for (name, found) in cases {
        let all = || (0..found.queries()).flat_map(|query| found.of(query));
        assert_eq!(all().map(|near| near.row).collect::<Vec<_>>(), whole(&golden[name]["rows"]), "{name}");
        assert_near(all().map(|near| near.cosine.into()), &golden[name]["cosines"]);
    }
}

#[test]
fn groups_of_duplicates_are_the_connected_parts() {
    let golden = golden();
    let rows = vectors(&golden["rows"]);
    for case in golden["groups"].as_array().unwrap() {
        let found = Duplicates::find(&rows, case["threshold"].as_f64().unwrap() as f32, Work::silent());
        let groups: Vec<Vec<u32>> = found.groups.into_iter().map(|group| group.rows).collect();
        let expected: Vec<Vec<u32>> = case["rows"].as_array().unwrap().iter().map(whole).collect();
        assert!(!expected.is_empty());
        assert_eq!(groups, expected, "threshold {}", case["threshold"]);
    }
}

#[test]
fn outliers_have_the_scores_and_the_order_of_numpy() {
    let golden = golden();
    let ranked = outliers(&of_all(&vectors(&golden["rows"]), 7, Work::silent()));
    assert_eq!(ranked.iter().map(|outlier| outlier.row).collect::<Vec<_>>(), whole(&golden["outliers"]["order"]));
    let mut by_row = ranked;
    by_row.sort_by_key(|outlier| outlier.row);
    assert_near(by_row.iter().map(|outlier| outlier.score), &golden["outliers"]["scores"]);
}

#[test]
fn rounds_of_spherical_k_means_go_where_numpy_goes() {
    let golden = golden();
    let (rows, case) = (vectors(&golden["rows"]), &golden["lloyd"]);
    let first = rows.select(&whole(&case["first"]));
    let rounds = case["rounds"].as_u64().unwrap() as usize;
    let of = |rounds| lloyd(&rows, first.clone(), rounds, -1.0, Work::silent());
    assert_near((0..=rounds).map(|rounds| of(rounds).inertia), &case["inertias"]);
    assert_eq!(of(rounds).of_row, whole(&case["of_row"]));
}

#[test]
fn separate_clusters_are_those_of_scikit_learn_with_its_inertia() {
    let golden = golden();
    let case = &golden["parted"];
    let rows = vectors(&case["rows"]);
    let options = byol_index::ClusterOptions { clusters: 6, restarts: 10, ..Default::default() };
    let found = k_means(&rows, &options, Work::silent());
    let theirs: Vec<Option<u32>> = whole(&case["of_row"]).into_iter().map(Some).collect();
    let same = Agreement::of(&found.of_row, &theirs).unwrap();
    assert!(same.purity == 1.0 && (same.nmi - 1.0).abs() < 1e-12, "{same:?}");
    // Of a partition of unit rows: Σ ‖x − mean‖² = n − Σ ‖sum of a cluster‖² / its size.
    let inertia: f64 = found.rows_by_cluster().iter().map(|members| spread(&rows, members)).sum();
    let expected = case["euclidean_inertia"].as_f64().unwrap();
    assert!((inertia - expected).abs() < 1e-5 * expected, "{inertia} {expected}");
}

fn spread(rows: &Vectors, members: &[u32]) -> f64 {
    let mut sum = vec![0.0f64; rows.size()];
    for &row in members {
        sum.iter_mut().zip(rows.row(row as usize)).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    let count = members.len() as f64;
    count - sum.iter().map(|x| x * x).sum::<f64>() / count
}

#[test]
fn purity_and_mutual_information_are_those_of_scikit_learn() {
    let golden = golden();
    let labels: Vec<Option<u32>> = whole(&golden["labels"]).into_iter().map(Some).collect();
    let found = Agreement::of(&whole(&golden["lloyd"]["of_row"]), &labels).unwrap();
    assert_near([found.purity], &golden["agreement"]["purity"]);
    assert_near([found.nmi], &golden["agreement"]["nmi"]);
}

fn assert_chosen(found: &[Chosen], case: &Value) {
    let chosen = case["chosen"].as_array().unwrap();
    assert_eq!(found.len(), chosen.len());
    for (found, expected) in found.iter().zip(chosen) {
        assert_eq!(u64::from(found.row), expected["row"].as_u64().unwrap());
        assert_eq!(found.cluster.map(u64::from), expected["cluster"].as_u64());
        let score = expected["score"].as_f64().unwrap();
        assert!((found.score - score).abs() < 1e-5 * score.max(1.0), "{found:?}, expected {score}");
    }
}

#[test]
fn greedy_k_centre_chooses_what_numpy_chooses() {
    let golden = golden();
    let rows = vectors(&golden["rows"]);
    for case in golden["k_centre"].as_array().unwrap() {
        let count = case["chosen"].as_array().unwrap().len();
        let found = k_centre(&rows, &whole(&case["labelled"]), count, Work::silent());
        assert_chosen(&found.chosen, case);
        assert_near([found.radius], &case["radius"]);
    }
}

#[test]
fn typical_pictures_are_those_of_typiclust_written_out() {
    let golden = golden();
    let rows = vectors(&golden["rows"]);
    let of_row = whole(&golden["lloyd"]["of_row"]);
    let centres = rows.select(&whole(&golden["lloyd"]["first"]));
    let cosines = vec![0.0; of_row.len()];
    let clusters = Clusters { centres, of_row, cosines, inertia: 0.0, rounds: 0 };
    for case in golden["typical"].as_array().unwrap() {
        let count = case["chosen"].as_array().unwrap().len();
        assert_chosen(&typical(&rows, &clusters, &whole(&case["labelled"]), count, Work::silent()).chosen, case);
    }
}

#[test]
fn wrong_labels_are_those_that_numpy_suspects() {
    let golden = golden();
    let case = &golden["label_errors"];
    let k = case["k"].as_u64().unwrap() as usize;
    let neighbours = of_all(&vectors(&golden["rows"]), k, Work::silent());
    let found = suspects(&neighbours, &whole(&case["labels"]), case["temperature"].as_f64().unwrap());
    let expected = case["suspects"].as_array().unwrap();
    assert_eq!(found.suspects.len(), expected.len());
    for (found, expected) in found.suspects.iter().zip(expected) {
        assert_eq!(
            (u64::from(found.row), u64::from(found.suggested)),
            (expected["row"].as_u64().unwrap(), expected["suggested"].as_u64().unwrap())
        );
        // exp(cosine / 0.07) makes fourteen times as much of a last bit.
        assert!(
            (found.own_share - expected["own_share"].as_f64().unwrap()).abs() < 1e-5,
            "{found:?}, expected {expected}"
        );
        assert!((found.score() - expected["score"].as_f64().unwrap()).abs() < 1e-5, "{found:?}, expected {expected}");
    }
    assert_near([found.agreeing], &case["agreeing"]);
}
