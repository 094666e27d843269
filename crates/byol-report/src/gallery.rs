//! A page of pictures in rows, for what was found among embeddings: groups, rankings, neighbours.

use std::sync::Arc;

use byol_data::Dataset;

use super::html::{cell, document, escape, note, row_head, table};
use super::sprite::{Forms, Sprite};

/// Pictures of a page, at most: more are slow to look through, and to open on a telephone.
const MOST_TILES: usize = 600;
/// Pictures of a row, at most.
const MOST_IN_A_STRIP: usize = 48;
/// Pictures of rows that stand beside each other where the screen is wide.
const IN_A_SMALL_STRIP: usize = 3;
/// Side of a picture on the page in pixels.
const SHOWN_PX: u32 = 96;
/// The form of the pictures: their own size on the page, coarser where there are many.
const FORMS: &Forms = &[(SHOWN_PX, 85), (SHOWN_PX, 70), (64, 70), (48, 60)];

/// A page of pictures in rows. The file holds all it shows.
pub struct Gallery {
    kind: &'static str,
    title: String,
    facts: Vec<(String, String)>,
    about: String,
    strips: Vec<Strip>,
    left_out: usize,
}

/// Pictures side by side.
pub struct Strip {
    /// Above them; may be empty.
    pub title: String,
    /// Below the title; may be empty.
    pub about: String,
    /// Those there are; the page shows the first 48.
    pub tiles: Vec<Tile>,
}

/// One picture.
pub struct Tile {
    /// Where it is; `None` shows a grey square.
    pub picture: Option<(Arc<Dataset>, usize)>,
    /// How it is called.
    pub name: String,
    /// Below its name.
    pub lines: Vec<String>,
    /// What its frame says.
    pub frame: Frame,
}

/// The frame of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// None.
    Plain,
    /// Grey: what the row is about.
    Asked,
    /// Blue: kept, or of the same class.
    Blue,
    /// Orange: dropped, or of another class.
    Orange,
}

impl Frame {
    fn class(self) -> &'static str {
        match self {
            Self::Plain => "tile",
            Self::Asked => "tile asked",
            Self::Blue => "tile blue",
            Self::Orange => "tile orange",
        }
    }
}

impl Gallery {
    /// A page that says what it is (`kind`), of what (`title`), the `facts` in a table and what the rows mean (`about`).
    pub fn new(kind: &'static str, title: &str, facts: Vec<(String, String)>, about: String) -> Self {
        Self { kind, title: title.to_owned(), facts, about, strips: Vec::new(), left_out: 0 }
    }

    /// The page with as many of the `strips` as it has room for, and how many are left out.
    pub fn with_strips(mut self, mut strips: impl ExactSizeIterator<Item = Strip>) -> Self {
        let mut room = MOST_TILES;
        while room > 0
            && let Some(strip) = strips.next()
        {
            room = room.saturating_sub(strip.tiles.len().min(MOST_IN_A_STRIP));
            self.strips.push(strip);
        }
        self.left_out = strips.len();
        self
    }

    /// The same with one strip, which may have as many pictures as the page has room for.
    pub fn with_tiles(mut self, mut tiles: impl ExactSizeIterator<Item = Tile>) -> Self {
        // Several strips without titles look like one.
        while self.strips.len() * MOST_IN_A_STRIP < MOST_TILES && tiles.len() > 0 {
            let tiles: Vec<Tile> = tiles.by_ref().take(MOST_IN_A_STRIP).collect();
            self.strips.push(Strip { title: String::new(), about: String::new(), tiles });
        }
        self.left_out = tiles.len();
        self
    }

    /// The page.
    pub fn html(&self) -> String {
        let shown = || self.strips.iter().flat_map(|strip| strip.tiles.iter().take(MOST_IN_A_STRIP));
        let pictures: Vec<(Arc<Dataset>, usize)> = shown().filter_map(|tile| tile.picture.clone()).collect();
        let sprite = Sprite::of(&pictures, 1, FORMS);
        let facts: Vec<Vec<String>> = self.facts.iter().map(|(name, fact)| vec![row_head(name), cell(fact)]).collect();
        let mut next = 0;
        let mut rows = String::new();
        for strip in &self.strips {
            rows += &strip_html(strip, &sprite, &mut next);
        }
        let left_out = match self.left_out {
            0 => String::new(),
            count => note(&format!(
                "{count} more are left out here, so that the page stays one that a browser opens at once; the table (-o) has all."
            )),
        };
        let style = format!(
            "<style>.tile .there {{ background-image: url({}); background-size: {}px auto; }}</style>\n",
            sprite.address,
            sprite.columns * SHOWN_PX
        );
        let body = format!(
            "<header><p class=\"kicker\">{}</p>\n<h1>{}</h1>\n{}</header>\n{style}{}<div class=\"strips\">\n{rows}</div>\n{left_out}",
            escape(self.kind),
            escape(&self.title),
            table("facts", &[], &facts),
            note(&self.about),
        );
        document(&format!("{} · {}", self.title, self.kind), &body, "")
    }
}

