//! What `byol --version` says.

use std::sync::LazyLock;

use byol_kernels::Isa;

/// Version, commit, and the instruction sets of the kernels that this machine has, fastest first.
pub fn long() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let sets: Vec<&str> = Isa::available().iter().rev().map(|isa| isa.name()).collect();
        format!(
            "{}\ncommit            {}\ninstruction sets  {} (the first is used)",
            env!("CARGO_PKG_VERSION"),
            env!("BYOL_COMMIT"),
            sets.join(", ")
        )
    });
    &TEXT
}
