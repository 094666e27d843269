//! A look at the data before hours of training depend on it: what is there, what is broken, how long it will take.

use std::collections::BTreeMap;

use burn::tensor::Device;
use byol_data::inspect::{Inspection, Similar, inspect_part};
use byol_data::views::blur_taps;
use byol_data::{BadImage, Dataset};
use byol_eval::{Meter, waiting};
use byol_nn::dist::{Communicator, agree, part_of};
use byol_nn::{Error, Result};
use serde::Serialize;

use crate::config::Config;
use crate::cost::{self, Cost};
use crate::recipe::{Recipe, Shorter};
use crate::views_preset::ViewsPreset;

/// Share of equal pictures from which a run would see less than it seems to.
const MANY_EQUAL: f64 = 0.1;

/// Share of pictures smaller than a view from which most views are enlarged.
const MANY_SMALL: f64 = 0.5;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct DoctorOptions {
    /// Largest number of pictures to look at, spread evenly; all of them without one.
    pub sample: Option<usize>,
    /// Whether to time loading and training steps.
    pub estimate: bool,
    /// Threads that decode; 0 for one per core.
    pub threads: usize,
}

/// What `byol doctor` found; its JSON form is stable.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// One line about the data.
    pub description: String,
    /// Pictures in the part that would be trained on.
    pub images: usize,
    /// Pictures looked at.
    pub inspected: usize,
    /// Pictures of each class; empty without labels.
    pub classes: BTreeMap<String, usize>,
    /// Pictures without a label.
    pub unlabelled: usize,
    /// How many of which format, channels and depth.
    pub kinds: BTreeMap<String, usize>,
    /// Shorter side in pixels: smallest, median, largest.
    pub shorter_side_px: [u32; 3],
    /// Longer side in pixels: smallest, median, largest.
    pub longer_side_px: [u32; 3],
    /// Mean of each channel in `[0, 1]`, for `views.mean`.
    pub mean: Vec<f64>,
    /// Standard deviation of each channel, for `views.std`.
    pub std: Vec<f64>,
    /// Pictures that cannot be used.
    pub bad: Vec<BadImage>,
    /// Pictures whose files lack their end, though all their data is there.
    pub incomplete: Vec<String>,
    /// Pictures that are read though their data contradicts itself, with what was found.
    pub damaged: Vec<BadImage>,
    /// A `data.value_range` for pictures that use a sliver of the values their files can hold.
    pub value_range: Option<[f64; 2]>,
    /// Pictures of one colour.
    pub blank: Vec<String>,
    /// Pictures without colours.
    pub grey: usize,
    /// How far the average picture is from itself turned, as a multiple of what chance leaves of pictures without an up; absent
    /// for fewer than 100 pictures.
    pub uprightness: Option<f64>,
    /// The views that would be used.
    pub views: String,
    /// Sets of pictures with equal content.
    pub equal: Vec<Vec<String>>,
    /// Pairs that look the same.
    pub similar: Vec<SimilarPair>,
    /// Pictures with equal content and different labels: in this part, or in this and another.
    pub label_conflicts: Vec<LabelConflict>,
    /// Pictures whose shorter side is less than a view's.
    pub smaller_than_a_view: usize,
    /// What other parts share with this one, by their names.
    pub overlap: BTreeMap<String, SharedPictures>,
    /// The recipe that would be used.
    pub preset: String,
    /// Why.
    pub preset_reason: String,
    /// Speed, memory and time; absent if not asked for.
    pub estimate: Option<Cost>,
    /// A recipe for an hour of this machine, where the whole one was not asked for and takes long.
    pub shorter: Option<Shorter>,
    /// What would spoil a run: exit code 1.
    pub problems: Vec<String>,
    /// What one should know.
    pub notes: Vec<String>,
}

/// Pictures that another part of the data has as well: [here, there].
#[derive(Clone, Debug, Default, Serialize)]
pub struct SharedPictures {
    /// With equal content.
    pub equal: Vec<[String; 2]>,
    /// That look the same.
    pub similar: Vec<SimilarPair>,
}

/// Two pictures that look the same.
#[derive(Clone, Debug, Serialize)]
pub struct SimilarPair {
    /// Their names.
    pub images: [String; 2],
    /// Their classes, where they have different ones.
    pub classes: Option<[String; 2]>,
    /// Correlation of their thumbnails in colour, at most 1.
    pub similarity: f64,
}

