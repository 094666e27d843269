//! Convolutions of 3×3 and stride 1 with 36 products instead of 144 for every 4×4 outputs (Lavin and Gray 2016).
//!
//! `Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A`: tiles `d` of 6×6 inputs and kernels `g` are mapped to 36 points each, the channels of
//! each point are a matrix product, and the sums are mapped to tiles of 4×4 outputs. All of it runs in `f32`, and operands
//! are not rounded to `bf16`.

mod multiply;
mod tiling;
mod transform;
mod weight_gradient;

pub(super) use multiply::{MappedWeight, multiply};
pub(super) use weight_gradient::weight_gradient;

use super::window::Window;
use crate::element::Element;
use crate::isa::Isa;
use crate::lanes::LANES;
use tiling::Tiling;
use transform::{KERNEL, OUT};

/// Fewer tiles than this do not pay for mapping the kernels.
const MIN_TILES: usize = 96;

/// Nor, where they are mapped already, do fewer than this for reading the mapped ones, which are four times as many.
const MIN_TILES_KEPT: usize = 32;

/// Whether the product of `window` over so many images with `outputs` outputs is worth it: windows of the right shape, whole
/// vectors of channels, enough tiles, and no faster product of the element type.
///
/// `is_kept` says whether mapped kernels serve more than one call.
pub(super) fn suits<E: Element>(isa: Isa, window: &Window, images: usize, outputs: usize, is_kept: bool) -> bool {
    let fits = [window.y, window.x].iter().all(|axis| (axis.taps, axis.stride, axis.source_step) == (KERNEL, 1, 1));
    let tiles = Tiling::new(window).tiles();
    // Products of `bf16` pairs take half the time of those of `f32`; of tiles that reach far over the image, a part is for nothing.
    let is_faster_direct = E::BYTES < size_of::<f32>()
        && match isa {
            Isa::Amx => true,
            Isa::Avx512Bf16 | Isa::NeonBf16 => 2 * tiles * OUT * OUT > 3 * window.positions(),
            _ => false,
        };
    fits && window.channels.is_multiple_of(LANES)
        && outputs.is_multiple_of(LANES)
        && images * tiles >= if is_kept && E::BYTES == size_of::<f32>() { MIN_TILES_KEPT } else { MIN_TILES }
        && !is_faster_direct
}
