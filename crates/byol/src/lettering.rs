//! Words in DejaVu Sans Condensed: how wide they are, where lines break, and how dark each pixel becomes.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};

/// Height of the font from the deepest to the highest letter, in pixels.
const FONT_PX: f32 = 15.0;

/// Height of a line of words in pixels.
pub const LINE_PX: u32 = 17;

static FONT: LazyLock<FontRef<'static>> = LazyLock::new(|| {
    FontRef::try_from_slice(include_bytes!("../fonts/DejaVuSansCondensed-subset.ttf"))
        .expect("the font in this program is whole")
});

/// Width of one line in pixels.
pub fn width_px(text: &str) -> f32 {
    let font = FONT.as_scaled(PxScale::from(FONT_PX));
    text.chars().map(|letter| font.h_advance(font.glyph_id(letter))).sum()
}

/// `text` in lines of at most `most_px` pixels, broken behind spaces; a word that is longer than a line is broken behind the
/// signs that part names, and a part that is still longer where the line ends.
pub fn wrapped(text: &str, most_px: u32) -> Vec<String> {
    let fits = |text: &str| width_px(text.trim_end()) <= most_px as f32;
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        let parts = paragraph.split_inclusive(' ').flat_map(|word| match fits(word) {
            true => vec![word],
            false => word.split_inclusive(['/', '_', '-', '.', ',']).collect(),
        });
        for part in parts {
            if fits(&format!("{line}{part}")) {
                line.push_str(part);
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            for letter in part.chars() {
                if !line.is_empty() && !fits(&format!("{line}{letter}")) {
                    lines.push(std::mem::take(&mut line));
                }
                line.push(letter);
            }
        }
        lines.push(line);
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// `text` on one line of at most `most_px` pixels: of a longer one both ends, which tell names apart, with `…` between.
pub fn shortened(text: &str, most_px: u32) -> String {
    let letters: Vec<char> = text.chars().collect();
    let cut = |kept: usize| -> String {
        let (head, tail) = (kept.div_ceil(2), kept / 2);
        letters[..head].iter().chain(&['…']).chain(&letters[letters.len() - tail..]).collect()
    };
    if width_px(text) <= most_px as f32 {
        return text.to_owned();
    }
    (0..letters.len()).rev().map(cut).find(|text| width_px(text) <= most_px as f32).unwrap_or_default()
}

/// Calls `pixel` with place and darkness, from 0 to 1, of every pixel of one line whose upper left corner is at `left`, `top`.
pub fn draw(text: &str, (left, top): (u32, u32), mut pixel: impl FnMut(u32, u32, f32)) {
    let font = FONT.as_scaled(PxScale::from(FONT_PX));
    let mut at = point(left as f32, top as f32 + font.ascent());
    for letter in text.chars() {
        let id = font.glyph_id(letter);
        let glyph: Glyph = id.with_scale_and_position(FONT_PX, at);
        at.x += font.h_advance(id);
        let Some(outline) = FONT.outline_glyph(glyph) else { continue };
        let corner = outline.px_bounds().min;
        outline.draw(|x, y, darkness| {
            let (x, y) = (corner.x as i64 + i64::from(x), corner.y as i64 + i64::from(y));
            if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) {
                pixel(x, y, darkness.clamp(0.0, 1.0));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_too_wide_and_nothing_gets_lost() {
        let name =
            "train/garments/a_very-long_name.of a picture/IMG_20240131_123456789_extraordinarilylongwithoutabreak.jpeg";
        for most_px in [40, 90, 168, 5000] {
            let lines = wrapped(name, most_px);
            assert!(lines.iter().all(|line| width_px(line) <= most_px as f32), "{lines:?}");
            assert_eq!(lines.concat().replace(' ', ""), name.replace(' ', ""));
        }
        assert_eq!(wrapped(name, 5000).len(), 1);
        assert_eq!(wrapped("one\ntwo", 5000), ["one", "two"]);
    }

    #[test]
    fn a_long_name_keeps_both_ends() {
        let short = shortened("photograph-of-a-shirt-number-0001.jpg", 100);
        assert!(short.starts_with("pho") && short.ends_with(".jpg") && short.contains('…'), "{short}");
        assert!(width_px(&short) <= 100.0);
        assert_eq!(shortened("a.png", 100), "a.png");
    }

    #[test]
    fn letters_of_several_scripts_leave_ink_inside_of_their_line() {
        for text in ["Shirt", "Größe", "Ωμέγα", "рубашка", "× σ ± …"] {
            let (mut ink, mut lowest) = (0.0, 0);
            draw(text, (3, 5), |_, y, darkness| {
                ink += darkness;
                lowest = lowest.max(y);
            });
            assert!(ink > 20.0 && lowest < 5 + LINE_PX, "{text}: {ink}, {lowest}");
        }
    }
}
