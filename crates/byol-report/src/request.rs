//! What the person asked for.

use std::path::PathBuf;

/// What to report.
#[derive(Clone, Debug)]
pub struct ReportRequest {
    /// Run folders; their curves lie over each other.
    pub runs: Vec<PathBuf>,
    /// Roots of the pictures to show; none: those each run was trained on, if they are still there.
    pub data: Vec<PathBuf>,
    /// Pictures to find neighbours for and to place on the map; none: the test part of the data, else a fifth of it.
    pub test: Vec<PathBuf>,
    /// Pictures of the map, and to find neighbours among; 1 or more.
    pub images: usize,
    /// Which pictures are chosen.
    pub seed: u64,
    /// Whether pictures are shown; otherwise neither the data nor the encoder is opened.
    pub pictures: bool,
}
