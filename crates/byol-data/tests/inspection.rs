//! What a look at every picture says of colours and of directions, through files.

use std::path::Path;

use byol_data::inspect::{Inspection, inspect};
use byol_data::{DataConfig, Dataset, Random, Stream};
use image::{Rgb, RgbImage};

/// Pictures of 24×20 px whose colours `pixel` gives, as PNG or JPEG files.
fn inspected(folder: &Path, ending: &str, pixel: impl Fn(&mut Random, u32, u32) -> [f32; 3]) -> Inspection {
    const COUNT: u32 = 150;
    for number in 0..COUNT {
        let mut random = Random::new(7, Stream::Drawing, 0, u64::from(number));
        let picture = RgbImage::from_fn(24, 20, |x, y| {
            let colours = pixel(&mut random, x, y);
            Rgb(colours.map(|value| value.clamp(0.0, 255.0) as u8))
        });
        picture.save(folder.join(format!("{number:03}.{ending}"))).unwrap();
    }
    let dataset = Dataset::open(folder, None, &DataConfig::default()).unwrap();
    let places: Vec<u32> = (0..COUNT).collect();
    let found = inspect(&dataset, &places, 1, &|_| {}).unwrap();
    assert!(found.bad.is_empty() && found.blank.is_empty());
    found
}

#[test]
fn grey_pictures_are_counted_also_where_they_are_stored_in_colours() {
    for ending in ["png", "jpg"] {
        let folder = tempfile::tempdir().unwrap();
        let grey = |random: &mut Random, x: u32, y: u32| [100.0 + 3.0 * (x + y) as f32 + 20.0 * random.normal(); 3];
        assert_eq!(inspected(folder.path(), ending, grey).grey, 150, "{ending}");
        let folder = tempfile::tempdir().unwrap();
        let tinted = |random: &mut Random, _: u32, _: u32| [130.0, 120.0, 110.0].map(|x| x + 5.0 * random.normal());
        assert_eq!(inspected(folder.path(), ending, tinted).grey, 0, "{ending}");
    }
}

#[test]
fn a_sky_makes_an_up_and_noise_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let sky = |random: &mut Random, _: u32, y: u32| [180.0 - 5.0 * y as f32 + 25.0 * random.normal(), 120.0, 90.0];
    let up = inspected(folder.path(), "png", sky).uprightness.unwrap();
    assert!(up > 20.0, "{up}");
    let folder = tempfile::tempdir().unwrap();
    let noise = |random: &mut Random, _: u32, _: u32| [130.0 + 60.0 * random.normal(), 120.0, 90.0];
    let none = inspected(folder.path(), "png", noise).uprightness.unwrap();
    assert!(none < 2.0, "{none}");
}
