//! What a measurement shows a network, made for people to see: it is how cutoff and delta are chosen.
//!
//! Everything is drawn as [`crate::measure`] draws it, so that these are the very images.

mod display;
mod mesh;
mod sheet;

pub use display::Display;
pub use mesh::Mesh;
pub use sheet::{Sheet, encoded};

use image::RgbImage;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::perturb::{Displacement, Perturber};
use crate::probe::{ProbeSet, Shape};

/// Small images are enlarged by the largest whole factor that keeps them within this side, in pixels.
const SIDE: usize = 224;
/// Pixels of all pictures together; more would take gigabytes.
const MOST_PIXELS: usize = 1 << 28;
/// Pictures beside each other: original, deformed, noise, difference, mesh.
pub const PICTURES: usize = 5;

/// The first images of a probe set under several deformations.
#[derive(Debug)]
pub struct Gallery {
    probe: ProbeSet,
    images: usize,
    display: Display,
    settings: Vec<Setting>,
}

/// A deformation, and what its draws for the whole probe set come to.
#[derive(Debug)]
pub struct Setting {
    /// Deforms as a measurement does.
    pub perturber: Perturber,
    /// How many deformations were drawn.
    pub drawn: usize,
    /// Root mean square of their displacements, in pixels.
    pub rms_px: f64,
    /// Share of them that fold.
    pub folded_share: f64,
}

/// An image under each setting.
#[derive(Debug)]
pub struct Exhibit {
    /// What the image is called.
    pub name: String,
    /// What deformation and noise start from: the image, or smoothed by the Gaussian rule.
    pub original: RgbImage,
    /// By setting.
    pub views: Vec<View>,
}

/// The first draw of one setting for one image.
#[derive(Debug)]
pub struct View {
    /// The deformed image.
    pub deformed: RgbImage,
    /// The original with noise of the same norm.
    pub noisy: RgbImage,
    /// Deformed less original; see [`Display::difference`].
    pub difference: RgbImage,
    /// Displacement along x, `[y][x]` in pixels.
    pub dx: Vec<f32>,
    /// Displacement along y.
    pub dy: Vec<f32>,
    /// How far it goes and whether it folds.
    pub displacement: Displacement,
}

impl Gallery {
    /// The first `images` of a probe set, all of them if it holds fewer, under `chosen` and `others`; `draws` is a
    /// measurement's number of deformations of each image.
    ///
    /// # Errors
    /// `Setting` for no images, no draws, or more pictures than can be looked at.
    ///
    /// # Panics
    /// If a perturber is for images of another shape.
    pub fn new(probe: &ProbeSet, chosen: Perturber, others: Vec<Perturber>, images: usize, draws: u32) -> Result<Self> {
        if draws == 0 {
            return Err(Error::setting("--draws", "1 or more", draws));
        }
        let images = images.min(probe.len());
        let row = PICTURES * shown_size(probe.shape()).iter().product::<usize>();
        let most = MOST_PIXELS / row / (1 + others.len());
        if !(1..=most).contains(&images) {
            let expected = format!("from 1 to {most} images of this size under {} settings", 1 + others.len());
            return Err(Error::setting("--show", expected, images));
        }
        let display = Display::new(&probe.prefix(images));
        let perturbers = std::iter::once(chosen).chain(others);
        let settings = perturbers.map(|perturber| Setting::new(perturber, probe.len() as u64, draws.into())).collect();
        Ok(Self { probe: probe.clone(), images, display, settings })
    }

    /// The images.
    pub fn probe(&self) -> &ProbeSet {
        &self.probe
    }

    /// How values become pictures.
    pub fn display(&self) -> &Display {
        &self.display
    }

    /// The chosen setting, then the others.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// How many times as wide and high as its image a picture is shown.
    pub fn enlarged(&self) -> usize {
        enlarged(self.probe.shape())
    }

    /// Width and height of a picture as it is shown, in pixels.
    pub fn shown_size(&self) -> [usize; 2] {
        shown_size(self.probe.shape())
    }

    /// The number of images that are shown.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Image number `index` under each setting.
    ///
    /// # Panics
    /// If it is not among those shown.
    pub fn exhibit(&self, index: usize) -> Exhibit {
        assert!(index < self.images, "one of the {} images shown", self.images);
        let buffer = || vec![0.0; self.probe.shape().len()];
        let [mut image, mut base, mut deformed, mut noisy] = [(); 4].map(|()| buffer());
        self.probe.image(index, &mut image);
        let view = |Setting { perturber, .. }: &Setting| {
            let mut scratch = perturber.scratch();
            perturber.base(&image, &mut base, &mut scratch);
            let displacement = perturber.deform(index as u64, 0, &image, &mut deformed, &mut scratch);
            perturber.noise(index as u64, 0, &base, &deformed, &mut noisy);
            View {
                deformed: self.display.picture(&deformed),
                noisy: self.display.picture(&noisy),
                difference: self.display.difference(&base, &deformed),
                dx: scratch.dx().to_vec(),
                dy: scratch.dy().to_vec(),
                displacement,
            }
        };
        let views = self.settings.iter().map(view).collect();
        Exhibit { name: self.probe.name(index), original: self.display.picture(&base), views }
    }
}

