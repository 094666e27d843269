//! Output for people (stderr) and for scripts (stdout).

use std::path::PathBuf;

use byol::cost::Cost;
use byol::recipe::Shorter;
use byol_eval::{Column, Statistic};
use serde::Serialize;

/// The one JSON object of `--json`.
pub fn json(value: &impl Serialize) {
    println!("{}", serde_json::to_string(value).expect("results have a JSON form"));
}

/// A table with a header, columns padded to the widest cell.
pub fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width));
        eprintln!("  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// Percent with one digit.
pub fn percent(value: f64) -> String {
    format!("{value:.1} %")
}

/// Mean and, if there is one, the deviation: `59.2 ± 0.3 %`.
pub fn statistic(column: &Column, statistic: &Statistic) -> String {
    let (digits, unit) = (column.digits, if column.is_percent { " %" } else { "" });
    match statistic.std {
        Some(std) => format!("{:.digits$} ± {std:.digits$}{unit}", statistic.mean),
        None => format!("{:.digits$}{unit}", statistic.mean),
    }
}

/// Hours in the unit that people would use.
pub fn duration(hours: f64) -> String {
    match hours {
        hours if hours < 1.0 / 60.0 => format!("{:.0} seconds", hours * 3600.0),
        hours if hours < 1.5 => format!("{:.0} minutes", hours * 60.0),
        hours if hours < 72.0 => format!("{hours:.1} hours"),
        hours => format!("{:.1} days", hours / 24.0),
    }
}

/// What a run would cost here.
pub fn cost(estimate: &Cost) {
    let row = |name: &str, value: String| eprintln!("{name:<12}{value}");
    let Cost { arch, size_px, batch_size, .. } = estimate;
    row(
        "speed",
        format!(
            "{:.0} images/s here with {arch} at {size_px} px (loading alone {:.0}, steps alone {:.0})",
            estimate.images_per_second, estimate.speed.input_images_per_second, estimate.speed.step_images_per_second
        ),
    );
    row(
        "time",
        format!(
            "{} per epoch, {} for {} epochs",
            duration(estimate.hours_per_epoch),
            duration(estimate.hours),
            estimate.epochs
        ),
    );
    let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
    if let (Some(needed), Some(free)) = (estimate.memory_bytes, estimate.available_memory_bytes) {
        row("memory", format!("about {} for steps of {batch_size}, {} free", gib(needed), gib(free)));
    }
}

/// The offer of a run that fits a shorter time.
pub fn shorter(shorter: &Shorter, data: &[PathBuf]) {
    let Shorter { minutes, arch, size_px, batch_size, epochs } = shorter;
    let data: Vec<String> = data.iter().map(|data| data.display().to_string()).collect();
    eprintln!("instead     in {minutes} minutes: {arch}, {size_px} px, {epochs} epochs of batch {batch_size}:");
    eprintln!("            byol pretrain {} --minutes {minutes}", data.join(" "));
}
