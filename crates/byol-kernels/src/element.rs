//! The two types activations are held in.

pub use half::bf16;

use rayon::prelude::*;

use crate::buffer::{AnyBits, arbitrary};
use crate::isa::{Isa, vectorized};
use crate::vector::Operand;

/// `f32` or `bf16`: how values are stored; every sum runs in `f32` or wider.
pub trait Element: Operand + AnyBits + Send + Sync + PartialEq + std::fmt::Debug + 'static {
    /// Bytes of one value.
    const BYTES: usize = size_of::<Self>();

    /// The largest value that [`Element::from_f32`] makes zero of.
    const LARGEST_ZERO: f32;

    /// Exact.
    fn to_f32(self) -> f32;

    /// Rounded to nearest, ties to even; NaN stays NaN.
    fn from_f32(value: f32) -> Self;
}

impl Element for f32 {
    const LARGEST_ZERO: f32 = 0.0;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }
}

impl Element for bf16 {
    /// Half of the smallest value above zero, a tie.
    const LARGEST_ZERO: f32 = f32::from_bits(0x8000);

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    /// Without a branch, so that loops over it vectorise.
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        let quiet_nan = bits >> 16 | 0x40;
        Self::from_bits(if value.is_nan() { quiet_nan } else { rounded } as u16)
    }
}

/// `values` rounded to `bf16`.
pub fn rounded(isa: Isa, values: &[f32]) -> Vec<bf16> {
    const PIECE: usize = 16 * 1024;
    let mut rounded = arbitrary(values.len());
    rounded.par_chunks_mut(PIECE).zip(values.par_chunks(PIECE)).for_each(|(rounded, values)| {
        vectorized(
            isa,
            #[inline(always)]
            || rounded.iter_mut().zip(values).for_each(|(to, value)| *to = <bf16 as Element>::from_f32(*value)),
        );
    });
    rounded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_zero_becomes_zero_and_the_next_value_does_not() {
        fn check<E: Element>() {
            assert_eq!(E::from_f32(E::LARGEST_ZERO).to_f32(), 0.0);
            assert!(E::from_f32(E::LARGEST_ZERO.next_up()).to_f32() > 0.0);
        }
        check::<f32>();
        check::<bf16>();
    }

    #[test]
    fn rounding_is_that_of_the_established_crate() {
        let mut bits = 0_u32;
        loop {
            let value = f32::from_bits(bits);
            let (ours, theirs) = (<bf16 as Element>::from_f32(value), bf16::from_f32(value));
            assert!(ours == theirs || (ours.is_nan() && theirs.is_nan()), "{value} {ours} {theirs}");
            assert_eq!(ours.to_f32().to_bits(), f32::from(ours).to_bits());
            let Some(next) = bits.checked_add(65_521) else { break };
            bits = next;
        }
    }
}
