//! What no protocol may do: look at test labels early, move a frozen encoder, train on what it chooses on.

use std::sync::Arc;

use burn::tensor::Device;
use byol_data::{Dataset, Image, Random, Stream};
use byol_eval::finetune::{self, FinetuneOptions, Parts};
use byol_eval::linear::{self, Augmentation, LinearOptions};
use byol_eval::logistic::LogisticOptions;
use byol_eval::metrics::Metric;
use byol_eval::semi::{self, Labelled, SemiOptions};
use byol_eval::subset::{self, Draw};
use byol_eval::{Countdown, HeldOut, LabelledParts, extract, transfer};
use byol_nn::encoder::Encoder;
use byol_nn::model::visit_tensors;
use byol_nn::weights::to_vec;

const CLASSES: u32 = 3;

/// Pictures of 12 px whose brightness tells the class, with noise; `labels` may say something else.
fn pictures(count: usize, seed: u64, label: impl Fn(u32) -> u32) -> Arc<Dataset> {
    let mut random = Random::new(seed, Stream::Drawing, 0, 0);
    let classes: Vec<u32> = (0..count as u32).map(|index| index % CLASSES).collect();
    let picture = |&class: &u32| {
        let mut pixel = || (60.0 + 60.0 * class as f32 + 25.0 * random.normal()).clamp(0.0, 255.0) as u8;
        Image::rgb8(12, 12, (0..12 * 12 * 3).map(|_| pixel()).collect())
    };
    Arc::new(Dataset::from_images(
        classes.iter().map(picture).collect(),
        Some(classes.iter().map(|&class| label(class)).collect()),
        (0..CLASSES).map(|class| class.to_string()).collect(),
        (0..count).map(|index| format!("{seed}/{index}.png")).collect(),
    ))
}

fn encoder(device: &Device) -> Encoder {
    Encoder::open("random:resnet18x0.0625:cifar:8", device).unwrap()
}

fn parts(test_label: impl Fn(u32) -> u32) -> LabelledParts {
    LabelledParts {
        train: pictures(90, 1, |class| class),
        test: pictures(30, 2, test_label),
        description: String::new(),
    }
}

/// All values of a network, running averages among them.
fn fingerprint(encoder: &Encoder) -> Vec<(String, Vec<u32>)> {
    let mut all = Vec::new();
    visit_tensors(&encoder.network, |tensor| {
        all.push((tensor.name.to_owned(), to_vec(tensor.values).into_iter().map(f32::to_bits).collect()));
    });
    all
}

fn finetune_options() -> FinetuneOptions {
    FinetuneOptions {
        learning_rates: vec![0.02, 0.1],
        weight_decays: vec![0.0, 1e-4],
        steps: 12,
        batch_size: 30,
        crop_area_min: 0.5,
    }
}

/// With other test labels, everything but the final score is the same: what was chosen and the scores it was chosen by.
#[test]
fn no_test_label_is_touched_before_the_final_score() {
    let device = Device::flex();
    let start = encoder(&device);
    let chosen = |test_label: fn(u32) -> u32| {
        let labelled = parts(test_label);
        let official = Parts::of_labelled(&labelled, Metric::Top1, HeldOut::default()).unwrap();
        let mut outcomes = Vec::new();
        let mut countdown = Countdown::start(1);
        let options = finetune_options();
        outcomes.push(finetune::evaluate(&start, &official, &options, 0, ["", ""], &device, &mut countdown).unwrap());

        let options = SemiOptions {
            labelled: vec![Labelled::Share(0.5)],
            learning_rates: vec![0.02, 0.1],
            epochs: vec![3.0],
            batch_size: 16,
            ..Default::default()
        };
        let part = options.parts(&labelled.train, 0, None).unwrap().remove(0);
        let test = &labelled.test;
        outcomes.push(semi::evaluate(&start, &part, test, &options, 0, "", &device, &mut countdown).unwrap());

        let features: Vec<_> =
            official.frozen().iter().map(|part| extract(&mut start.clone(), part, 0, &device).unwrap()).collect();
        let options = LogisticOptions { l2: vec![1e-3, 1.0, 100.0], ..Default::default() };
        outcomes.push(transfer::evaluate(&official, &features, &options, "").unwrap());

        let train = extract(&mut start.clone(), &labelled.train, 0, &device).unwrap();
        let test = extract(&mut start.clone(), &labelled.test, 0, &device).unwrap();
        let options = LinearOptions { epochs: 5, batch_size: 30, ..Default::default() };
        outcomes.push(linear::evaluate(&train, &test, &options, &device).unwrap().into());
        outcomes
    };
    let (right, wrong) = (chosen(|class| class), chosen(|class| (class + 1) % CLASSES));
    for (right, wrong) in right.iter().zip(&wrong) {
        assert_eq!(right.chosen, wrong.chosen);
        assert_ne!(right.confusion, wrong.confusion, "the test labels were others");
    }
}

