//! `byol duplicates`.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use byol_index::{Duplicates, Embeddings, Recall, Table, proposed_threshold};
use byol_nn::files::write_atomically;
use byol_nn::{Error, Result};
use byol_report::{Frame, Gallery, Strip};
use serde_json::json;

use super::nearest::Method;
use super::outputs::check_free;
use super::pictures::{Pictures, Size, lines};
use super::{IndexArguments, class, digits, facts, first_few, metered, title};
use crate::Ending;
use crate::screen::{row, say};

/// Neighbours that an approximate index is asked for: more copies than that are linked through each other.
const APPROXIMATE_K: usize = 32;
/// Share of the pictures in one group from which on the threshold is probably too low.
const SUSPICIOUS_SHARE: f64 = 0.1;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    index: IndexArguments,
    /// Cosine from which on two pictures are linked [default: 1 − a tenth of the median distance to the tenth neighbour]
    #[arg(long, value_name = "COSINE")]
    threshold: Option<f32>,
    #[command(flatten)]
    method: Method,
}

/// The rows of one group; the first is kept.
struct Group {
    /// Largest picture first.
    rows: Vec<u32>,
    /// The cosine of each to the one that is kept.
    cosines: Vec<f32>,
}

impl Group {
    /// Of the picture least like the one that is kept.
    fn lowest_cosine(&self) -> f32 {
        self.cosines.iter().copied().fold(1.0, f32::min)
    }
}

/// Groups, with what is known of their pictures.
struct Found<'a> {
    embeddings: &'a Embeddings,
    groups: Vec<Group>,
    sizes: HashMap<u32, Size>,
}

pub fn run(arguments: &Arguments) -> Result<Ending> {
    if let Some(threshold) = arguments.threshold.filter(|threshold| !(-1.0..=1.0).contains(threshold)) {
        let expected = "a cosine from −1 to 1, usually above 0.9".to_owned();
        return Err(Error::Flag { flag: "--threshold", expected, got: threshold.to_string() });
    }
    let opened = arguments.index.open(2)?;
    let (embeddings, vectors) = (&opened.embeddings, &opened.embeddings.vectors);
    let drop_file = opened.outputs.beside_table("drop.txt");
    drop_file.iter().try_for_each(|file| check_free(file, "txt", &[]))?;
    let pictures = opened.pictures()?;
    let threshold = match arguments.threshold {
        Some(threshold) => threshold,
        None => {
            let proposed = metered("usual distances", 0, |work| proposed_threshold(vectors, work));
            row(
                "threshold",
                &format!(
                    "{proposed:.5}: ten times nearer than pictures usually are to their tenth neighbour (--threshold)"
                ),
            );
            proposed
        }
    };
    let (duplicates, recall) = find(&arguments.method, embeddings, threshold);
    let spread = duplicates.spread();
    let distribution = format!(
        "median {}, 90 % below {}, 99 % below {}, highest {}",
        digits(spread.median),
        digits(spread.p90),
        digits(spread.p99),
        digits(spread.max)
    );
    row("nearest", &format!("cosine of a picture to its most similar one: {distribution}"));
    let found = Found::of(embeddings, &duplicates, pictures.as_ref());
    let (groups, dropped) = (found.groups.len(), found.dropped().count());
    row("groups", &format!("{groups}, of {} pictures; {dropped} could be dropped", groups + dropped));
    first_few("largest", groups, found.groups.iter().map(|group| found.line(group)));
    found.warn(threshold, pictures.is_none());
    let page = |pictures: &Pictures| {
        let about = "Pictures of a group are linked by a cosine of at least the threshold, directly or through others. Blue: the largest, \
                     which is kept; orange: the others, with their cosine to it.";
        let threshold = ("threshold", format!("cosine {threshold:.5}"));
        let count = ("groups", format!("{groups}; {dropped} pictures could be dropped"));
        let facts = facts(embeddings, &[threshold, ("nearest", distribution.clone()), count]);
        let strips = found.groups.iter().enumerate().map(|(place, group)| found.strip(pictures, place, group));
        Gallery::new("Duplicates", &title(embeddings), facts, about.to_owned()).with_strips(strips)
    };
    let names =
        |group: &Group| group.rows.iter().map(|&row| embeddings.names[row as usize].clone()).collect::<Vec<_>>();
    let json = json!({
        "embeddings": embeddings.len(), "threshold": threshold, "nearest": spread, "recall": recall,
        "groups": found.groups.iter().map(names).collect::<Vec<_>>(), "dropped": dropped, "drop_list": drop_file,
    });
    if let Some(file) = &drop_file {
        found.write_drop_list(file)?;
    }
    opened.outputs.write(&found.table(), || pictures.as_ref().map(page), json)?;
    Ok(Ending::Done)
}

fn find(method: &Method, embeddings: &Embeddings, threshold: f32) -> (Duplicates, Option<Recall>) {
    let vectors = &embeddings.vectors;
    if method.is_approximate(vectors.len()) {
        let found = method.of_all(vectors, APPROXIMATE_K);
        return (Duplicates::among(&found.neighbours, threshold), found.recall);
    }
    (metered("pairs", vectors.len() as u64, |work| Duplicates::find(vectors, threshold, work)), None)
}

