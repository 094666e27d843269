//! `-o`, `--html` and `--json`.

use std::io::Write;
use std::path::{Path, PathBuf};

use byol_eval::waiting;
use byol_index::Table;
use byol_nn::files::{check_outside, check_writable, write_atomically};
use byol_nn::{Error, Result};
use byol_report::Gallery;

use crate::screen::say;
use crate::show;

/// Where results go, beside the screen.
#[derive(clap::Args)]
pub struct Outputs {
    /// CSV file to write: the whole table
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// HTML file to write: the first of it with the pictures
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print one JSON object with what was found on stdout
    #[arg(long)]
    json: bool,
}

impl Outputs {
    /// Checks that all of it can be written, before anything is computed.
    pub fn check_free(&self, data: &[PathBuf]) -> Result<()> {
        if let Some(out) = &self.out {
            check_free(out, "csv", data)?;
        }
        if let Some(html) = &self.html {
            check_free(html, "html", data)?;
        }
        Ok(())
    }

    /// Whether there is to be a page.
    pub fn wants_page(&self) -> bool {
        self.html.is_some()
    }

    /// A file beside the table: `groups.csv` and `drop.txt` give `groups.drop.txt`.
    pub fn beside_table(&self, ending: &str) -> Option<PathBuf> {
        self.out.as_ref().map(|out| out.with_extension(ending))
    }

    /// Writes what was asked for. `found` is the JSON object, without the files.
    pub fn write(
        &self,
        table: &Table,
        page: impl FnOnce() -> Option<Gallery>,
        mut found: serde_json::Value,
    ) -> Result<()> {
        if let Some(out) = &self.out {
            write_atomically(out, |writer| table.write_csv(writer))?;
            say!("wrote {} rows: {}", table.rows.len(), out.display());
        }
        if let Some(path) = &self.html
            && let Some(page) = page()
        {
            let html = waiting("drawing the page", || page.html());
            write_atomically(path, |writer| writer.write_all(html.as_bytes()))?;
            say!("wrote a page of {:.1} MB: {}", html.len() as f64 / 1e6, path.display());
        }
        if self.out.is_none() && self.html.is_none() && !self.json {
            say!("nothing is written: -o FILE.csv writes the whole table, --html FILE.html a page with the pictures");
        }
        if self.json {
            found["table"] = serde_json::json!(self.out);
            found["page"] = serde_json::json!(self.html);
            show::json(&found);
        }
        Ok(())
    }
}

/// Checks that a file with this ending may be written to `path`.
pub fn check_free(path: &Path, ending: &str, data: &[PathBuf]) -> Result<()> {
    if path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case(ending)) {
        return Err(Error::path(path, format!("expected a file name that ends in .{ending}")));
    }
    data.iter().try_for_each(|data| check_outside(path, data))?;
    if path.symlink_metadata().is_ok() {
        return Err(Error::path(path, "already exists and is not overwritten; give another name"));
    }
    check_writable(path)
}
