//! Gaussian noise whose values depend on nothing but a seed, the channel and the place.

use super::parameters::Noise;
use super::plane::Plane;
use crate::{Random, Stream};

/// `x + std·z` with `z` standard normal. Not clipped: that follows.
///
/// Values in pairs, by Box and Muller: with `u`, `v` uniform, `√(−2 ln u)·cos 2πv` goes to value `i` of the first half of a plane and
/// `√(−2 ln u)·sin 2πv` to value `i` of its second half.
///
/// Logarithm, sine and cosine are polynomials here, since those of the C library differ in last bits from machine to machine.
#[inline(always)]
pub(super) fn add(planes: &mut [Plane], Noise { std, seed }: Noise) {
    for (channel, plane) in planes.iter_mut().enumerate() {
        let keys = Random::new(seed, Stream::Noise, 0, channel as u64).bits();
        let (u_key, v_key) = (keys as u32, (keys >> 32) as u32);
        let half = plane.len().div_ceil(2);
        let (first, second) = plane.split_at_mut(half);
        let pair = |place: u32| {
            let place = place.wrapping_mul(GOLDEN);
            let radius = std * radius(finish(place.wrapping_add(u_key)));
            let [cosine, sine] = direction(finish(place.wrapping_add(v_key)));
            [radius * cosine, radius * sine]
        };
        for (place, (x, y)) in first.iter_mut().zip(&mut *second).enumerate() {
            let [dx, dy] = pair(place as u32);
            (*x, *y) = (*x + dx, *y + dy);
        }
        // The middle of an odd number of values.
        for x in &mut first[second.len()..] {
            *x += pair(second.len() as u32)[0];
        }
    }
}

/// 2³² divided by the golden ratio.
const GOLDEN: u32 = 0x9E37_79B9;

/// Mixes 32 bits: "lowbias32" of Wellons's hash prospector.
#[inline(always)]
fn finish(mut x: u32) -> u32 {
    x = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
    x = (x ^ (x >> 15)).wrapping_mul(0x846C_A68B);
    x ^ (x >> 16)
}

/// `√(−2 ln u)` with `u` in `(0, 1]`, of 24 bits.
#[inline(always)]
fn radius(bits: u32) -> f32 {
    let u = ((bits >> 8) as i32 as f32 + 0.5) * (1.0 / (1u32 << 24) as f32);
    (-2.0 * logarithm(u)).sqrt()
}

/// Natural logarithm of a positive, normal number. Polynomial of Cephes's `logf` on `[√½, √2)`.
#[inline(always)]
fn logarithm(x: f32) -> f32 {
    const ROOT_OF_HALF: i32 = 0x3F35_04F3;
    let bits = x.to_bits() as i32;
    let exponent = (bits - ROOT_OF_HALF) >> 23;
    let m = f32::from_bits((bits - (exponent << 23)) as u32) - 1.0;
    let p = 7.037_683_6e-2 * m - 1.151_461e-1;
    let p = p * m + 1.167_699_9e-1;
    let p = p * m - 1.242_014_1e-1;
    let p = p * m + 1.424_932_3e-1;
    let p = p * m - 1.666_805_8e-1;
    let p = p * m + 2.000_071_5e-1;
    let p = p * m - 2.499_999_4e-1;
    let p = p * m + 3.333_333e-1;
    let square = m * m;
    exponent as f32 * std::f32::consts::LN_2 + (m + (m * square * p - 0.5 * square))
}

/// Cosine and sine of an angle that is uniform on the circle: a quarter from two bits, the angle within `±π/4` of it from 24.
/// Polynomials of Cephes's `sinf` and `cosf`.
#[inline(always)]
fn direction(bits: u32) -> [f32; 2] {
    let quarter = bits >> 30;
    let share = ((bits << 2) >> 8) as i32 as f32 * (1.0 / (1u32 << 24) as f32) - 0.5;
    let x = share * std::f32::consts::FRAC_PI_2;
    let z = x * x;
    let sine = ((-1.951_529_6e-4 * z + 8.332_161e-3) * z - 1.666_665_5e-1) * z * x + x;
    let cosine = ((2.443_315_7e-5 * z - 1.388_731_6e-3) * z + 4.166_664_6e-2) * z * z - 0.5 * z + 1.0;
    let (a, b) = if quarter & 1 == 0 { (cosine, sine) } else { (-sine, cosine) };
    if quarter & 2 == 0 { [a, b] } else { [-a, -b] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_are_as_good_as_the_functions() {
        let mut random = Random::new(3, Stream::Drawing, 0, 0);
        for bits in (0..200_000).map(|_| random.bits() as u32).chain([0, u32::MAX, 1 << 30, (1 << 30) - 1]) {
            let u = (f64::from(bits >> 8) + 0.5) / f64::from(1 << 24);
            let expected = (-2.0 * u.ln()).sqrt();
            // `u` itself is rounded to 24 bits, which shows near 1, where the radius is near 0.
            assert!((f64::from(radius(bits)) - expected).abs() < 3e-4, "{bits}: {expected}");
            let angle = (f64::from(bits >> 30) + f64::from((bits << 2) >> 8) / f64::from(1 << 24) - 0.5)
                * std::f64::consts::FRAC_PI_2;
            let [cosine, sine] = direction(bits).map(f64::from);
            assert!((cosine - angle.cos()).abs() < 1e-6 && (sine - angle.sin()).abs() < 1e-6, "{bits}");
        }
    }
}
