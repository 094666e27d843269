//! `byol preview`.

use std::path::PathBuf;

use byol::preview::{PreviewOptions, check_free, write_preview};
use byol::recipe::RecipeRequest;
use byol_eval::waiting;
use byol_nn::Result;
use byol_nn::ops::Device;

use crate::Ending;
use crate::data::tell_notes;
use crate::pretrain::introduce_views;
use crate::recipe::RecipeArguments;
use crate::screen::{row, say, talks};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    recipe: RecipeArguments,
    /// PNG file to write
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Pictures to show, one per row
    #[arg(long, value_name = "N", default_value = "6", value_parser = clap::value_parser!(u16).range(1..=100))]
    images: u16,
    /// Pairs of views of each picture
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u16).range(1..=PreviewOptions::MAX_PAIRS as i64))]
    pairs: u16,
}

pub fn run(arguments: Arguments) -> Result<Ending> {
    check_free(&arguments.out, &arguments.recipe.data.roots())?;
    let recipe = RecipeRequest::from(arguments.recipe).open(&Device::flex())?;
    if talks() {
        row("data", &recipe.dataset.description());
        tell_notes([&recipe.dataset]);
        row("preset", &recipe.preset_sentence());
        introduce_views(recipe.views);
    }
    let options = PreviewOptions {
        images: usize::from(arguments.images),
        pairs: usize::from(arguments.pairs),
        seed: recipe.config.seed,
    };
    let shown =
        waiting("drawing views", || write_preview(&recipe.dataset, &recipe.config.views, options, &arguments.out))?;
    say!("{shown} pictures with {} pairs of views each: {}", arguments.pairs, arguments.out.display());
    Ok(Ending::Done)
}
