//! `--prefix`: which network of a file of another program.

use byol_nn::Result;
use byol_nn::encoder::{Encoder, Opened};
use byol_nn::ops::Device;

use crate::screen::say;

#[derive(clap::Args)]
pub struct NetworkChoice {
    /// Which network of another program's file, by what stands before its tensors or a part of that, for example
    /// backbone_momentum [default: the online one, not the target, teacher or moving average]
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
}

impl NetworkChoice {
    /// Opens `encoder`.
    pub fn open(&self, encoder: &str, device: &Device) -> Result<Encoder> {
        open_saying(encoder, self.prefix.as_deref(), device)
    }
}

/// Opens `text` and says which network was taken where its file has several.
pub fn open_saying(text: &str, prefix: Option<&str>, device: &Device) -> Result<Encoder> {
    let Opened { encoder, note } = Encoder::open_under(text, prefix, device)?;
    if let Some(note) = note {
        say!("{note}");
    }
    Ok(encoder)
}
