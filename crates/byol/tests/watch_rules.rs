//! What a run says about itself, by the rules, on written series; trained faults are in `watch.rs`.

use std::path::Path;

use byol::Preset;
use byol::config::KeepBest;
use byol::run::StepMetrics;
use byol::train::watch::{
    Cause, Facts, Learning, Measurement, Series, Watch, advice, check_keep_best, findings, verdict,
};

/// 100 steps of 64 of 640 pictures, ten of them warm-up.
fn facts(settings: &[&str]) -> Facts {
    let length = [
        "train.batch_size=64",
        "schedule.epochs=10",
        "schedule.warmup_epochs=1",
        "schedule.target_ema=0.9",
        "model.projection_size=64",
    ];
    let settings: Vec<String> = length.iter().chain(settings).map(|&setting| setting.to_owned()).collect();
    Facts::new(&Preset::Cifar10.resolve(&settings).unwrap(), 640)
}

fn step(step: u64, loss: f32, projection_std: f32) -> StepMetrics {
    StepMetrics {
        step,
        epoch: step as f64 / 10.0,
        loss,
        learning_rate: 0.1,
        target_ema: 0.9,
        images_per_second: 100.0,
        data_wait: 0.0,
        projection_std,
        positive_cosine: 0.5,
        grad_norm: 1.0,
        probe_loss: None,
        probe_top1: None,
        loss_scale: None,
        skipped_steps: None,
    }
}

fn measured(step: u64, rank_me: f64, view_distance: f64, knn_top1: Option<f64>) -> Measurement {
    Measurement {
        step,
        epoch: step as f64 / 10.0,
        rank_me: Some(rank_me),
        alignment: Some(view_distance * 0.5),
        uniformity: Some(-1.0),
        knn_top1,
        linear_probe_top1: knn_top1.map(|_| 10.0),
        majority_top1: knn_top1.map(|_| 10.0),
        test_images: if knn_top1.is_some() { 2000 } else { 0 },
        equal_share: Some(0.0),
        flat_share: Some(0.0),
        encoder_norm: Some(15.0),
        target_distance: Some(0.02),
        seconds: Some(1.0),
    }
}

/// A run that goes well.
fn healthy() -> Series {
    let steps = (0..10).map(|at| step(10 * at, 4.0 - 0.3 * at as f32, 0.11)).collect();
    let knn = [30.0, 33.0, 38.0, 41.0];
    let at = [0, 34, 67, 100];
    let online =
        (0..4).map(|place| measured(at[place], 30.0 + place as f64, 0.8 - 0.15 * place as f64, Some(knn[place])));
    Series { steps, online: online.collect(), findings: Vec::new() }
}

fn causes(series: &Series, facts: &Facts) -> Vec<Cause> {
    findings(series, facts).into_iter().map(|finding| finding.watch).collect()
}

#[test]
fn a_run_that_goes_well_has_no_findings_at_any_time() {
    let (facts, whole) = (facts(&[]), healthy());
    for steps in 0..=whole.steps.len() {
        for online in 0..=whole.online.len() {
            let (steps, online) = (whole.steps[..steps].to_vec(), whole.online[..online].to_vec());
            assert_eq!(causes(&Series { steps, online, findings: Vec::new() }, &facts), []);
        }
    }
    let verdict = verdict(&whole, &facts);
    assert_eq!(verdict.learning, Learning::Learned);
    assert!(verdict.sentence.contains("k-NN 41.0 % now, 30.0 % with random weights (±1.5)"), "{}", verdict.sentence);
    assert!(verdict.sentence.contains("always the largest class: 10.0 %"), "{}", verdict.sentence);
}

