//! Where pictures come from. The content of `DATA` decides, never its name.

mod archive;
mod arrays;
mod cifar;
mod contents;
mod folder;
mod idx;
mod in_memory;
mod in_place;
mod index;
mod list;
mod listing;
mod npy;
mod npz;
mod open;
mod parquet;
mod parquet_columns;
mod parquet_file;
mod parquet_labels;
mod part;
mod pattern;
mod pixels;
mod read;
mod read_at;
mod records;
mod several;
mod stl10;
mod walk;
mod webdataset;

pub(crate) use arrays::picture as array_picture;
pub(crate) use index::user_folder;
pub(crate) use list::of_paths;
pub(crate) use listing::{Listing, has_picture_ending, is_hidden};
pub(crate) use npy::looks_like_npy;
pub(crate) use open::open_all;
pub(crate) use pattern::expand_all;
pub(crate) use read::Source;