/// One picture under two classes.
#[derive(Clone, Debug, Serialize)]
pub struct LabelConflict {
    /// Names of the two copies.
    pub images: [String; 2],
    /// Their classes.
    pub classes: [String; 2],
}

/// Looks at the data of `recipe`. Several ranks share the pictures, and all come to the same diagnosis; only the first estimates what a
/// run costs.
///
/// # Errors
/// When another part of the data cannot be opened, or a worker thread failed.
pub fn examine(
    recipe: &Recipe,
    options: DoctorOptions,
    device: &Device,
    ranks: &dyn Communicator,
) -> Result<Diagnosis> {
    let Recipe { dataset, config, .. } = recipe;
    let look = |dataset: &Dataset| -> Result<Inspection> {
        let places = places(dataset.len(), options.sample);
        let own = &places[part_of(places.len(), ranks.rank(), ranks.ranks())];
        let meter = Meter::start("looking at pictures", own.len() as u64);
        let found = inspect_part(dataset, own, options.threads, &|done| meter.set(done as u64));
        Ok(Inspection::of_parts(&ranks.gather(&agree(ranks, found.map_err(Error::from))?)?))
    };
    let found = look(dataset)?;
    let (mut overlap, mut conflicts) = (BTreeMap::new(), conflicts_within(dataset, &found.equal));
    for split in dataset.splits_present().iter().filter(|split| Some(split.as_str()) != dataset.split()) {
        let other = waiting("opening the data", || Dataset::open_all(dataset.roots(), Some(split), dataset.config()))?;
        let shared = found.overlap(&look(&other)?);
        conflicts.extend(shared.equal.iter().filter_map(|&(a, b)| conflict([(dataset, a), (&other, b)])));
        let name = |dataset: &Dataset, place: u32| dataset.name(place as usize);
        let equal = shared.equal.iter().map(|&(a, b)| [name(dataset, a), name(&other, b)]).collect();
        overlap
            .insert(split.clone(), SharedPictures { equal, similar: similar_pairs(dataset, &other, &shared.similar) });
    }
    let names = |places: &[u32]| places.iter().map(|&place| dataset.name(place as usize)).collect::<Vec<_>>();
    let mut diagnosis = Diagnosis {
        description: dataset.description(),
        images: dataset.len(),
        inspected: found.images.len(),
        classes: class_counts(dataset),
        unlabelled: (0..dataset.len()).filter(|&index| dataset.label(index).is_none()).count(),
        kinds: found.kinds.clone(),
        shorter_side_px: quantiles(&found.shorter_sides_px),
        longer_side_px: quantiles(&found.longer_sides_px),
        mean: found.mean.clone(),
        std: found.std.clone(),
        bad: found.bad.clone(),
        incomplete: names(&found.incomplete),
        damaged: found.damaged.iter().map(|(place, found)| damaged(dataset, *place, found)).collect(),
        value_range: found.value_range_proposal(),
        blank: names(&found.blank),
        grey: found.grey,
        uprightness: found.uprightness,
        views: recipe.views.to_string(),
        equal: found.equal.iter().map(|set| names(set)).collect(),
        similar: similar_pairs(dataset, dataset, &found.similar),
        label_conflicts: conflicts,
        smaller_than_a_view: found.smaller_than(config.views.size_px),
        overlap,
        preset: recipe.preset.to_string(),
        preset_reason: recipe.reason.clone(),
        estimate: None,
        shorter: None,
        problems: Vec::new(),
        notes: [dataset.notes(), &recipe.adapted].concat(),
    };
    // With more broken pictures than a run accepts, its loader would end with an error instead of a speed.
    if options.estimate && ranks.is_first() && bad_share(&diagnosis) <= config.data.max_bad_fraction {
        let cost = cost::measure(dataset, config, options.threads, device)?.by(ranks.ranks());
        diagnosis.shorter = Shorter::than(cost.hours, recipe, device)?;
        diagnosis.estimate = Some(cost);
    }
    judge(&mut diagnosis, config);
    if recipe.views == ViewsPreset::Photographs {
        let good = diagnosis.inspected - diagnosis.bad.len();
        diagnosis.notes.extend(proposed_views(good, diagnosis.grey, diagnosis.uprightness));
    }
    Ok(diagnosis)
}

/// Uprightness up to which pictures count as having no up.
const NO_UP: f64 = 4.0;

/// Share of grey pictures from which all count as grey.
const ALL_GREY: f64 = 0.95;

