//! Stands in for `cubecl-llvm` 0.11.3, whose build script downloads a gigabyte of LLVM from outside the registry.
//!
//! `cubecl-cuda` and `cubecl-hip` can compile kernels in two ways: as C++ by the driver's own compiler (NVRTC, HIPRTC), or through LLVM.
//! This project asks for the first (`cubecl`'s features `cuda-cpp` and `hip-cpp`); the second is mentioned by name only, and here
//! are those names. Whoever selects it at run time is told so.

use cubecl_core::ir::DeviceProperties;
use cubecl_core::ir::amd::{AmdWmma, GfxArch};
#[cfg(feature = "nvptx")]
use cubecl_core::ir::nvidia::SmArch;
use cubecl_core::prelude::KernelDefinition;
use cubecl_server::compiler::{CompilationError, Compiler};
use cubecl_server::kernel::BufferIOAttr;

/// What kernels would be compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LlvmTarget {
    /// AMD.
    AmdGpu,
    /// NVIDIA.
    Nvptx,
}

/// The compiler that is not there.
#[derive(Clone, Debug)]
pub struct PlironCompiler {
    /// What for.
    pub target: LlvmTarget,
}

/// Its options.
#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// AMD's architecture.
    pub arch: Option<GfxArch>,
    /// NVIDIA's architecture.
    #[cfg(feature = "nvptx")]
    pub sm_arch: Option<SmArch>,
    /// The version of PTX.
    #[cfg(feature = "nvptx")]
    pub ptx_version: Option<nvptx::ptx_version::PtxVersion>,
    /// Whether scalars are parameters of the kernel.
    pub grid_constants: bool,
}

/// What would come out.
#[derive(Clone, Debug)]
pub enum PlironArtifact {
    /// For AMD.
    AmdGpuCode(AmdGpuModule),
    /// For NVIDIA.
    NvptxCode(NvptxModule),
}

impl core::fmt::Display for PlironArtifact {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::AmdGpuCode(module) => &module.ir,
            Self::NvptxCode(module) => &module.ir,
        })
    }
}

/// Assembly for NVIDIA.
#[derive(Clone, Debug)]
pub struct NvptxModule {
    /// The assembly.
    pub ptx: Vec<core::ffi::c_char>,
    /// The kernel's name in it.
    pub entrypoint: String,
    /// What was compiled.
    pub ir: String,
    /// Bytes.
    pub shared_memory_size: usize,
    /// What is read and written.
    pub io: Vec<BufferIOAttr>,
}

/// A code object for AMD.
#[derive(Clone, Debug)]
pub struct AmdGpuModule {
    /// The code object.
    pub code_object: Vec<u8>,
    /// The kernel's name in it.
    pub entrypoint: String,
    /// What was compiled.
    pub ir: String,
    /// Bytes.
    pub shared_memory_size: usize,
    /// What is read and written.
    pub io: Vec<BufferIOAttr>,
}

impl Compiler for PlironCompiler {
    type Representation = PlironArtifact;
    type CompilationOptions = PlironOptions;

    fn compile(&mut self, _: KernelDefinition, _: &PlironOptions) -> Result<PlironArtifact, CompilationError> {
        unimplemented!("this build has no LLVM: kernels are compiled as C++ by the driver")
    }

    fn extension(&self) -> &'static str {
        "ll"
    }

    fn lang_tag(&self) -> &'static str {
        "llvm"
    }
}

/// NVIDIA.
#[cfg(feature = "nvptx")]
pub mod nvptx {
    /// Versions of PTX.
    pub mod ptx_version {
        use std::fmt;

        /// A version of PTX; none is ever chosen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum PtxVersion {}

        impl PtxVersion {
            /// None: only LLVM asks for one.
            pub fn for_driver(_: i32) -> Option<Self> {
                None
            }
        }

        impl fmt::Display for PtxVersion {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {}
            }
        }
    }
}

/// What LLVM would leave of a device's abilities.
pub mod shared {
    /// Narrowing them.
    pub mod lowered_features {
        use super::super::{AmdWmma, DeviceProperties};

        /// What for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum GpuTarget {
            /// NVIDIA.
            Nvptx,
            /// AMD.
            AmdGpu {
                /// The generation of its matrix instructions.
                wmma: Option<AmdWmma>,
            },
        }

        /// Nothing is taken away: kernels are compiled as C++.
        pub fn restrict_features(_: &mut DeviceProperties, _: GpuTarget) {}
    }
}
