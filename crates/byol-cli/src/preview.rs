//! `byol preview`.

use std::path::PathBuf;

use byol::preview::{PreviewOptions, check_free, write_preview};
use byol::recipe::RecipeRequest;
use byol_nn::Result;

use crate::Ending;
use crate::recipe::RecipeArguments;

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
    check_free(&arguments.out, &arguments.recipe.data)?;
    let recipe =
        RecipeRequest::from(arguments.recipe).open(&byol_nn::ops::open_device("cpu").expect("every build has it"))?;
    eprintln!("data    {}", recipe.dataset.description());
    eprintln!("preset  {}", recipe.preset_sentence());
    let options = PreviewOptions {
        images: usize::from(arguments.images),
        pairs: usize::from(arguments.pairs),
        seed: recipe.config.seed,
    };
    let shown = write_preview(&recipe.dataset, &recipe.config.views, options, &arguments.out)?;
    eprintln!("{shown} pictures with {} pairs of views each: {}", arguments.pairs, arguments.out.display());
    Ok(Ending::Done)
}
