//! Pictures in, batches of views out. Knows no tensor library.
//!
//! ```text
//! DATA → source → decode → views → loader → batches of f32 [batch, height, width, channels]
//! ```

mod bad;
pub mod benchmarks;
mod channels;
mod config;
mod dataset;
mod decode;
pub mod drawn;
mod error;
mod evaluation_loader;
mod fnv;
mod image;
pub mod inspect;
mod limits;
mod loader;
mod memory;
mod order;
mod prefetch;
mod random;
mod remote;
mod source;
mod splits;
pub mod throughput;
mod value_range;
pub mod views;

pub use bad::check_bad;
pub use config::{DataConfig, JpegDecoding};
pub use dataset::Dataset;
pub use decode::{FIDELITY, Flaw, decode, flaw, unread_format};
pub use error::{BadImage, DataError};
pub use evaluation_loader::{EvaluationBatch, EvaluationLoader, EvaluationOptions};
pub use image::{Image, Samples};
pub use loader::{Batch, LoaderOptions, PairLoader, part_of};
pub use memory::LoadMemory;
pub use order::{Order, Sample};
pub use random::{Random, Stream};
pub use remote::is_url;
pub use source::{NpyHeader, ParquetTable};
pub use value_range::{Measured, ValueRange, proposal as value_range_proposal};
pub use views::InvalidConfig;
