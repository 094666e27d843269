//! What a run costs, for people.

use std::path::PathBuf;

use byol::cost::Cost;
use byol::recipe::Shorter;

use crate::screen::{row, state};

/// Hours in the unit that people would use.
pub fn duration(hours: f64) -> String {
    match hours {
        hours if hours < 1.0 / 60.0 => format!("{:.0} seconds", hours * 3600.0),
        hours if hours < 1.5 / 60.0 => "1 minute".to_owned(),
        hours if hours < 1.5 => format!("{:.0} minutes", hours * 60.0),
        hours if hours < 72.0 => format!("{hours:.1} hours"),
        hours => format!("{:.1} days", hours / 24.0),
    }
}

/// Speed, time and memory.
pub fn print(estimate: &Cost) {
    let Cost { arch, size_px, batch_size, .. } = estimate;
    row(
        "speed",
        &format!(
            "{:.0} images/s here with {arch} at {size_px} px (loading alone {:.0}, steps alone {:.0})",
            estimate.images_per_second, estimate.speed.input_images_per_second, estimate.speed.step_images_per_second
        ),
    );
    row(
        "time",
        &format!(
            "{} per epoch, {} for {} epochs",
            duration(estimate.hours_per_epoch),
            duration(estimate.hours),
            estimate.epochs
        ),
    );
    let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
    if let (Some(needed), Some(free)) = (estimate.memory_bytes, estimate.available_memory_bytes) {
        row("memory", &format!("about {} for steps of {batch_size}, {} free", gib(needed), gib(free)));
    }
}

/// The offer of a run that fits a shorter time.
pub fn shorter(shorter: &Shorter, data: &[PathBuf]) {
    let Shorter { minutes, arch, size_px, batch_size, epochs } = shorter;
    let data: Vec<String> = data.iter().map(|data| data.display().to_string()).collect();
    row("instead", &format!("in {minutes} minutes: {arch}, {size_px} px, {epochs} epochs of batch {batch_size}:"));
    state!("            byol pretrain {} --minutes {minutes}", data.join(" "));
    row("", "the whole recipe starts now all the same; Ctrl-C ends it");
}
