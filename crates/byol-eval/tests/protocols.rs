//! k-NN against the independent PyTorch program and scikit-learn, the linear classifier on data whose answer is known.

use burn::tensor::Device;
use byol_eval::{Features, knn, linear};
use serde_json::Value;

fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/knn_linear.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn features(part: &Value) -> Features {
    let rows = part["features"].as_array().unwrap();
    let labels: Vec<Option<u32>> =
        part["labels"].as_array().unwrap().iter().map(|x| Some(x.as_u64().unwrap() as u32)).collect();
    let values: Vec<f32> =
        rows.iter().flat_map(|row| row.as_array().unwrap()).map(|x| x.as_f64().unwrap() as f32).collect();
    Features { size: values.len() / rows.len(), values, images: (0..rows.len() as u32).collect(), labels, bad: vec![] }
}

#[test]
fn knn_predicts_row_by_row_what_the_pytorch_program_does() {
    let golden = golden();
    let (train, test) = (features(&golden["train"]), features(&golden["test"]));
    for case in golden["knn"].as_array().unwrap() {
        let options = knn::KnnOptions { ks: vec![case["k"].as_u64().unwrap() as usize], temperatures: vec![0.1] };
        let expected: Vec<u64> = case["predictions"].as_array().unwrap().iter().map(|x| x.as_u64().unwrap()).collect();
        let predicted = knn::predict(&train, &test, &options, &Device::flex()).unwrap().remove(0);
        assert_eq!(predicted.into_iter().map(u64::from).collect::<Vec<_>>(), expected, "k {}", options.ks[0]);
        let top1 = knn::evaluate(&train, &test, &options, &Device::flex()).unwrap()[0].top1;
        assert!((top1 - 100.0 * case["top1"].as_f64().unwrap()).abs() < 1e-9);
    }
}

#[test]
fn every_k_and_temperature_of_one_search_has_the_numbers_of_scikit_learn() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/evaluation.json");
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let golden = &golden["knn"];
    let size = golden["size"].as_u64().unwrap() as usize;
    let part = |name: &str| {
        let values: Vec<f32> = golden[name]["features"].as_array().unwrap().iter().map(as_f32).collect();
        let labels: Vec<Option<u32>> =
            golden[name]["labels"].as_array().unwrap().iter().map(as_u32).map(Some).collect();
        Features { size, values, images: (0..labels.len() as u32).collect(), labels, bad: vec![] }
    };
    let (train, test) = (part("train"), part("test"));
    let cases = golden["cases"].as_array().unwrap();
    let options = knn::KnnOptions { ks: vec![1, 5, 20], temperatures: vec![0.07, 0.1, 1.0] };
    let predictions = knn::predict(&train, &test, &options, &Device::flex()).unwrap();
    let reports = knn::evaluate(&train, &test, &options, &Device::flex()).unwrap();
    assert_eq!((predictions.len(), reports.len()), (cases.len(), cases.len()));
    for ((case, predicted), report) in cases.iter().zip(&predictions).zip(&reports) {
        let name = format!("k {} T {}", report.k, report.temperature);
        assert_eq!((Some(report.k as u64), report.temperature), (case["k"].as_u64(), as_f32(&case["temperature"])));
        let expected: Vec<u32> = case["predictions"].as_array().unwrap().iter().map(as_u32).collect();
        assert_eq!(*predicted, expected, "{name}");
        let numbers = [("top1", report.top1), ("top5", report.top5), ("mean_per_class", report.mean_per_class)];
        for (metric, ours) in numbers {
            assert!((ours - 100.0 * case[metric].as_f64().unwrap()).abs() < 1e-9, "{name} {metric}");
        }
        assert_eq!(serde_json::to_value(&report.confusion).unwrap(), case["confusion"], "{name}");
    }
}

fn as_f32(value: &Value) -> f32 {
    value.as_f64().unwrap() as f32
}

fn as_u32(value: &Value) -> u32 {
    value.as_u64().unwrap() as u32
}

/// Two classes on a line: only a classifier with a bias that has learned tells them apart.
fn shifted_line(count: usize, seed: u64) -> Features {
    let mut random = byol_data::Random::new(seed, byol_data::Stream::Drawing, 0, 0);
    let labels: Vec<Option<u32>> = (0..count).map(|_| Some(random.below(2) as u32)).collect();
    let values = labels
        .iter()
        .flat_map(|label| [5.0 + label.unwrap() as f32 + 0.2 * random.normal(), random.normal()])
        .collect();
    Features { values, size: 2, images: (0..count as u32).collect(), labels, bad: vec![] }
}

#[test]
fn the_linear_classifier_separates_what_can_be_separated_and_reports_the_sweep() {
    let options = linear::LinearOptions { batch_size: 64, ..Default::default() };
    let report = linear::evaluate(&shifted_line(600, 1), &shifted_line(400, 2), &options, &Device::flex()).unwrap();
    assert!(report.top1 > 97.0, "{report:?}");
    assert_eq!(report.top5, 100.0);
    assert_eq!(report.held_out_top1.len(), 5);
    let best = report.held_out_top1.iter().map(|(_, top1)| *top1).fold(0.0, f64::max);
    let chosen = report.held_out_top1.iter().find(|(rate, _)| *rate == report.base_learning_rate).unwrap().1;
    assert_eq!(chosen, best);
}

#[test]
fn evaluations_refuse_what_they_cannot_do() {
    let mut unlabelled = shifted_line(20, 1);
    unlabelled.labels[3] = None;
    let labelled = shifted_line(20, 2);
    let device = Device::flex();
    let knn = |ks: &[usize], temperatures: &[f32]| {
        let options = knn::KnnOptions { ks: ks.to_vec(), temperatures: temperatures.to_vec() };
        knn::evaluate(&labelled, &labelled, &options, &device)
    };
    let without_labels = knn::evaluate(&unlabelled, &labelled, &Default::default(), &device).unwrap_err();
    assert!(without_labels.to_string().contains("labels"));
    let nonsense: [(&[usize], &[f32]); 6] =
        [(&[0], &[0.1]), (&[5], &[0.0]), (&[5, 6], &[0.1, f32::NAN]), (&[5], &[-1.0]), (&[], &[0.1]), (&[5], &[])];
    for (ks, temperatures) in nonsense {
        assert!(knn(ks, temperatures).unwrap_err().to_string().contains("expected"));
    }
    let empty = Features { size: 2, values: vec![], images: vec![], labels: vec![], bad: vec![] };
    let from_nothing = knn::evaluate(&empty, &labelled, &Default::default(), &device).unwrap_err();
    assert!(from_nothing.to_string().contains("expected training pictures"));
    assert_eq!(knn(&[1], &[0.001]).unwrap()[0].top1, 100.0, "each picture is its own nearest neighbour");
    let no_rates = linear::LinearOptions { base_learning_rates: vec![], ..Default::default() };
    assert!(linear::evaluate(&labelled, &labelled, &no_rates, &device).is_err());
}