impl<'a> Found<'a> {
    fn of(embeddings: &'a Embeddings, duplicates: &Duplicates, pictures: Option<&Pictures>) -> Self {
        let members: Vec<u32> = duplicates.groups.iter().flat_map(|group| group.rows.iter().copied()).collect();
        let sizes = pictures.map(|pictures| pictures.sizes(&members)).unwrap_or_default();
        let group = |rows: &[u32]| {
            let mut rows = rows.to_vec();
            // Largest first; of equal ones, and where no size is known, the one that comes first in the file.
            let key = |row: &u32| {
                let size = sizes.get(row).map(|size| (size.width_px * size.height_px, size.bytes));
                (Reverse(size.unwrap_or_default()), *row)
            };
            rows.sort_by_key(key);
            let kept = rows[0] as usize;
            let vectors = &embeddings.vectors;
            let cosines = rows.iter().map(|&row| vectors.cosine(kept, vectors, row as usize)).collect();
            Group { rows, cosines }
        };
        let groups = duplicates.groups.iter().map(|found| group(&found.rows)).collect();
        Self { embeddings, groups, sizes }
    }

    /// The rows that are not kept.
    fn dropped(&self) -> impl Iterator<Item = u32> {
        self.groups.iter().flat_map(|group| group.rows[1..].iter().copied())
    }

    fn name(&self, row: u32) -> &str {
        &self.embeddings.names[row as usize]
    }

    fn line(&self, group: &Group) -> String {
        const NAMED: usize = 3;
        let names: Vec<&str> = group.rows.iter().take(NAMED).map(|&row| self.name(row)).collect();
        let more = match group.rows.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" = {more} more"),
        };
        format!("{}{more}", names.join(" = "))
    }

    /// Says what may be wrong with the groups, and what to do next.
    fn warn(&self, threshold: f32, without_pictures: bool) {
        if without_pictures && !self.groups.is_empty() {
            say!(
                "note: sizes are not known without the pictures, so that the first of each group by its place in the file is kept"
            );
        }
        let largest = self.groups.first().map_or(0, |group| group.rows.len());
        if largest > 10 && largest as f64 > SUSPICIOUS_SHARE * self.embeddings.len() as f64 {
            say!(
                "note: one group holds {largest} of {} pictures, linked through each other: the threshold is too low for these embeddings; raise \
                 --threshold",
                self.embeddings.len()
            );
        }
        let chains = self.groups.iter().filter(|group| group.lowest_cosine() < threshold).count();
        if chains > 0 {
            say!(
                "note: in {chains} of the groups some pictures are linked through others only, and less like the one that is kept than the \
                 threshold; look at these, or raise --threshold"
            );
        }
        let between = self
            .groups
            .iter()
            .filter(|group| {
                group.rows.iter().any(|&row| class(self.embeddings, row) != class(self.embeddings, group.rows[0]))
            })
            .count();
        if between > 0 {
            say!(
                "note: {between} of the groups hold pictures of different classes; look which label is right before you drop any"
            );
        }
    }

    /// A name that several pictures have, or that is no line, is left out: it would drop others.
    fn write_drop_list(&self, file: &Path) -> Result<()> {
        let mut times: HashMap<&str, usize> = HashMap::new();
        self.embeddings.names.iter().for_each(|name| *times.entry(name).or_default() += 1);
        let is_clear = |name: &&str| times[name] == 1 && !name.contains(['\n', '\r']);
        let names: Vec<&str> = self.dropped().map(|row| self.name(row)).filter(is_clear).collect();
        write_atomically(file, |writer| names.iter().try_for_each(|name| writeln!(writer, "{name}")))?;
        say!("wrote the names of {} pictures that could be dropped: {}", names.len(), file.display());
        let left_out = self.dropped().count() - names.len();
        if left_out > 0 {
            say!(
                "note: {left_out} more are not in this list, since their names are those of several pictures or no plain lines"
            );
        }
        Ok(())
    }

    fn table(&self) -> Table {
        let mut table =
            Table::of(&["group", "name", "label", "decision", "cosine_to_kept", "width_px", "height_px", "bytes"]);
        for (place, group) in self.groups.iter().enumerate() {
            for (member, (&row, cosine)) in group.rows.iter().zip(&group.cosines).enumerate() {
                let size = self.sizes.get(&row);
                let cell = |of: fn(&Size) -> u64| size.map(|size| of(size).to_string()).unwrap_or_default();
                table.rows.push(vec![
                    (place + 1).to_string(),
                    self.name(row).to_owned(),
                    class(self.embeddings, row),
                    if member == 0 { "keep" } else { "drop" }.to_owned(),
                    format!("{cosine:.6}"),
                    cell(|size| size.width_px as u64),
                    cell(|size| size.height_px as u64),
                    cell(|size| size.bytes),
                ]);
            }
        }
        table
    }

    fn strip(&self, pictures: &Pictures, place: usize, group: &Group) -> Strip {
        let tile = |(member, (&row, &cosine)): (usize, (&u32, &f32))| {
            let size = match self.sizes.get(&row) {
                Some(size) => format!("{}×{} px, {:.1} KB", size.width_px, size.height_px, size.bytes as f64 / 1e3),
                None => "cannot be read".to_owned(),
            };
            let (frame, word) = match member {
                0 => (Frame::Blue, "keep".to_owned()),
                _ => (Frame::Orange, format!("cosine {}", digits(cosine))),
            };
            pictures.tile(self.embeddings, row, frame, lines(self.embeddings, row, [size, word]))
        };
        Strip {
            title: format!("Group {}: {} pictures", place + 1, group.rows.len()),
            about: format!("lowest cosine to the one that is kept {}", digits(group.lowest_cosine())),
            tiles: group.rows.iter().zip(&group.cosines).enumerate().map(tile).collect(),
        }
    }
}
