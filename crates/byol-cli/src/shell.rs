//! `byol completions` and `byol man`: what a shell and `man` know of the flags, written from the flags as they are.

use std::io::Write;
use std::path::PathBuf;

use byol_nn::{Error, Result};
use clap_complete::Shell;

use crate::Ending;

#[derive(clap::Args)]
pub struct CompletionArguments {
    /// Shell to complete in
    shell: Shell,
}

#[derive(clap::Args)]
pub struct ManArguments {
    /// Folder to write byol.1, byol-pretrain.1, … into; is made if needed
    folder: PathBuf,
}

/// Prints the completions on stdout.
pub fn completions(mut command: clap::Command, arguments: &CompletionArguments) -> Result<Ending> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "byol", &mut script);
    // A reader that went away, such as `head`, has read enough.
    let _ = std::io::stdout().write_all(&script);
    Ok(Ending::Done)
}

/// Writes a page for every command.
pub fn man(command: clap::Command, arguments: &ManArguments) -> Result<Ending> {
    let folder = &arguments.folder;
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    // The instruction sets of this machine are not those of a reader's.
    let command = command.long_version(env!("CARGO_PKG_VERSION"));
    clap_mangen::generate_to(command, folder).map_err(Error::io("write", folder))?;
    Ok(Ending::Done)
}
