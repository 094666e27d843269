//! What embeddings of pictures are good for. Knows no tensor library and no encoder: vectors and names come from a file.
//!
//! ```text
//! duplicates   outliers   label_errors   select      one question each: vectors → ranked rows
//!   clusters                                         spherical k-means · agreement: with labels
//!   approximate                                      HNSW, and how much it finds
//!     neighbours                                     the k nearest, exactly · pairs: all products once
//!       products   work                              blocks of cosines · instruction set and progress
//!         embeddings   vectors                       read from Parquet, .npy or .csv · rows of unit length
//! ```
//!
//! Similarity is the cosine everywhere. All results are the same on every run and for every number of threads, but for those of the
//! approximate index, whose threads race for the order in which they build it.

mod agreement;
mod approximate;
mod clusters;
mod csv_file;
mod duplicates;
mod embeddings;
mod error;
mod label_errors;
mod neighbours;
mod npy_file;
mod outliers;
mod pairs;
mod parquet_file;
mod products;
mod select;
mod table;
mod vectors;
mod work;

pub use agreement::Agreement;
pub use approximate::{APPROXIMATE_FROM, Approximate, Recall};
pub use clusters::{ClusterOptions, Clusters, k_means, lloyd};
pub use duplicates::{DuplicateGroup, Duplicates, Spread, proposed_threshold};
pub use embeddings::{Column, Embeddings, Origin};
pub use error::{IndexError, Result};
pub use label_errors::{LabelErrorOptions, LabelErrors, Suspect, suspects};
pub use neighbours::{Neighbour, Neighbours, of_all, search};
pub use outliers::{Outlier, outliers};
pub use select::{Chosen, Selection, k_centre, typical};
pub use table::Table;
pub use vectors::Vectors;
pub use work::Work;