#[test]
fn a_fallen_rank_is_found_though_the_spread_looks_sound_and_weights_and_settings_say_why() {
    let fallen = |norm: f64| {
        let mut series = healthy();
        series.online.truncate(3);
        for (place, step) in [(1, 34), (2, 67)] {
            series.online[place] = Measurement { encoder_norm: Some(norm), ..measured(step, 4.4, 0.9, Some(28.0)) };
        }
        series
    };
    let simclr = ["model.predictor=none", "model.target=gradient", "model.negatives_weight=1"];
    let cases = [
        (&[][..], 15.0, Cause::DimensionalCollapse),
        (&[], 40.0, Cause::RateTooHigh),
        (&[], 1.0, Cause::WeightDecayTooStrong),
        (&["model.predictor=none"], 15.0, Cause::PredictorAbsent),
        (&["schedule.target_ema=0"], 15.0, Cause::TargetAhead),
        (&simclr, 15.0, Cause::DimensionalCollapse),
    ];
    for (settings, norm, expected) in cases {
        assert_eq!(causes(&fallen(norm), &facts(settings)), [expected], "{settings:?}");
    }
    let mut transient = fallen(15.0);
    transient.online[1].rank_me = Some(20.0);
    assert_eq!(causes(&transient, &facts(&[])), [], "once is not certain");
    let found = findings(&fallen(15.0), &facts(&["schedule.base_learning_rate=0.4"])).remove(0);
    assert!(found.found.contains("RankMe is 4.4, 30.0 with random weights"), "{}", found.found);
    assert!(found.remedy.contains("--set schedule.base_learning_rate=0.08"), "{}", found.remedy);
    assert_eq!(found.step, 91);
}

#[test]
fn a_collapse_must_last_and_names_what_is_missing() {
    let collapsed = |lines: usize| {
        let mut series = healthy();
        series.online.truncate(1);
        let count = series.steps.len();
        series.steps[count - lines..].iter_mut().for_each(|metrics| metrics.projection_std = 0.001);
        series
    };
    assert_eq!(causes(&collapsed(2), &facts(&[])), []);
    assert_eq!(causes(&collapsed(3), &facts(&[])), [Cause::Collapse]);
    assert_eq!(causes(&collapsed(3), &facts(&["model.predictor=none"])), [Cause::PredictorAbsent]);
    assert_eq!(causes(&collapsed(3), &facts(&["model.target=gradient"])), [Cause::TargetAhead]);
}

#[test]
fn a_loss_that_stays_is_told_from_weights_that_are_frozen_and_pictures_of_one_colour() {
    let flat = |share: f64| {
        let mut series = healthy();
        series.steps.iter_mut().for_each(|metrics| metrics.loss = 4.1);
        series.online.iter_mut().for_each(|measured| measured.flat_share = Some(share));
        series
    };
    assert_eq!(causes(&flat(0.0), &facts(&[])), [Cause::RateTooLow]);
    assert_eq!(causes(&flat(0.0), &facts(&["schedule.base_learning_rate=0"])), [Cause::FrozenWeights]);
    let lars = ["optimizer.kind=lars", "optimizer.trust_coefficient=0"];
    assert_eq!(causes(&flat(0.0), &facts(&lars)), [Cause::FrozenWeights]);
    assert_eq!(causes(&flat(0.9), &facts(&[])), [Cause::FlatPictures]);
    let mut early = flat(0.0);
    early.steps.truncate(3);
    early.online.truncate(1);
    assert_eq!(causes(&early, &facts(&[])), [], "a warm-up is no flat loss");
}

#[test]
fn neighbours_that_become_worse_are_told_from_sampling_error_and_from_a_probe_that_rises() {
    let ended = |knn: f64, probe: f64, images: usize| {
        let mut series = healthy();
        for measured in &mut series.online[2..] {
            (measured.knn_top1, measured.linear_probe_top1) = (Some(knn), Some(probe));
        }
        series.online.iter_mut().for_each(|measured| measured.test_images = images);
        series
    };
    let facts = facts(&[]);
    assert_eq!(causes(&ended(26.0, 10.0, 2000), &facts), [Cause::KnnNotAboveStart]);
    assert_eq!(verdict(&ended(26.0, 10.0, 2000), &facts).learning, Learning::Harmed);
    assert_eq!(causes(&ended(26.0, 40.0, 2000), &facts), [Cause::ProbeUpKnnDown]);
    assert_eq!(verdict(&ended(30.5, 10.0, 2000), &facts).learning, Learning::Nothing);
    assert_eq!(verdict(&ended(33.0, 10.0, 2000), &facts).learning, Learning::Little);
    assert_eq!(verdict(&ended(26.0, 10.0, 40), &facts).learning, Learning::Unclear);
    assert_eq!(verdict(&ended(0.0, 10.0, 40), &facts).learning, Learning::Harmed, "that is clear all the same");
    assert_eq!(causes(&ended(26.0, 10.0, 40), &facts), [], "40 pictures are too few");
    let sentence = verdict(&ended(28.5, 10.0, 2000), &facts).sentence;
    assert!(sentence.starts_with("k-NN 28.5 % now, 30.0 % with random weights"), "{sentence}");
    assert!(sentence.contains("HARMED"), "{sentence}");
    // In the middle of a run it must be clear, and last.
    let mut middle = ended(26.0, 10.0, 2000);
    middle.online.truncate(3);
    assert_eq!(causes(&middle, &facts), []);
}

