//! How work is done, beside what is asked.

use byol_kernels::Isa;

/// The instruction set that products use, and who is told how far they are.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    /// One that the machine has.
    pub isa: Isa,
    /// Told of every so many rows that are done.
    pub advance: &'a (dyn Fn(u64) + Sync),
}

impl Work<'_> {
    /// The fastest instruction set, and nobody is told.
    pub fn silent() -> Self {
        Self { isa: Isa::best(), advance: &|_| () }
    }
}
