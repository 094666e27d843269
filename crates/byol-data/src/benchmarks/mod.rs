//! The transfer benchmarks of the paper (App. D.1, Table 10), read in the layout in which their makers give them out.
//!
//! Each reader takes the official lists, makes three parts of them and hands over [`Dataset`](crate::Dataset)s that read
//! the pictures where they are. Where a part for validation is not official, it is held out of the training part: which
//! pictures is a function of the list's order alone (seed 0, [`Stream::HeldOut`](crate::Stream::HeldOut)), not the
//! paper's unpublished choice.

mod aircraft;
mod birdsnap;
mod caltech101;
mod cars;
mod cifar;
mod dtd;
mod facts;
mod flowers102;
mod food101;
mod found;
mod hold_out;
mod labels;
mod mat;
mod open;
mod parts;
mod pets;
mod places365;
mod sun397;
mod tree;
mod voc2007;

pub use facts::{Benchmark, Metric, PartSizes};
pub use labels::{MultiLabels, Presence};
pub use parts::BenchmarkParts;