#[test]
fn a_target_that_is_too_slow_for_the_run_is_said_before_the_first_step() {
    let series = Series::default();
    assert_eq!(causes(&series, &facts(&[])), []);
    for settings in [&["schedule.target_ema=0.99"][..], &["model.target=fixed"]] {
        assert_eq!(causes(&series, &facts(settings)), [Cause::TargetBehind], "{settings:?}");
    }
    let remedy = &findings(&series, &facts(&["schedule.target_ema=0.99"]))[0].remedy;
    assert!(remedy.contains("--set schedule.target_ema=0.9,"), "{remedy}");
}

#[test]
fn copies_equal_views_and_waiting_are_found() {
    let mut copies = healthy();
    copies.online.iter_mut().for_each(|measured| measured.equal_share = Some(0.4));
    assert_eq!(causes(&copies, &facts(&[])), [Cause::EqualPictures]);
    let mut equal = healthy();
    equal.online[0].alignment = Some(0.0);
    assert_eq!(causes(&equal, &facts(&[])), [Cause::EqualViews]);
    let mut starved = healthy();
    starved.steps.iter_mut().skip(1).for_each(|metrics| metrics.data_wait = 0.8);
    assert_eq!(causes(&starved, &facts(&[])), [Cause::InputStarved]);
}

#[test]
fn without_labels_rank_and_the_distance_of_views_decide_and_labels_are_asked_for() {
    let ended = |rank: f64, distance: f64| {
        let online =
            vec![measured(0, 30.0, 0.8, None), measured(67, 30.0, 0.8, None), measured(100, rank, distance, None)];
        Series { online, ..healthy() }
    };
    let cases = [
        (31.0, 0.3, Learning::Learned),
        (31.0, 0.6, Learning::Little),
        (31.0, 0.8, Learning::Nothing),
        (4.0, 0.3, Learning::Harmed),
    ];
    for (rank, distance, expected) in cases {
        let verdict = verdict(&ended(rank, distance), &facts(&[]));
        assert_eq!(verdict.learning, expected, "{}", verdict.sentence);
        assert!(verdict.sentence.contains("would tell more"), "{}", verdict.sentence);
    }
    assert_eq!(causes(&ended(31.0, 0.8), &facts(&[])), [Cause::ViewsNotLearned]);
    assert_eq!(causes(&ended(4.0, 0.8), &facts(&[])), [Cause::DimensionalCollapse]);
    assert_eq!(verdict(&Series::default(), &facts(&[])).learning, Learning::Unclear);
}

#[test]
fn the_last_third_says_whether_going_on_would_help() {
    let advised = |ranks: [f64; 2], distances: [f64; 2]| {
        let online = vec![
            measured(0, 30.0, 0.8, None),
            measured(34, 30.0, 0.7, None),
            measured(66, ranks[0], distances[0], None),
            measured(100, ranks[1], distances[1], None),
        ];
        advice(&Series { online, ..Series::default() }, &facts(&[])).unwrap()
    };
    assert!(advised([30.0, 31.0], [0.5, 0.4]).contains("--set schedule.epochs=20"));
    assert!(advised([30.0, 30.1], [0.5, 0.49]).contains("levelled off"));
    assert!(advised([30.0, 20.0], [0.5, 0.4]).contains("train.keep_best=rank_me"));
    let first = Series { online: vec![measured(0, 30.0, 0.8, None)], ..Series::default() };
    assert_eq!(advice(&first, &facts(&[])), None);
}

