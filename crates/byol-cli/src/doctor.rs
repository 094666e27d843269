//! `byol doctor`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use byol::Preset;
use byol::doctor::{Diagnosis, DoctorOptions, LabelConflict, SimilarPair, examine};
use byol::recipe::RecipeRequest;
use byol_nn::Result;
use byol_nn::dist::{Communicator, agree, wait_for_first};

use crate::device::Compute;
use crate::recipe::RecipeArguments;
use crate::screen::{row, state};
use crate::{Ending, cost, show};

/// Names of a kind that people are shown; `--json` has all.
const SHOWN: usize = 5;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    recipe: RecipeArguments,
    /// Look at this many pictures only, spread evenly [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sample: Option<u32>,
    /// Do not time loading and training steps
    #[arg(long)]
    no_estimate: bool,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(arguments: Arguments, ranks: &dyn Communicator) -> Result<Ending> {
    let device = agree(ranks, arguments.compute.open_on(ranks))?;
    let data = arguments.recipe.data.roots();
    let mut request = RecipeRequest { ranks: ranks.ranks(), ..arguments.recipe.into() };
    if !ranks.is_first() {
        // The first one says which recipe it is, for which it may time the machine; the pictures are the same for all.
        (request.preset, request.minutes) = (request.preset.or(Some(Preset::Cifar10)), None);
    }
    let opened = request.open(&device);
    wait_for_first(ranks)?;
    let recipe = agree(ranks, opened)?;
    let options = DoctorOptions {
        sample: arguments.sample.map(|sample| sample as usize),
        estimate: !arguments.no_estimate,
        threads: arguments.compute.threads.map_or(0, usize::from),
    };
    let diagnosis = examine(&recipe, options, &device, ranks)?;
    print(&diagnosis, &data);
    if arguments.json {
        show::json(&diagnosis);
    }
    Ok(if diagnosis.problems.is_empty() { Ending::Done } else { Ending::BarMissed })
}

fn print(diagnosis: &Diagnosis, data: &[PathBuf]) {
    row("data", &diagnosis.description);
    if diagnosis.inspected < diagnosis.images {
        row("looked at", &format!("{} of {} pictures", diagnosis.inspected, diagnosis.images));
    }
    row("kinds", &counts(&diagnosis.kinds));
    let [smallest, median, largest] = diagnosis.shorter_side_px;
    row("short side", &format!("{smallest} to {largest} px, median {median}"));
    let [smallest, median, largest] = diagnosis.longer_side_px;
    row("long side", &format!("{smallest} to {largest} px, median {median}"));
    if !diagnosis.classes.is_empty() {
        row("classes", &class_summary(&diagnosis.classes));
    }
    row("colours", &format!("--set views.mean={}\n--set views.std={}", list(&diagnosis.mean), list(&diagnosis.std)));
    names("broken", diagnosis.bad.len(), diagnosis.bad.iter().map(|bad| format!("{}: {}", bad.name, bad.reason)));
    names(
        "damaged",
        diagnosis.damaged.len(),
        diagnosis.damaged.iter().map(|bad| format!("{}: {}", bad.name, bad.reason)),
    );
    names("no end", diagnosis.incomplete.len(), diagnosis.incomplete.iter().cloned());
    names("one colour", diagnosis.blank.len(), diagnosis.blank.iter().cloned());
    names("equal", diagnosis.equal.len(), diagnosis.equal.iter().map(|set| set.join(" = ")));
    names("similar", diagnosis.similar.len(), diagnosis.similar.iter().map(alike));
    let conflict = |LabelConflict { images: [a, b], classes: [one, other] }: &LabelConflict| {
        format!("{a} ({one}) = {b} ({other})")
    };
    names("two classes", diagnosis.label_conflicts.len(), diagnosis.label_conflicts.iter().map(conflict));
    for (part, shared) in &diagnosis.overlap {
        let equal = shared.equal.iter().map(|pair| pair.join(" = "));
        names(&format!("in {part} too"), shared.equal.len(), equal);
        names(&format!("like {part}"), shared.similar.len(), shared.similar.iter().map(alike));
    }
    row("preset", &format!("{}: {}", diagnosis.preset, diagnosis.preset_reason));
    if let Some(estimate) = &diagnosis.estimate {
        cost::print(estimate);
    }
    if let Some(shorter) = &diagnosis.shorter {
        cost::shorter(shorter, data);
    }
    state!();
    for problem in &diagnosis.problems {
        row("PROBLEM", problem);
    }
    for note in &diagnosis.notes {
        row("note", note);
    }
    if diagnosis.problems.is_empty() {
        state!("nothing found that would spoil a run");
    }
}

fn alike(pair: &SimilarPair) -> String {
    let [a, b] = &pair.images;
    let similarity = pair.similarity * 100.0;
    match &pair.classes {
        Some([one, other]) => format!("{a} ({one}) ~ {b} ({other}), {similarity:.1} % alike"),
        None => format!("{a} ~ {b}, {similarity:.1} % alike"),
    }
}

fn counts(kinds: &BTreeMap<String, usize>) -> String {
    let mut kinds: Vec<_> = kinds.iter().collect();
    kinds.sort_by_key(|&(_, count)| std::cmp::Reverse(*count));
    kinds.iter().map(|(kind, count)| format!("{count} × {kind}")).collect::<Vec<_>>().join(", ")
}

fn class_summary(classes: &BTreeMap<String, usize>) -> String {
    let (least, most) = (classes.values().min().unwrap_or(&0), classes.values().max().unwrap_or(&0));
    let few: Vec<&str> = classes.keys().take(SHOWN).map(String::as_str).collect();
    let more = if classes.len() > SHOWN { ", …" } else { "" };
    format!("{} ({}{more}), {least} to {most} pictures each", classes.len(), few.join(", "))
}

/// Four digits are enough for a config.
fn list(values: &[f64]) -> String {
    let values: Vec<String> = values.iter().map(|value| format!("{value:.4}")).collect();
    format!("[{}]", values.join(","))
}

fn names(what: &str, count: usize, names: impl Iterator<Item = String>) {
    if count == 0 {
        return;
    }
    row(what, &count.to_string());
    for name in names.take(SHOWN) {
        row("", &name);
    }
    if count > SHOWN {
        row("", "… (all with --json)");
    }
}
