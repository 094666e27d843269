//! `byol log`: a run's numbers for other programs' trackers, as files.

use std::path::PathBuf;

use byol::mlflow;
use byol_eval::waiting;
use byol_nn::Result;

use crate::screen::{paragraph, row, say};
use crate::{Ending, show};

/// What reads the files.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Tracker {
    /// The file store of MLflow
    MlflowFile,
}

#[derive(clap::Args)]
pub struct Arguments {
    /// Run folder
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Form of the files; for Weights & Biases see docs/trackers.md
    #[arg(long, value_enum, value_name = "TRACKER")]
    to: Tracker,
    /// Folder to write into: a store that is there, or a new one
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Name of the experiment that the run is put under
    #[arg(long, value_name = "NAME", default_value = "byol")]
    experiment: String,
    /// Print one JSON object with what was written on stdout
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<Ending> {
    let Arguments { run, to: Tracker::MlflowFile, folder, experiment, json } = arguments;
    let logged = waiting("writing the numbers", || mlflow::write(run, folder, experiment))?;
    if logged.without_time > 0 && crate::screen::talks() {
        let lines = logged.without_time;
        row(
            "note",
            &format!(
                "{lines} line(s) of metrics.jsonl have no time, as older versions wrote them; they have that of the file"
            ),
        );
    }
    let verb = if logged.replaced { "replaced what was there by" } else { "wrote" };
    say!("{verb} {} numbers: {}", logged.numbers, logged.run.display());
    let store = folder.display();
    say!("next: MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {store}");
    if crate::screen::talks() {
        paragraph(&format!(
            "MLflow 3 keeps file stores in maintenance only; into a database: mlflow migrate-filestore --source {store} --target \
             sqlite:///mlflow.db"
        ));
    }
    if *json {
        show::json(&serde_json::json!({
            "run": logged.run,
            "run_id": logged.run_id,
            "numbers": logged.numbers,
            "replaced": logged.replaced,
            "lines_without_time": logged.without_time,
        }));
    }
    Ok(Ending::Done)
}