#[test]
fn a_run_of_a_recorded_preset_is_told_where_it_stands_beside_healthy_ones() {
    let online = vec![measured(0, 30.0, 0.8, None), measured(50, 20.0, 0.7, None), measured(100, 6.0, 0.7, None)];
    let series = Series { online, ..Series::default() };
    let advised = |facts: Facts| advice(&series, &facts).unwrap();
    let small = || Facts { preset: Some(Preset::Small), ..facts(&["model.negatives_weight=1"]) };
    let words = advised(small());
    assert!(words.contains("RankMe 0.20 times step 0 is below their"), "{words}");
    assert!(words.contains("distance of views 0.70 is above their"), "{words}");
    // Those began elsewhere, or are none.
    let others = [
        Facts { is_warm: true, ..small() },
        Facts { preset: Some(Preset::Small), ..facts(&[]) },
        Facts { preset: Some(Preset::Cifar10), ..small() },
    ];
    assert!(others.into_iter().all(|facts| !advised(facts).contains("recorded")));
}

#[test]
fn each_cause_is_said_once_and_only_what_spoils_the_run_stops_it() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("metrics.jsonl");
    std::fs::write(&log, "").unwrap();
    let slow = facts(&["watch.action=stop", "schedule.target_ema=0.99"]);
    let mut watch = Watch::start(slow, &log).unwrap();
    assert_eq!(watch.logged(&step(0, 4.0, 0.1))[0].watch, Cause::TargetBehind);
    assert!(!watch.stops());

    let stop = facts(&["watch.action=stop"]);
    let mut watch = Watch::start(stop.clone(), &log).unwrap();
    for at in 0..3 {
        assert_eq!(watch.logged(&step(at, 4.0, 0.001)).len(), usize::from(at == 2));
        assert_eq!(watch.stops(), at == 2);
    }
    let found = watch.series().findings.clone();
    assert_eq!((found.len(), found[0].watch, watch.logged(&step(3, 4.0, 0.001)).len()), (1, Cause::Collapse, 0));

    // Another process of the run knows what was said.
    std::fs::write(&log, serde_json::to_string(&found[0]).unwrap()).unwrap();
    let mut again = Watch::start(stop.clone(), &log).unwrap();
    assert!((0..5).all(|at| again.logged(&step(at, 4.0, 0.001)).is_empty()) && !again.stops());
}

#[test]
fn what_is_not_finite_is_named_with_the_checkpoint_and_a_lower_rate() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("metrics.jsonl");
    std::fs::write(&log, "").unwrap();
    let watch = Watch::start(facts(&["schedule.base_learning_rate=30"]), &log).unwrap();
    let finding = watch.not_finite("the weight online.encoder.conv1.weight", 7, Some(Path::new("run/checkpoints/a")));
    assert!(finding.found.contains("conv1") && finding.remedy.contains("--set schedule.base_learning_rate=3"));
    assert!(finding.remedy.contains("run/checkpoints/a"), "{finding}");
    assert!(watch.not_finite("x", 7, None).remedy.contains("no checkpoint"));
}

#[test]
fn what_decides_the_best_encoder_must_be_measured() {
    let check = |settings: &[&str], classes| {
        check_keep_best(&facts(settings).config, classes).map_err(|error| error.to_string())
    };
    assert_eq!(check(&[], 0), Ok(()));
    assert_eq!(check(&["train.keep_best=rank_me"], 0), Ok(()));
    assert_eq!(check(&["train.keep_best=knn"], 10), Ok(()));
    assert!(check(&["train.keep_best=probe"], 0).unwrap_err().contains("rank_me or none"));
    assert!(check(&["train.keep_best=knn", "eval.every_epochs=0"], 10).unwrap_err().contains("measures nothing"));
    assert_eq!(measured(3, 5.0, 0.5, Some(30.0)).number(KeepBest::Probe), Some(10.0));
}
