//! Static figures, for papers and pages: what is drawn through [`plotters`] becomes SVG or PNG here and nowhere else.

pub mod axis;
pub mod curve;
mod legend;
pub mod layers;
pub mod panels;
pub mod phase;
pub mod run;
pub mod scaling;
pub mod sweep;

use std::io::Cursor;
use std::path::Path;
use std::sync::LazyLock;

use image::{ImageFormat, RgbImage};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea as _};
use plotters::prelude::{BitMapBackend, DrawingBackend, FontStyle, RGBColor, SVGBackend, WHITE};
use plotters::style::register_font;

use super::file;
use crate::error::{Error, Result};

/// Colours that tell series apart to every kind of eye (Okabe and Ito, 2008), the most legible on white first.
pub const PALETTE: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
/// Pixels across a figure: a paper's column of 85 mm at 300 dots an inch.
pub const WIDTH: u32 = 1000;
/// Height of text in pixels: 8 points of that column.
pub const TEXT: f64 = 34.0;
/// Pixels left of a panel, where its labels stand, and right of it.
pub const BESIDE: u32 = 130;
/// As [`BESIDE`].
pub const RIGHT: u32 = 40;
/// Width of lines in pixels.
pub const LINE: u32 = 3;
/// Colour of text.
pub const INK: RGBColor = RGBColor(0, 0, 0);
/// The family of all text: PNG has the glyphs of Ubuntu Light, SVG those of its reader's sans-serif.
pub const FONT: &str = "sans-serif";

/// What a figure is drawn on.
pub type Area<B> = DrawingArea<B, Shift>;
/// Whether drawing worked.
pub type Drawn<B> = std::result::Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

/// Something that can be drawn, in whatever format.
pub trait Figure {
    /// Width and height in pixels.
    fn size(&self) -> (u32, u32);

    /// Draws itself on a white area of its size.
    ///
    /// # Errors
    /// What the drawing calls fail with.
    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B>;
}

/// What a figure's file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines and text, sharp at any size.
    Svg,
    /// Pixels.
    Png,
}

impl Format {
    /// The format that a file's name asks for by its ending.
    ///
    /// # Errors
    /// `Setting` names `flag` for any other ending.
    pub fn of(path: &Path, flag: &'static str) -> Result<Self> {
        match file::extension(path).as_str() {
            "svg" => Ok(Self::Svg),
            "png" => Ok(Self::Png),
            _ => Err(Error::setting(flag, "a file whose name ends in .svg or .png", path.display())),
        }
    }

    /// The same with the path, where there is one.
    ///
    /// # Errors
    /// As [`Format::of`].
    pub fn asked_for<'a>(path: Option<&'a Path>, flag: &'static str) -> Result<Option<(&'a Path, Self)>> {
        path.map(|path| Ok((path, Self::of(path, flag)?))).transpose()
    }
}

/// Draws a figure into the file at `path`, whole or not at all.
///
/// # Errors
/// `Io` names the file that cannot be written, or the figure that cannot be drawn.
pub fn write(path: &Path, format: Format, figure: &impl Figure) -> Result<()> {
    let bytes = match format {
        Format::Svg => svg(figure).map(String::into_bytes),
        Format::Png => raster(figure).and_then(|image| png(&image)),
    };
    file::write(path, &bytes.map_err(Error::io(path, "draw"))?)
}

/// A figure as an SVG document.
///
/// # Errors
/// What the figure cannot be drawn for.
pub fn svg(figure: &impl Figure) -> std::io::Result<String> {
    let mut text = String::new();
    draw(SVGBackend::with_string(&mut text, figure.size()), figure)?;
    Ok(text)
}

/// A figure in pixels.
///
/// # Errors
/// What the figure cannot be drawn for.
pub fn raster(figure: &impl Figure) -> std::io::Result<RgbImage> {
    let (width, height) = figure.size();
    let mut image = RgbImage::new(width, height);
    draw(BitMapBackend::with_buffer(&mut image, (width, height)), figure)?;
    Ok(image)
}

/// An image as the bytes of a PNG file.
///
/// # Errors
/// What the encoder fails with.
pub fn png(image: &RgbImage) -> std::io::Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).map_err(std::io::Error::other)?;
    Ok(bytes.into_inner())
}

static GLYPHS: LazyLock<()> = LazyLock::new(|| {
    // A font that does not parse shows as the first text that cannot be drawn.
    let _ = register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
});

fn draw<B: DrawingBackend>(backend: B, figure: &impl Figure) -> std::io::Result<()> {
    LazyLock::force(&GLYPHS);
    let area = backend.into_drawing_area();
    let drawn = area.fill(&WHITE).and_then(|()| figure.draw(&area)).and_then(|()| area.present());
    // Of another type for each backend, which may borrow: told by its text.
    drawn.map_err(|error| std::io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use plotters::prelude::{Circle, Color as _, IntoFont as _, Text};

    use super::*;

    struct Dot;

    impl Figure for Dot {
        fn size(&self) -> (u32, u32) {
            (200, 100)
        }

        fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
            area.draw(&Circle::new((150, 50), 20, PALETTE[1].filled()))?;
            area.draw(&Text::new("<R_f> δ × −", (5, 35), (FONT, TEXT).into_font()))
        }
    }

    #[test]
    fn a_figure_is_one_picture_in_both_formats() {
        let image = raster(&Dot).expect("drawn");
        let read = image::load_from_memory(&png(&image).expect("encoded")).expect("a PNG").to_rgb8();
        assert_eq!(read, image);
        assert_eq!((image[(150, 50)].0, image[(199, 99)].0), ([213, 94, 0], [255; 3]));
        let dark = (0..100).flat_map(|x| (0..100).map(move |y| (x, y))).filter(|at| image[*at].0[0] < 128);
        assert!(dark.count() > 200, "no text");
        let svg = svg(&Dot).expect("drawn");
        assert!(svg.starts_with("<svg") && svg.contains("&lt;R_f&gt; δ × −") && svg.contains("#D55E00"), "{svg}");
    }

    #[test]
    fn the_name_decides_the_format() {
        let of = |name: &str| Format::of(Path::new(name), "--to");
        assert_eq!((of("a.SVG").expect("known"), of("b/c.png").expect("known")), (Format::Svg, Format::Png));
        for other in ["a.pdf", "png", "svg/a", ".png"] {
            let error = of(other).expect_err(other).to_string();
            assert!(error.contains("--to") && error.contains(".svg or .png") && error.contains(other), "{error}");
        }
    }
}
