//! `byol bundle` and `byol verify`.

use std::path::PathBuf;

use byol::bundle::{BundleRequest, Measured, Verified, VerifyRequest, verify as check};
use byol_eval::Stop;
use byol_nn::{Error, Result};

use crate::device::Compute;
use crate::screen::{paragraph, row, say, state};
use crate::{Ending, interrupt, show};

#[derive(clap::Args)]
pub struct BundleArguments {
    /// Run folder, with its evaluations
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Archive to write: a .tar with one folder in it
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Licence of the weights as an SPDX expression, for example MIT, CC-BY-4.0 or "MIT OR Apache-2.0"
    #[arg(long, value_name = "SPDX")]
    license: Option<String>,
    /// HTML file that `byol report` wrote, to go in
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print one JSON object with what was written on stdout
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct VerifyArguments {
    /// Archive that `byol bundle` wrote
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// Measure k-NN and linear evaluation again on these pictures, those of the recorded evaluation
    #[arg(long, value_name = "DATA")]
    data: Vec<PathBuf>,
    /// Pictures to test on, where the evaluation had a --test
    #[arg(long, value_name = "DATA", requires = "data")]
    test: Vec<PathBuf>,
    /// How far a number may be from the recorded one; other instruction sets round otherwise
    #[arg(long, value_name = "POINTS", default_value_t = 0.1, requires = "data", allow_negative_numbers = true)]
    tolerance: f64,
    /// Print one JSON object with what was found on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: Compute,
}

pub fn bundle(arguments: BundleArguments) -> Result<Ending> {
    let BundleArguments { run, out, license, report, json } = arguments;
    let device = byol_nn::ops::open_device("cpu").map_err(Error::Evaluation)?;
    let request = BundleRequest { run, out, license, report };
    let bundled = request.write(&device)?;
    bundled.notes.iter().for_each(|note| {
        if crate::screen::talks() {
            row("note", note);
        }
    });
    let out = request.out.display();
    let again = if bundled.files.iter().any(|file| file == "evaluation.json") { " --data LABELLED" } else { "" };
    say!(
        "bundled {} files, {:.1} MB: {out}\nnext: byol verify {out}{again}",
        bundled.files.len(),
        bundled.bytes as f64 / 1e6
    );
    if json {
        show::json(&serde_json::json!({
            "file": request.out,
            "files": bundled.files,
            "bytes": bundled.bytes,
            "notes": bundled.notes,
        }));
    }
    Ok(Ending::Done)
}

pub fn verify(arguments: VerifyArguments) -> Result<Ending> {
    let VerifyArguments { bundle, data, test, tolerance, json, compute } = arguments;
    if !(tolerance >= 0.0 && tolerance.is_finite()) {
        let expected = "a number of points, 0 or more".to_owned();
        return Err(Error::Flag { flag: "--tolerance", expected, got: tolerance.to_string() });
    }
    let device = compute.open()?;
    let stop = Stop::on(&interrupt::install()?.stop);
    let request = VerifyRequest { bundle, data, test, tolerance };
    let verified = match check(&request, stop, &device) {
        Err(Error::Interrupted) => {
            state!("stopped; nothing was written");
            return Ok(Ending::Interrupted);
        }
        verified => verified?,
    };
    print(&verified, &request);
    if json {
        show::json(&serde_json::json!({
            "bundle": request.bundle,
            "verified": verified,
            "tolerance": tolerance,
            "differs": verified.differs(),
        }));
    }
    Ok(if verified.differs() { Ending::BarMissed } else { Ending::Done })
}

fn print(verified: &Verified, request: &VerifyRequest) {
    row("sums", &format!("the SHA-256 of all {} files are those of SHA256SUMS", verified.files));
    row("encoder", &verified.training);
    row("licence", verified.license.as_deref().unwrap_or("not stated"));
    for measured in &verified.evaluations {
        say_measured(measured);
    }
    match (verified.evaluations.is_empty(), verified.differs()) {
        (true, _) => say!("its numbers were not measured again; --data LABELLED does that"),
        (false, false) => state!("all numbers that were measured again are within {} points", request.tolerance),
        (false, true) => paragraph(&format!(
            "some numbers differ by more than {} points; another version of byol, instruction set or device rounds otherwise by \
             a picture or two, more is another encoder or other pictures",
            request.tolerance
        )),
    }
}

fn say_measured(measured: &Measured) {
    state!("\n{}: {}", measured.eval, measured.data);
    let head = ["", "setting", "number", "recorded", "now", ""].map(str::to_owned).to_vec();
    let line = |number: &byol::bundle::Compared| {
        let verdict = if number.is_same { "same" } else { "DIFFERS" };
        let [recorded, now] = [number.recorded, number.now].map(|value| format!("{value:.2}"));
        vec![
            number.network.to_owned(),
            number.setting.clone(),
            number.metric.clone(),
            recorded,
            now,
            verdict.to_owned(),
        ]
    };
    if !measured.numbers.is_empty() {
        show::table(&[head].into_iter().chain(measured.numbers.iter().map(line)).collect::<Vec<_>>());
    }
    measured.left_out.iter().for_each(|reason| paragraph(&format!("  not measured again: {reason}")));
}