/// Views that may fit better than those of photographs, with the evidence. A proposal: what the pictures show, only the person
/// knows.
fn proposed_views(good: usize, grey: usize, uprightness: Option<f64>) -> Option<String> {
    let uprightness = uprightness?;
    let is_grey = grey as f64 >= ALL_GREY * good as f64;
    let turned = format!("the average picture differs from itself turned {uprightness:.1} times as much as by chance");
    let no_up = format!("no direction seems to be up ({turned}, that of photographs far more)");
    let (evidence, views) = match (is_grey, uprightness < NO_UP) {
        (false, false) => return None,
        (true, false) => (
            format!("{grey} of {good} pictures are grey and have an up ({turned})"),
            "--views medical-grey for X-ray, CT, MRI or ultrasound",
        ),
        (true, true) => (
            format!("{grey} of {good} pictures are grey, and {no_up}"),
            "--views microscopy for cells, --views texture for surfaces, --views overhead for the ground from above",
        ),
        (false, true) => (
            no_up,
            "--views overhead for the ground from above, --views microscopy for cells and tissue, --views texture for surfaces",
        ),
    };
    Some(format!("{evidence}: the views are made for photographs; {views} may fit better, byol preview shows them"))
}

fn damaged(dataset: &Dataset, place: u32, found: &str) -> BadImage {
    BadImage { name: dataset.name(place as usize), reason: found.to_owned() }
}

/// At most `sample` places, spread evenly.
fn places(images: usize, sample: Option<usize>) -> Vec<u32> {
    let count = sample.unwrap_or(images).clamp(1, images);
    (0..count).map(|number| (number * images / count) as u32).collect()
}

fn class_counts(dataset: &Dataset) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<String, usize> = dataset.classes().iter().map(|class| (class.clone(), 0)).collect();
    for label in (0..dataset.len()).filter_map(|index| dataset.label(index)) {
        *counts.entry(dataset.classes()[label as usize].clone()).or_default() += 1;
    }
    counts
}

fn quantiles(sorted: &[u32]) -> [u32; 3] {
    let at = |place: usize| sorted.get(place).copied().unwrap_or(0);
    [at(0), at(sorted.len() / 2), at(sorted.len().saturating_sub(1))]
}

fn similar_pairs(here: &Dataset, there: &Dataset, pairs: &[Similar]) -> Vec<SimilarPair> {
    let pair = |&Similar { first, second, similarity }: &Similar| SimilarPair {
        images: [here.name(first as usize), there.name(second as usize)],
        classes: conflict([(here, first), (there, second)]).map(|conflict| conflict.classes),
        similarity,
    };
    pairs.iter().map(pair).collect()
}

/// The first two of each set of equal pictures whose labels differ.
fn conflicts_within(dataset: &Dataset, equal: &[Vec<u32>]) -> Vec<LabelConflict> {
    let conflict_in = |set: &Vec<u32>| {
        let labelled: Vec<u32> = set.iter().copied().filter(|&place| dataset.label(place as usize).is_some()).collect();
        let (&first, others) = labelled.split_first()?;
        others.iter().find_map(|&other| conflict([(dataset, first), (dataset, other)]))
    };
    equal.iter().filter_map(conflict_in).collect()
}

/// The names and classes of two pictures, if both have one and these differ.
fn conflict(pictures: [(&Dataset, u32); 2]) -> Option<LabelConflict> {
    let class = |(dataset, place): (&Dataset, u32)| {
        dataset.label(place as usize).map(|label| dataset.classes()[label as usize].clone())
    };
    let classes = [class(pictures[0])?, class(pictures[1])?];
    let images = pictures.map(|(dataset, place)| dataset.name(place as usize));
    (classes[0] != classes[1]).then_some(LabelConflict { images, classes })
}

fn bad_share(diagnosis: &Diagnosis) -> f64 {
    diagnosis.bad.len() as f64 / diagnosis.inspected.max(1) as f64
}

