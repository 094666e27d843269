//! Output for people (stderr) and for scripts (stdout).

use serde_json::Value;

/// The one JSON object of `--json`.
pub fn json(value: &Value) {
    println!("{value}");
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