impl Setting {
    fn new(perturber: Perturber, images: u64, draws: u64) -> Self {
        let of_image = |image: u64| {
            let mut scratch = perturber.scratch();
            let drawn = (0..draws).map(|draw| perturber.displace(image, draw, &mut scratch));
            drawn.fold((0.0, 0), |(sum, folds), drawn| (sum + drawn.mean_square_px, folds + usize::from(drawn.folds)))
        };
        // Summed in order: the same on any number of threads.
        let of_images: Vec<_> = (0..images).into_par_iter().map(of_image).collect();
        let (sum, folds) = of_images.into_iter().fold((0.0, 0), |(sum, folds), (s, f)| (sum + s, folds + f));
        let drawn = (images * draws) as usize;
        let (rms_px, folded_share) = ((sum / drawn as f64).sqrt(), folds as f64 / drawn as f64);
        Self { perturber, drawn, rms_px, folded_share }
    }
}

fn enlarged(shape: Shape) -> usize {
    (SIDE / shape.height.max(shape.width)).max(1)
}

fn shown_size(shape: Shape) -> [usize; 2] {
    [shape.width * enlarged(shape), shape.height * enlarged(shape)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::perturb::{Deformation, Interpolation, Size};

    const SHAPE: Shape = Shape { channels: 1, height: 20, width: 24 };

    fn probe(images: usize) -> ProbeSet {
        let value = |at: usize| ((at * at) % 97) as f32 / 96.0;
        let values = (0..images * SHAPE.len()).map(value).collect();
        ProbeSet::from_nchw(values, [images, 1, 20, 24], None).expect("a probe set")
    }

    fn perturber(cutoff: u32, delta: f64, interpolation: Interpolation) -> Perturber {
        let deformation = Deformation { cutoff, size: Size::Delta(delta), interpolation };
        Perturber::new(SHAPE, &deformation, 7).expect("valid settings")
    }

    #[test]
    fn it_shows_what_a_measurement_draws() {
        let probe = probe(3);
        for interpolation in [Interpolation::Bilinear, Interpolation::Gaussian] {
            let used = perturber(3, 1.0, interpolation);
            let gallery = Gallery::new(&probe, used.clone(), Vec::new(), 2, 4).expect("a gallery");
            let exhibit = gallery.exhibit(1);
            let mut scratch = used.scratch();
            let [mut image, mut base, mut deformed, mut noisy] = [(); 4].map(|()| vec![0.0; SHAPE.len()]);
            probe.image(1, &mut image);
            used.base(&image, &mut base, &mut scratch);
            used.deform(1, 0, &image, &mut deformed, &mut scratch);
            used.noise(1, 0, &base, &deformed, &mut noisy);
            let view = &exhibit.views[0];
            let picture = |image: &[f32]| gallery.display().picture(image);
            assert_eq!(exhibit.original, picture(&base));
            assert_eq!((&view.deformed, &view.noisy), (&picture(&deformed), &picture(&noisy)));
            assert_eq!((view.dx.as_slice(), view.dy.as_slice()), (scratch.dx(), scratch.dy()));
            assert_ne!(exhibit.views[0].deformed, gallery.exhibit(0).views[0].deformed);
        }
    }

    #[test]
    fn draws_are_summed_up_over_the_whole_set() {
        let used = perturber(15, 1.0, Interpolation::Bilinear);
        let gallery = Gallery::new(&probe(40), used.clone(), Vec::new(), 1, 5).expect("a gallery");
        let mut scratch = used.scratch();
        let draws = (0..40).flat_map(|image| (0..5).map(move |draw| (image, draw)));
        let all: Vec<_> = draws.map(|(image, draw)| used.displace(image, draw, &mut scratch)).collect();
        let mean = all.iter().map(|drawn| drawn.mean_square_px).sum::<f64>() / 200.0;
        let setting = &gallery.settings()[0];
        assert_eq!(setting.drawn, 200);
        assert!((setting.rms_px - mean.sqrt()).abs() < 1e-9);
        let folds = all.iter().filter(|drawn| drawn.folds).count();
        assert!(folds > 100 && (setting.folded_share - folds as f64 / 200.0).abs() < 1e-9);
    }

    #[test]
    fn sizes_and_numbers_are_bounded() {
        let size = |side: usize| shown_size(Shape { channels: 3, height: side, width: side / 2 });
        assert_eq!([28, 32, 96, 224, 500].map(size), [[112, 224], [112, 224], [96, 192], [112, 224], [250, 500]]);
        let gallery = |images, draws| {
            let chosen = perturber(3, 1.0, Interpolation::Bilinear);
            Gallery::new(&probe(3), chosen, Vec::new(), images, draws).map(|gallery| gallery.images())
        };
        assert_eq!((gallery(1, 1).expect("one"), gallery(9, 1).expect("all there are")), (1, 3));
        assert!(gallery(0, 1).expect_err("none").to_string().contains("--show: expected from 1 to"));
        assert!(gallery(1, 0).expect_err("none").to_string().contains("--draws"));
        let many = vec![perturber(3, 1.0, Interpolation::Bilinear); 2000];
        let error = Gallery::new(&probe(1), many[0].clone(), many, 1, 1).expect_err("too many").to_string();
        assert!(error.contains("under 2001 settings"), "{error}");
    }
}
