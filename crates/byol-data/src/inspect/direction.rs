//! Whether pictures have an up.

use super::picture::{THUMBNAIL_PX, Thumbnail};

/// Pictures below which nothing is said.
const FEW: usize = 100;

/// How far the average picture is from itself turned, as a multiple of what chance leaves of pictures without an up: about 1 for
/// those, and the more above it the more pictures there are for those with one. Nothing for fewer than 100 pictures.
///
/// With `d` a thumbnail minus the same upside down, or turned by a quarter: `n·‖mean d‖² / mean ‖d‖²`, the larger of the two. If
/// every position of a picture is as likely, `mean d` is 0 but for chance, which leaves `mean ‖d‖² / n` of it.
pub(super) fn uprightness<'a>(thumbnails: impl ExactSizeIterator<Item = &'a Thumbnail> + Clone) -> Option<f64> {
    if thumbnails.len() < FEW {
        return None;
    }
    let upside_down = |y: usize, x: usize| (THUMBNAIL_PX - 1 - y, x);
    let quarter_turn = |y: usize, x: usize| (x, THUMBNAIL_PX - 1 - y);
    Some(distance(thumbnails.clone(), upside_down).max(distance(thumbnails, quarter_turn)))
}

fn distance<'a>(
    thumbnails: impl Iterator<Item = &'a Thumbnail>,
    turned: impl Fn(usize, usize) -> (usize, usize),
) -> f64 {
    let mut sums = Vec::new();
    let mut squares = 0.0;
    for thumbnail in thumbnails {
        let channels = thumbnail.len() / (THUMBNAIL_PX * THUMBNAIL_PX);
        sums.resize(thumbnail.len(), 0.0);
        for (at, sum) in sums.iter_mut().enumerate() {
            let (place, channel) = (at / channels, at % channels);
            let (y, x) = turned(place / THUMBNAIL_PX, place % THUMBNAIL_PX);
            let there = (y * THUMBNAIL_PX + x) * channels + channel;
            let difference = f64::from(thumbnail[at]) - f64::from(thumbnail[there]);
            *sum += difference;
            squares += difference * difference;
        }
    }
    // n · (‖Σ d‖² / n²) / (Σ ‖d‖² / n).
    let of_the_sum: f64 = sums.iter().map(|sum| sum * sum).sum();
    if squares == 0.0 { 0.0 } else { of_the_sum / squares }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Random, Stream};

    /// Smooth patches, with the upper rows brighter by `slope` per row and the left columns by `slant`.
    fn thumbnails(count: usize, slope: f64, slant: f64) -> Vec<Thumbnail> {
        let mut random = Random::new(1, Stream::Drawing, 0, 0);
        let mut one = || {
            let [a, b, c] = [(); 3].map(|()| f64::from(random.normal()));
            let value = |place: usize| {
                let (y, x) = ((place / THUMBNAIL_PX) as f64 - 4.0, (place % THUMBNAIL_PX) as f64 - 4.0);
                let noise = f64::from(random.normal());
                (128.0 + 6.0 * (a * x + b * y) + 20.0 * c + 8.0 * noise - slope * y - slant * x).clamp(0.0, 255.0) as u8
            };
            (0..81).map(value).collect::<Thumbnail>()
        };
        (0..count).map(|_| one()).collect()
    }

    #[test]
    fn pictures_without_an_up_are_near_one_and_a_sky_is_far_above() {
        for count in [100, 400, 2000] {
            let found = |slope, slant| uprightness(thumbnails(count, slope, slant).iter()).unwrap();
            assert!(found(0.0, 0.0) < 4.0, "{count}: {}", found(0.0, 0.0));
            assert!(found(4.0, 0.0) > 8.0, "{count}: {}", found(4.0, 0.0));
            assert!(found(0.0, 4.0) > 8.0, "{count}: a light from the left, {}", found(0.0, 4.0));
        }
        let in_colour = |grey: &Thumbnail| grey.iter().flat_map(|&value| [value, 128, value]).collect::<Thumbnail>();
        let coloured: Vec<Thumbnail> = thumbnails(400, 4.0, 0.0).iter().map(in_colour).collect();
        assert!(uprightness(coloured.iter()).unwrap() > 8.0);
        assert_eq!(uprightness(thumbnails(99, 4.0, 0.0).iter()), None);
        assert_eq!(uprightness(vec![vec![7; 81]; 100].iter()), Some(0.0));
    }
}