/// `next` counts the pictures in the sprite.
fn strip_html(strip: &Strip, sprite: &Sprite, next: &mut u32) -> String {
    let title = if strip.title.is_empty() { String::new() } else { format!("<h3>{}</h3>\n", escape(&strip.title)) };
    let about = if strip.about.is_empty() { String::new() } else { note(&strip.about) };
    let tiles: String = strip.tiles.iter().take(MOST_IN_A_STRIP).map(|tile| tile_html(tile, sprite, next)).collect();
    let more = match strip.tiles.len().saturating_sub(MOST_IN_A_STRIP) {
        0 => String::new(),
        count => note(&format!("and {count} more")),
    };
    let class = match strip.tiles.len() {
        _ if strip.title.is_empty() => "bare",
        0..=IN_A_SMALL_STRIP => "strip small",
        _ => "strip",
    };
    format!("<section class=\"{class}\">{title}{about}<div class=\"tiles\">\n{tiles}</div>{more}</section>\n")
}

fn tile_html(tile: &Tile, sprite: &Sprite, next: &mut u32) -> String {
    let name = escape(&tile.name);
    let picture = match tile.picture {
        Some(_) => {
            let (column, line) = (*next % sprite.columns, *next / sprite.columns);
            *next += 1;
            format!(
                "<i class=\"picture there\" role=\"img\" aria-label=\"{name}\" style=\"background-position:-{}px -{}px\"></i>",
                column * SHOWN_PX,
                line * SHOWN_PX
            )
        }
        None => "<i class=\"picture\"></i>".to_owned(),
    };
    let lines: String = tile.lines.iter().map(|line| format!("<span>{}</span>", escape(line))).collect();
    format!(
        "<figure class=\"{}\">{picture}<figcaption><b title=\"{name}\">{name}</b>{lines}</figcaption></figure>\n",
        tile.frame.class()
    )
}

#[cfg(test)]
mod tests {
    use byol_data::Image;

    use super::*;

    fn tile(dataset: &Arc<Dataset>, index: usize) -> Tile {
        let lines = vec!["cosine 0.5".to_owned()];
        Tile { picture: Some((Arc::clone(dataset), index)), name: dataset.name(index), lines, frame: Frame::Blue }
    }

    fn three() -> Arc<Dataset> {
        let images = [0, 120, 250].map(|value| Image::rgb8(4, 4, vec![value; 48])).to_vec();
        Arc::new(Dataset::from_images(images, None, vec![], ["a", "<b>\"x\"", "c"].map(str::to_owned).to_vec()))
    }

    #[test]
    fn a_page_is_bounded_and_says_what_it_leaves_out() {
        let dataset = three();
        let strip = |number: usize, tiles: usize| Strip {
            title: format!("group {number}"),
            about: String::new(),
            tiles: (0..tiles).map(|at| tile(&dataset, at % 3)).collect(),
        };
        let of = |strips: Vec<Strip>| {
            Gallery::new("Duplicates", "x", vec![], "about".into()).with_strips(strips.into_iter())
        };
        let many = of((0..1000).map(|number| strip(number, 5)).collect()).html();
        assert_eq!(many.matches("<figure").count(), MOST_TILES);
        assert!(many.contains("880 more are left out here") && many.len() < 5_000_000, "{} bytes", many.len());
        let large = of(vec![strip(0, 5000), strip(1, 2)]).html();
        assert_eq!(large.matches("<figure").count(), MOST_IN_A_STRIP + 2);
        assert!(large.contains("and 4952 more") && !large.contains("left out here"));
        let tiles = (0..2000).map(|at| tile(&dataset, at % 3));
        let flat = Gallery::new("Choice", "x", vec![], String::new()).with_tiles(tiles.collect::<Vec<_>>().into_iter());
        assert!(flat.html().matches("<figure").count() >= MOST_TILES && flat.left_out > 1300, "{}", flat.left_out);
    }

    #[test]
    fn names_cannot_leave_their_place_and_what_is_missing_takes_no_place_in_the_sheet() {
        let dataset = three();
        let mut tiles: Vec<Tile> = (0..3).map(|index| tile(&dataset, index)).collect();
        tiles[1].picture = None;
        let facts = vec![("pictures".to_owned(), "<3>".to_owned())];
        let html = Gallery::new("Outliers", "a & b", facts, "why".into()).with_tiles(tiles.into_iter()).html();
        assert!(!html.contains("<b>\"x\"") && html.contains("&lt;b&gt;&quot;x&quot;"), "{html}");
        assert!(html.contains("&lt;3&gt;") && html.contains("a &amp; b") && html.contains("<p class=\"note\">why"));
        assert_eq!(html.matches("picture there").count(), 2);
        assert!(html.contains("background-position:-0px -0px") && html.contains("background-position:-96px -0px"));
        assert!(!html.contains("<script"), "nothing moves here");
    }
}
