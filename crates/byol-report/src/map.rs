//! The representation on a plane: a point per picture, coloured by class.

use std::fmt::Write;
use std::sync::Arc;

use burn::tensor::Device;
use byol_data::Dataset;
use serde_json::json;

use super::html::{data_block, escape, note};
use super::projection::{self, Places};
use super::request::ReportRequest;
use super::sample::EmbeddedSample;
use super::sprite::Sprite;

const WIDTH: f32 = 640.0;
const HEIGHT: f32 = 520.0;
const MARGIN: f32 = 14.0;

/// Colours of the palette, and shapes; a class is a pair of them.
const COLOURS: usize = 8;
const SHAPES: [&str; 4] = [
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "M-3.6 -3.6h7.2v7.2h-7.2z",
    "M0 -4.8L4.6 3.4H-4.6z",
    "M0 -5.2L5.2 0L0 5.2L-5.2 0z",
];

/// Pictures with their places.
pub(super) struct Map {
    /// Data set and place in it of each picture.
    pub pictures: Vec<(Arc<Dataset>, usize)>,
    labels: Vec<Option<u32>>,
    classes: Vec<String>,
    linear: Places,
    curved: Option<Places>,
    about: String,
}

impl Map {
    /// Both projections of the sample; `None` when all representations are the same.
    pub fn of(embedded: &EmbeddedSample, request: &ReportRequest, device: &Device) -> Option<Self> {
        let (pictures, features) = embedded.for_map(request.images, request.seed);
        let principal = projection::principal(&features, request.seed)?;
        let curved = projection::tsne(&features, &principal, device);
        let held = embedded.queries.len().min(pictures.len());
        let [first, second] = principal.shares.map(|share| 100.0 * share);
        let tsne = match &curved {
            Some(_) => format!(
                "t-SNE: perplexity {}, {} rounds, begun from the principal components; distances between far groups mean little",
                projection::perplexity(pictures.len()),
                projection::TSNE_EPOCHS
            ),
            None => {
                format!("t-SNE: left out, since it needs {} or more different pictures", projection::LEAST_FOR_TSNE)
            }
        };
        let about = format!(
            "{} pictures ({held} of the test part, {} of the training part), chosen by seed {}; representations scaled to unit length. \
             {tsne}. PCA: the two components hold {first:.0} % and {second:.0} % of the variance. Nothing else is random: the same seed \
             and encoder give the same map.",
            pictures.len(),
            pictures.len() - held,
            request.seed
        );
        let classes = pictures.first().map(|(dataset, _)| dataset.classes().to_vec()).unwrap_or_default();
        Some(Self { pictures, labels: features.labels, classes, linear: principal.places, curved, about })
    }

    /// The figure, the `place`-th of the page.
    pub fn html(&self, place: usize, sprite: &Sprite) -> String {
        let names: Vec<String> = self.pictures.iter().map(|(dataset, index)| dataset.name(*index)).collect();
        let data = json!({
            "names": names,
            "labels": self.labels,
            "classes": self.classes,
            "columns": sprite.columns,
            "lines": sprite.lines,
            "side": sprite.side_px,
        });
        format!(
            "<figure class=\"map\"><figcaption><b>Map of the representation</b> <span>a point is a picture; hold the pointer over it</span>\
             </figcaption>\n<div class=\"bar\">{}</div>\n<div class=\"beside\">{}{}</div>\n{}</figure>\n\
             <style>.sprite{place}{{background-image:url({})}}</style>\n{}",
            self.switch(place),
            self.svg(place),
            self.legend(),
            note(&self.about),
            sprite.address,
            data_block(&format!("map-values{place}"), &data)
        )
    }

    /// Works without the script.
    fn switch(&self, place: usize) -> String {
        let option = |value: &str, title: &str, checked: bool| {
            let checked = if checked { " checked" } else { "" };
            format!(
                "<label><input type=\"radio\" name=\"projection{place}\" class=\"to-{value}\"{checked}>{title}</label>"
            )
        };
        let curved = self.curved.as_ref().map(|_| option("tsne", "t-SNE", true)).unwrap_or_default();
        let linear = option("pca", "PCA", self.curved.is_none());
        format!("<fieldset class=\"switch\"><legend>projection</legend>{curved}{linear}</fieldset>")
    }

    fn svg(&self, place: usize) -> String {
        let linear = on_sheet(&self.linear);
        let curved = self.curved.as_ref().map_or_else(|| linear.clone(), |places| on_sheet(places));
        let mut svg = format!(
            "<svg class=\"points\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"map of the representation\" data-map=\"{place}\">\n"
        );
        for (index, (label, (linear, curved))) in self.labels.iter().zip(linear.iter().zip(&curved)).enumerate() {
            let (colour, shape) = look(*label);
            let [(px, py), (tx, ty)] = [linear, curved].map(|place| (place[0], place[1]));
            writeln!(
                svg,
                "<path class=\"point {colour}\" data-i=\"{index}\" d=\"{shape}\" style=\"--p:translate({px:.1}px,{py:.1}px);--t:translate({tx:.1}px,{ty:.1}px)\"/>"
            )
            .expect("text in memory takes every write");
        }
        svg + "</svg>\n"
    }

