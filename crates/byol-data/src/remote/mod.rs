//! Data behind URLs: object stores and web servers, with the feature `remote` (docs/remote.md).
//!
//! ```text
//! address → server (one request, asked again) → disk (what was fetched) → fetch (many at once) → object (bytes by position)
//! ```

mod address;
#[cfg(feature = "remote")]
mod disk;
#[cfg(feature = "remote")]
mod fetch;
#[cfg(feature = "remote")]
mod headers;
#[cfg(feature = "remote")]
mod object;
#[cfg(feature = "remote")]
mod reader;
#[cfg(feature = "remote")]
mod server;
#[cfg(feature = "remote")]
mod session;

pub use address::is_url;
pub(crate) use address::{last_component, shown};
#[cfg(feature = "remote")]
pub(crate) use {
    object::Object,
    reader::{Failure, Reader},
    session::{Found, Prefix, Session},
};
