//! One HTML file about one or several runs: how they went, what they learned, and the pictures as the encoder sees them; or a
//! [`Gallery`]: pictures in rows, such as groups of duplicates.
//!
//! A file holds all it shows: style, script, data and pictures. Nothing is loaded from anywhere. Without the script
//! only what appears under the pointer is missing.

mod axis;
mod chart;
mod confusion;
mod curves;
mod gallery;
mod html;
mod map;
mod overview;
mod pictures;
mod projection;
mod request;
mod results;
mod runs;
mod sample;
mod settings;
mod sprite;
mod summary;

use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use burn::tensor::Device;
use byol_nn::files::{check_outside, check_writable, write_atomically};
use byol_nn::{Error, Result};

pub use gallery::{Frame, Gallery, Strip, Tile};
use html::document;
pub use request::ReportRequest;
use runs::RunRecord;

/// A report before it is written: the runs are read, and the place is free.
pub struct PreparedReport {
    request: ReportRequest,
    runs: Vec<RunRecord>,
}

impl PreparedReport {
    /// Reads the runs and checks that `out` may be written.
    ///
    /// # Errors
    /// [`Error::Path`] for a path that is no run folder, for an ending other than `.html`, an existing file or a place
    /// inside data, [`Error::Io`] for a place that cannot be written to.
    pub fn new(request: ReportRequest, out: &Path) -> Result<Self> {
        let runs = RunRecord::read_all(&request.runs)?;
        let trained_on = runs.iter().filter_map(|run| run.info.as_ref()).flat_map(|info| &info.data);
        let mut data = request.data.iter().chain(&request.test).chain(trained_on);
        data.try_for_each(|data| check_outside(out, data))?;
        if out.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("html")) {
            return Err(Error::path(out, "expected a file name that ends in .html"));
        }
        if out.symlink_metadata().is_ok() {
            return Err(Error::path(out, "already exists and is not overwritten; give another -o"));
        }
        check_writable(out)?;
        Ok(Self { request, runs })
    }

    /// Makes the report and writes it to `out`; returns its size in bytes.
    ///
    /// # Errors
    /// Errors of the data that the request names, [`Error::Io`] when the file cannot be written.
    pub fn write(&self, out: &Path, device: &Device) -> Result<usize> {
        let page = self.page(device)?;
        write_atomically(out, |writer| writer.write_all(page.as_bytes()))?;
        Ok(page.len())
    }

    fn page(&self, device: &Device) -> Result<String> {
        let runs = &self.runs;
        let pictures = match self.request.pictures {
            true => pictures::section(runs, &self.request, device)?,
            false => String::new(),
        };
        let sections = [
            ("overview", "Overview", overview::section(runs)),
            ("curves", "Curves", curves::section(runs)),
            ("results", "Results", results::section(runs)),
            ("pictures", "Pictures", pictures),
            ("configuration", "Configuration", settings::configuration(runs)),
            ("environment", "Environment", settings::environment(runs)),
        ];
        let present = || sections.iter().filter(|(_, _, html)| !html.is_empty());
        let links: String = present().map(|(id, title, _)| format!("<a href=\"#{id}\">{title}</a>")).collect();
        let body: String = present()
            .map(|(id, title, html)| {
                format!(
                    "<details class=\"part\" open><summary><h2 id=\"{id}\">{title}</h2></summary>\n{html}</details>\n"
                )
            })
            .collect();
        let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
        let head = summary::head(runs, SystemTime::now());
        let tip = "<div id=\"tip\" hidden></div>\n";
        Ok(document(
            &format!("{} · BYOL report", names.join(", ")),
            &format!("{head}<nav>{links}</nav>\n{body}{tip}"),
            include_str!("script.js"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::runs::tests::run_with;
    use std::path::PathBuf;

    use super::*;

    fn request(runs: &[PathBuf]) -> ReportRequest {
        ReportRequest { runs: runs.to_vec(), data: vec![], test: vec![], images: 10, seed: 0, pictures: true }
    }

    #[test]
    fn a_run_without_anything_still_gives_a_report_that_says_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = run_with(folder.path(), "run", "");
        let out = folder.path().join("report.html");
        let report = PreparedReport::new(request(&[path]), &out).unwrap();
        report.write(&out, &byol_nn::ops::open_device("cpu").unwrap()).unwrap();
        let html = std::fs::read_to_string(&out).unwrap();
        for words in ["no step logged yet", "No evaluation yet", "No encoder yet", "no curves", "batch_size = 16"] {
            assert!(html.contains(words), "{words}");
        }
    }

    #[test]
    fn places_that_must_not_be_written_to_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = run_with(folder.path(), "run", "");
        std::fs::create_dir(folder.path().join("gone")).unwrap();
        std::fs::write(folder.path().join("there.html"), "precious").unwrap();
        let cases = [
            ("there.html", "already exists"),
            ("x.pdf", ".html"),
            ("gone/x.html", "inside the data"),
            ("no/x.html", "cannot write"),
        ];
        for (name, words) in cases {
            let error =
                PreparedReport::new(request(std::slice::from_ref(&path)), &folder.path().join(name)).err().unwrap();
            assert!(error.to_string().contains(words), "{error}");
        }
        let error =
            PreparedReport::new(request(&[folder.path().to_owned()]), &folder.path().join("x.html")).err().unwrap();
        assert!(error.to_string().contains("not a run folder"), "{error}");
    }

    #[test]
    fn the_page_loads_nothing() {
        for text in [include_str!("style.css"), include_str!("script.js")] {
            for way in ["http:", "https:", "@import", "fetch(", "import(", "XMLHttpRequest"] {
                assert!(!text.contains(way), "{way}");
            }
        }
    }
}