/// Says in words what the numbers mean.
fn judge(diagnosis: &mut Diagnosis, config: &Config) {
    let inspected = diagnosis.inspected.max(1) as f64;
    let mut problems = Vec::new();
    let mut notes = std::mem::take(&mut diagnosis.notes);
    if bad_share(diagnosis) > config.data.max_bad_fraction {
        problems.push(format!(
            "{} of {} pictures cannot be used, more than data.max_bad_fraction = {} allows: repair or remove them",
            diagnosis.bad.len(),
            diagnosis.inspected,
            config.data.max_bad_fraction
        ));
    } else if !diagnosis.bad.is_empty() {
        notes.push(format!("{} picture(s) cannot be used and will be replaced by others", diagnosis.bad.len()));
    }
    if diagnosis.images < config.train.batch_size {
        problems.push(format!(
            "{} picture(s) do not fill one batch of {}: a batch needs at least two",
            diagnosis.images, config.train.batch_size
        ));
    }
    if !diagnosis.incomplete.is_empty() {
        let count = diagnosis.incomplete.len();
        notes.push(format!("{count} file(s) lack their end but no data; the pictures are whole and are used"));
    }
    if !diagnosis.damaged.is_empty() {
        notes.push(format!(
            "{} picture(s) are damaged inside and may be grey or shifted in part; they are used: look at them, and repair or remove them",
            diagnosis.damaged.len()
        ));
    }
    if let Some([low, high]) = diagnosis.value_range {
        notes.push(format!(
            "the pictures use only the values {low} to {high} of those their files can hold and look almost of one colour to the encoder: \
             --set data.value_range=[{low},{high}], or --set data.value_range=percentile for each by itself"
        ));
    }
    if !diagnosis.label_conflicts.is_empty() {
        notes.push(format!(
            "{} picture(s) are filed under two classes; pretraining does not mind, but whatever is measured with labels does: \
             remove the wrong copies",
            diagnosis.label_conflicts.len()
        ));
    }
    let copies: usize = diagnosis.equal.iter().map(|set| set.len() - 1).sum();
    if copies as f64 / inspected > MANY_EQUAL {
        problems.push(format!("{copies} pictures are exact copies of others: remove them, they teach nothing new"));
    } else if copies > 0 {
        notes.push(format!("{copies} picture(s) are exact copies of others"));
    }
    if !diagnosis.similar.is_empty() {
        notes.push(format!("{} pair(s) look the same", diagnosis.similar.len()));
    }
    for (part, shared) in &diagnosis.overlap {
        if !shared.equal.is_empty() {
            problems.push(format!(
                "{} picture(s) of `{part}` are in the training part as well: numbers measured on `{part}` would be too good",
                shared.equal.len()
            ));
        }
        if !shared.similar.is_empty() {
            notes.push(format!("{} picture(s) of `{part}` look like one of the training part", shared.similar.len()));
        }
    }
    if diagnosis.blank.len() as f64 / inspected > MANY_EQUAL {
        problems.push(format!("{} pictures are of one colour: remove them", diagnosis.blank.len()));
    } else if !diagnosis.blank.is_empty() {
        notes.push(format!("{} picture(s) are of one colour", diagnosis.blank.len()));
    }
    let small = diagnosis.smaller_than_a_view;
    let size_px = config.views.size_px;
    if small as f64 / inspected > MANY_SMALL {
        let smaller_px = diagnosis.shorter_side_px[1].max(8);
        let blurs = [&config.views.view1, &config.views.view2].iter().any(|view| view.blur_p > 0.0);
        let without_blur = match blur_taps(smaller_px as usize) {
            1 if blurs => " --set views.view1.blur_p=0 --set views.view2.blur_p=0",
            _ => "",
        };
        notes.push(format!(
            "{small} picture(s) are smaller than a view of {size_px} px and will be enlarged: --set views.size_px={smaller_px}{without_blur} \
             costs less"
        ));
    }
    if blur_taps(size_px) == 1 {
        notes.push(format!(
            "views of {size_px} px are too small to be blurred: the kernel has one tap below 20 px, so that views.view1.blur_p and \
             views.view2.blur_p must be 0"
        ));
    }
    if let Some(estimate) = &diagnosis.estimate
        && let Some(steps) = estimate.accumulation_steps
    {
        problems.push(format!(
            "a step of {} pictures does not fit into the free memory: --set train.accumulation_steps={steps} does",
            estimate.batch_size / config.train.accumulation_steps
        ));
    }
    (diagnosis.problems, diagnosis.notes) = (problems, notes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_proposed_with_evidence_and_only_where_pictures_are_no_photographs() {
        let proposed = |grey, uprightness| proposed_views(200, grey, uprightness);
        assert_eq!(proposed(3, Some(40.0)), None, "photographs");
        assert_eq!(proposed(200, None), None, "too few to say");
        for (grey, uprightness, views) in
            [(200, 25.0, "medical-grey"), (198, 1.2, "microscopy for cells,"), (0, 0.9, "overhead")]
        {
            let note = proposed(grey, Some(uprightness)).unwrap();
            assert!(note.contains(&format!("--views {views}")), "{note}");
            assert!(note.contains(&format!("{uprightness:.1} times")), "{note}");
        }
    }
}