#[test]
fn frozen_protocols_leave_weights_and_running_averages_as_they_are() {
    let device = Device::flex();
    let mut start = encoder(&device);
    let before = fingerprint(&start);
    let labelled = parts(|class| class);
    let train = extract(&mut start, &labelled.train, 0, &device).unwrap();
    let test = extract(&mut start, &labelled.test, 0, &device).unwrap();
    let options = LinearOptions { epochs: 2, batch_size: 30, ..Default::default() };
    let augmentation = Augmentation::CropFlip(0.5);
    let mut countdown = Countdown::start(1);
    let set = &labelled.train;
    linear::fit_augmented(&mut start, set, &train, &test, &augmentation, &options, &device, &mut countdown).unwrap();
    assert!(fingerprint(&start) == before, "a frozen encoder moved");

    // Fine-tuning works on a copy: the next protocol starts from the same encoder.
    let official = Parts::of_labelled(&labelled, Metric::Top1, HeldOut::default()).unwrap();
    finetune::evaluate(&start, &official, &finetune_options(), 0, ["", ""], &device, &mut countdown).unwrap();
    assert!(fingerprint(&start) == before, "fine-tuning moved the encoder it started from");
}

/// 90 pictures in batches of 40: 2.25 of them in an epoch, so that batches must span epochs.
#[test]
fn linear_evaluation_takes_the_whole_batches_of_all_epochs_together() {
    let device = Device::flex();
    let mut start = encoder(&device);
    let labelled = parts(|class| class);
    let train = extract(&mut start, &labelled.train, 0, &device).unwrap();
    let test = extract(&mut start, &labelled.test, 0, &device).unwrap();
    let options = LinearOptions { epochs: 4, batch_size: 40, ..Default::default() };
    assert_eq!(linear::evaluate(&train, &test, &options, &device).unwrap().steps, 9);

    let augmentation = Augmentation::CropFlip(0.5);
    let pictures = linear::fitted_pictures(&options, train.len()).unwrap();
    assert_eq!(pictures, (8 + 9) * 40, "81 pictures while the rate is chosen, then 90");
    let mut countdown = Countdown::start(pictures + 1);
    let set = &labelled.train;
    let (report, _) =
        linear::fit_augmented(&mut start, set, &train, &test, &augmentation, &options, &device, &mut countdown)
            .unwrap();
    assert_eq!((report.steps, countdown.left()), (9, 1));
}

#[test]
fn parts_to_choose_on_never_overlap_what_is_trained_on() {
    let labelled = parts(|class| class);
    let train = &labelled.train;
    let names = |dataset: &Dataset| (0..dataset.len()).map(|index| dataset.name(index)).collect::<Vec<_>>();
    let disjoint = |a: &Dataset, b: &Dataset| names(a).iter().all(|name| !names(b).contains(name));

    let official = Parts::of_labelled(&labelled, Metric::Top1, HeldOut::default()).unwrap();
    assert!(disjoint(&official.train, &official.validation));
    assert_eq!((official.train.len(), official.validation.len(), official.all.len()), (81, 9, 90));

    let list = tempfile::NamedTempFile::new().unwrap();
    let all: Vec<u32> = (0..train.len() as u32).collect();
    let written = subset::class_balanced(train, &all, 0.3, Draw::Labelled, 7).unwrap();
    subset::write_list(train, &written, list.path()).unwrap();
    for seed in 0..3 {
        let options = SemiOptions {
            labelled: vec![Labelled::Share(0.1), Labelled::Share(1.0), Labelled::List(list.path().to_owned())],
            ..Default::default()
        };
        let drawn = options.parts(train, seed, None).unwrap();
        assert_eq!(drawn.iter().map(|part| part.labelled.len()).collect::<Vec<_>>(), [9, 81, 27]);
        assert!(drawn.iter().all(|part| disjoint(&part.labelled, &part.validation)));
        for part in &drawn {
            let of_class = |class| (0..part.labelled.len()).filter(|&i| part.labelled.label(i) == Some(class)).count();
            assert_eq!([0, 1, 2].map(of_class), [part.labelled.len() / 3; 3], "balanced classes");
        }
    }
    for held_out in [HeldOut::Images(20), HeldOut::Last(20)] {
        let official = Parts::of_labelled(&labelled, Metric::Top1, held_out).unwrap();
        assert!(disjoint(&official.train, &official.validation));
        assert_eq!((official.train.len(), official.validation.len()), (70, 20));
        let shares = [0.1, 1.0].map(Labelled::Share);
        let labelled = [&shares[..], &[Labelled::List(list.path().to_owned())]].concat();
        let drawn = SemiOptions { labelled, held_out, ..Default::default() }.parts(train, 0, None).unwrap();
        assert!(drawn.iter().all(|part| part.validation.len() == 20 && disjoint(&part.labelled, &part.validation)));
    }
}

#[test]
fn training_with_labels_learns_what_can_be_seen_and_repeats_bit_for_bit() {
    let device = Device::flex();
    let labelled = parts(|class| class);
    let official = Parts::of_labelled(&labelled, Metric::Top1, HeldOut::default()).unwrap();
    let options =
        FinetuneOptions { learning_rates: vec![0.05], weight_decays: vec![0.0], steps: 60, ..finetune_options() };
    let run = |seed| {
        let mut countdown = Countdown::start(1);
        finetune::evaluate(&encoder(&device), &official, &options, seed, ["", ""], &device, &mut countdown).unwrap()
    };
    let outcome = run(0);
    assert!(outcome.numbers["top1"] > 90.0, "{outcome:?}");
    assert_eq!(outcome, run(0));
}
