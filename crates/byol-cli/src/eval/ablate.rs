//! `byol eval ablate`.

use std::path::PathBuf;

use byol::ablate::{AblationRequest, Rows, Table};
use byol_eval::{PartsRequest, open_parts};
use byol_nn::Result;

use super::numbers::whole_number;
use super::{session, table as evaluation_table};
use crate::data::{DataArguments, tell_notes};
use crate::device::Compute;
use crate::recipe::SettingsFlags;
use crate::screen::{say, state};
use crate::{Ending, interrupt, show};

#[derive(clap::Args)]
pub struct Arguments {
    /// Table of the paper: target, negatives, simclr, temperature, augmentations, batch, heads, projection, learning-rate,
    /// weight-decay, normalisation, predictor-rate, head-rates, optimal-predictor, initialisation or norm
    #[arg(long, value_name = "NAME")]
    table: Table,
    #[command(flatten)]
    data: DataArguments,
    /// Pictures to test on [default: the test part of DATA, else a fifth of it held out]
    #[arg(long)]
    test: Vec<PathBuf>,
    /// Folder for the runs; those that are there are not trained again
    #[arg(long, value_name = "DIR", default_value = "runs/ablate")]
    out: PathBuf,
    /// Rows to run [default: all]
    #[arg(long, value_name = "ROW,…", value_delimiter = ',')]
    rows: Vec<String>,
    /// Seeds 0 to N − 1, a run each
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole_number)]
    seeds: usize,
    #[command(flatten)]
    settings: SettingsFlags,
    /// Print one JSON object with the table on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(arguments: Arguments) -> Result<Ending> {
    let Arguments { table, data, test, out, rows, seeds, settings, json, compute } = arguments;
    let device = compute.open()?;
    let requests = interrupt::install()?;
    let recipe = settings.request(&data);
    let data = data.roots();
    let request = AblationRequest { table, recipe, out, seeds: (0..seeds as u64).collect(), device: compute.device };
    let config = request.recipe.open(&device)?.config;
    let Rows { variants, refused } = Rows::new(table, &config).only(&rows)?;
    for (row, reason) in refused {
        state!("left out: row {row}: {reason}");
    }
    let parts = open_parts(&PartsRequest { data, test, ..PartsRequest::default() }, &config.data)?;
    session::check_labels(&parts.train)?;
    session::check_labels(&parts.test)?;
    say!("{}", parts.description);
    tell_notes([&*parts.train, &parts.test]);
    let Some(evaluation) = request.run(&variants, &parts, &device, requests, |line| say!("{line}"))? else {
        state!("stopped; everything is saved. The same command goes on");
        return Ok(Ending::Interrupted);
    };
    evaluation_table::print(&evaluation);
    if json {
        show::json(&evaluation);
    }
    Ok(Ending::Done)
}