    fn legend(&self) -> String {
        if self.classes.is_empty() {
            return note("The data has no labels.");
        }
        let mut counts = vec![0usize; self.classes.len()];
        self.labels.iter().flatten().for_each(|&label| counts[label as usize] += 1);
        let items: String = self
            .classes
            .iter()
            .zip(counts)
            .enumerate()
            .filter(|(_, (_, count))| *count > 0)
            .map(|(class, (name, count))| {
                let (colour, shape) = look(Some(class as u32));
                format!(
                    "<li tabindex=\"0\" data-class=\"{class}\"><svg viewBox=\"-6 -6 12 12\"><path class=\"{colour}\" d=\"{shape}\"/></svg>\
                     <span>{}</span> <small>{count}</small></li>\n",
                    escape(name)
                )
            })
            .collect();
        format!("<ul class=\"classes\">\n{items}</ul>\n")
    }
}

/// Class of the colour and path of the shape.
fn look(label: Option<u32>) -> (String, &'static str) {
    match label {
        Some(label) => {
            let label = label as usize;
            (format!("class{}", label % COLOURS), SHAPES[label / COLOURS % SHAPES.len()])
        }
        None => ("unlabelled".to_owned(), SHAPES[0]),
    }
}

/// Places in the coordinates of the sheet: as large as fits, both axes by the same factor.
fn on_sheet(places: &[[f32; 2]]) -> Places {
    let range = |axis: usize| {
        let values = places.iter().map(|place| place[axis]);
        values.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    };
    let [(left, right), (bottom, top)] = [range(0), range(1)];
    let factor = |length: f32, room: f32| if length > 0.0 { (room - 2.0 * MARGIN) / length } else { f32::INFINITY };
    let scale = factor(right - left, WIDTH).min(factor(top - bottom, HEIGHT));
    let scale = if scale.is_finite() { scale } else { 1.0 };
    let centred = |value: f32, low: f32, high: f32, room: f32| room / 2.0 + (value - (low + high) / 2.0) * scale;
    places
        .iter()
        .map(|place| [centred(place[0], left, right, WIDTH), centred(-place[1], -top, -bottom, HEIGHT)])
        .collect()
}

#[cfg(test)]
mod tests {
    use byol_data::Image;

    use super::*;

    use crate::sprite::ON_MAPS;

    fn map(classes: &[&str], labels: Vec<Option<u32>>) -> String {
        let count = labels.len();
        let images = vec![Image::rgb8(1, 1, vec![9; 3]); count];
        let names = (0..count).map(|index| format!("</script>{index}")).collect();
        let classes: Vec<String> = classes.iter().map(|&class| class.to_owned()).collect();
        let dataset = Arc::new(Dataset::from_images(images, None, vec![], names));
        let pictures: Vec<_> = (0..count).map(|index| (Arc::clone(&dataset), index)).collect();
        let linear = (0..count).map(|index| [index as f32, -(index as f32)]).collect();
        let sprite = Sprite::of(&pictures, 1, ON_MAPS);
        Map { pictures, labels, classes, linear, curved: None, about: String::new() }.html(0, &sprite)
    }

    #[test]
    fn class_names_and_file_names_stay_text() {
        let html = map(&["<b>", "\"q\""], vec![Some(0), Some(1), None]);
        assert!(html.contains("&lt;b&gt;") && html.contains("&quot;q&quot;") && !html.contains("<b></span>"));
        assert_eq!(html.matches("</script>").count(), 1);
        assert!(html.contains("point class0") && html.contains("point unlabelled"));
        assert!(
            !html.contains("to-tsne") && html.contains("to-pca\" checked"),
            "without t-SNE there is one projection"
        );
    }

    #[test]
    fn points_fill_the_sheet_and_one_point_lies_in_its_middle() {
        let places = on_sheet(&[[0.0, 0.0], [1.0, 2.0]]);
        assert_eq!(places.iter().map(|place| place[1]).collect::<Vec<_>>(), [HEIGHT - MARGIN, MARGIN], "up is up");
        assert_eq!(on_sheet(&[[7.0, 7.0]]), [[WIDTH / 2.0, HEIGHT / 2.0]]);
    }

    #[test]
    fn the_first_32_classes_look_different() {
        let looks: std::collections::HashSet<_> = (0..32).map(|class| look(Some(class))).collect();
        assert_eq!(looks.len(), 32);
    }
}
