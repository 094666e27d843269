//! Both views of a picture.

use pulp::Arch;

use super::config::{InvalidConfig, ViewsConfig};
use super::parameters::ViewParameters;
use super::rendering::{Rendering, ViewScratch};
use super::resize::ResizePlan;
use crate::{Image, Random, Stream};

/// Draws and renders the two views of an image.
#[derive(Clone, Debug)]
pub struct Views {
    config: ViewsConfig,
}

impl Views {
    /// Views drawn from `config`.
    ///
    /// # Errors
    /// The first key that is out of range.
    pub fn new(config: ViewsConfig) -> Result<Self, InvalidConfig> {
        config.validate()?;
        Ok(Self { config })
    }

    /// The configuration given.
    pub fn config(&self) -> &ViewsConfig {
        &self.config
    }

    /// Values of one rendered view: `size_px · size_px · channels`.
    pub fn values(&self) -> usize {
        self.config.size_px * self.config.size_px * self.config.mean.len()
    }

    /// Draws view 0 (`view1`, T) or 1 (`view2`, T′) of image `image_index` in `epoch`; a function of its arguments only.
    ///
    /// # Panics
    /// When `view` is neither 0 nor 1.
    pub fn draw(&self, image: &Image, view: u8, seed: u64, epoch: u64, image_index: u64) -> ViewParameters {
        let config = match view {
            0 => &self.config.view1,
            1 => &self.config.view2,
            _ => panic!("an image has views 0 and 1, not {view}"),
        };
        let mut random = Random::new(seed, Stream::View(view), epoch, image_index);
        ViewParameters::draw(config, self.config.semantics, image.width_px(), image.height_px(), &mut random)
    }

    /// Renders `image` under `parameters` into `out`, `[size_px, size_px, channels]`: clipped to `[0, 1]`, then
    /// `(x − mean) / std` per channel.
    ///
    /// # Panics
    /// When the crop is not inside the image, the image has other channels than the configuration or `out` has another
    /// length than [`Views::values`].
    pub fn render(&self, image: &Image, parameters: &ViewParameters, out: &mut [f32], scratch: &mut ViewScratch) {
        let ViewsConfig { size_px, semantics, ref mean, ref std, .. } = self.config;
        let crop = parameters.crop;
        assert!(crop.fits(image.width_px(), image.height_px()), "{crop:?} lies outside the image");
        scratch.set_size(size_px, image.channels());
        let plan = ResizePlan::of_view(parameters, size_px, semantics);
        Arch::new().dispatch(Rendering {
            image,
            plan: &plan,
            parameters: Some((parameters, semantics)),
            mean,
            std,
            out,
            scratch,
        });
    }

    /// Draws and renders both views of an image into `out1` and `out2`, each `[size_px, size_px, channels]`.
    ///
    /// # Panics
    /// When an output has another length than [`Views::values`].
    #[expect(clippy::too_many_arguments, reason = "the coordinates of a draw are what they are")]
    pub fn pair(
        &self,
        image: &Image,
        seed: u64,
        epoch: u64,
        image_index: u64,
        out1: &mut [f32],
        out2: &mut [f32],
        scratch: &mut ViewScratch,
    ) {
        for (view, out) in [(0, out1), (1, out2)] {
            let parameters = self.draw(image, view, seed, epoch, image_index);
            self.render(image, &parameters, out, scratch);
        }
    }
}
