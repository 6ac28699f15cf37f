//! A gallery as one picture: the phase space, then a row of pictures for each image and setting.

use std::path::Path;

use image::RgbImage;
use image::imageops::{FilterType, resize};
use plotters::element::{BitMapElement, Text};
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{IntoTextStyle as _, TextStyle};

use super::{HEADINGS, advice, how_shown, mesh, name, phase_space, told};
use crate::error::{Error, Result};
use crate::gallery::{Exhibit, Gallery, Setting, View};
use crate::plan::Setup;
use crate::report::figure::panels::Panels;
use crate::report::figure::{Area, Drawn, FONT, Figure, WIDTH, raster};
use crate::text::visible;

/// Pixels: between pictures, around everything, of a line of text, of its letters.
const GAP: u32 = 8;
const MARGIN: u32 = 24;
const LINE: u32 = 28;
const LETTERS: f64 = 20.0;
/// As many letters as fit on a line of a figure's width.
const LETTERS_A_LINE: usize = 115;

/// A gallery as one picture, with everything that its page shows; for what takes pictures, such as a training's logger.
///
/// # Errors
/// What it cannot be drawn for.
pub fn picture(gallery: &Gallery) -> std::io::Result<RgbImage> {
    raster(&Sheet::new(gallery))
}

/// The first images that a measurement of the network at `model` uses, as one picture.
///
/// # Errors
/// As [`Setup::probe_for`] and [`Gallery::new`], and `Io` where it cannot be drawn.
pub fn of_network(setup: &Setup, model: &Path) -> Result<RgbImage> {
    let probe = setup.probe_for(&setup.read(model)?, &|_, _| ())?;
    let gallery = Gallery::new(&probe, setup.perturber(probe.shape())?, Vec::new(), SHOWN, setup.draws(probe.len()))?;
    picture(&gallery).map_err(Error::io(model, "draw the images of"))
}

/// As many images tell how deformations look.
pub const SHOWN: usize = 2;

/// What is to be drawn.
#[derive(Debug)]
pub struct Sheet<'a> {
    gallery: &'a Gallery,
    words: Vec<String>,
    phase_space: Option<Panels>,
}

impl<'a> Sheet<'a> {
    /// Of a whole gallery.
    pub fn new(gallery: &'a Gallery) -> Self {
        let title = format!("Deformations of {}", visible(gallery.probe().source()));
        let mut words = vec![shortened(&title)];
        words.extend(wrapped(&advice(gallery)));
        words.extend(how_shown(gallery).iter().flat_map(|told| wrapped(told)));
        Self { gallery, words, phase_space: phase_space(gallery) }
    }

    fn picture(&self) -> (u32, u32) {
        let [width, height] = self.gallery.shown_size();
        (width as u32, height as u32)
    }

    /// Height of the words and the phase space.
    fn head(&self) -> u32 {
        LINE * (self.words.len() as u32 + 1) + self.phase_space.as_ref().map_or(0, |panels| panels.size().1)
    }

    /// Height of the row of one setting.
    fn row(&self) -> u32 {
        LINE + self.picture().1 + GAP
    }

    /// Height of an image's rows, with its name and headings.
    fn exhibit(&self) -> u32 {
        3 * LINE + self.row() * self.gallery.settings().len() as u32
    }

    /// Where a column begins.
    fn left(&self, column: usize) -> i32 {
        ((self.picture().0 + GAP) * column as u32) as i32
    }
}

impl Figure for Sheet<'_> {
    fn size(&self) -> (u32, u32) {
        let row = self.left(HEADINGS.len()) as u32 - GAP;
        (2 * MARGIN + row.max(WIDTH), 2 * MARGIN + self.head() + self.exhibit() * self.gallery.images() as u32)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let area = area.margin(MARGIN, MARGIN, MARGIN, MARGIN);
        let style = (FONT, LETTERS).into_text_style(&area).pos(Pos::new(HPos::Left, VPos::Top));
        for (line, words) in self.words.iter().enumerate() {
            area.draw(&Text::new(words.as_str(), (0, (LINE * line as u32) as i32), style.clone()))?;
        }
        if let Some(panels) = &self.phase_space {
            panels.draw(&area.clone().shrink((0, LINE * self.words.len() as u32), panels.size()))?;
        }
        for index in 0..self.gallery.images() {
            let top = self.head() + self.exhibit() * index as u32;
            let below = area.clone().shrink((0, top), (area.dim_in_pixel().0, self.exhibit()));
            self.draw_exhibit(&below, &self.gallery.exhibit(index), &style)?;
        }
        Ok(())
    }
}

impl Sheet<'_> {
    fn draw_exhibit<B: DrawingBackend>(&self, area: &Area<B>, exhibit: &Exhibit, style: &TextStyle) -> Drawn<B> {
        area.draw(&Text::new(shortened(&visible(&exhibit.name)), (0, 0), style.clone()))?;
        for (column, heading) in HEADINGS.iter().enumerate() {
            area.draw(&Text::new(*heading, (self.left(column), LINE as i32), style.clone()))?;
        }
        let settings = self.gallery.settings().iter().zip(&exhibit.views);
        for (top, (setting, view)) in (2 * LINE..).step_by(self.row() as usize).zip(settings) {
            area.draw(&Text::new(caption(setting, view), (0, top as i32), style.clone()))?;
            let enlarged = self.gallery.enlarged();
            let mesh = mesh(self.gallery.probe().shape(), view, enlarged);
            let (width, height) = self.picture();
            let pictures = [&exhibit.original, &view.deformed, &view.noisy, &view.difference, &mesh];
            for (column, picture) in pictures.into_iter().enumerate() {
                let picture = resize(picture, width, height, FilterType::Nearest);
                place(area, picture, (self.left(column), (top + LINE) as i32))?;
            }
        }
        Ok(())
    }
}

fn caption(setting: &Setting, view: &View) -> String {
    format!("{}: {}", name(setting), told(view))
}

fn place<B: DrawingBackend>(area: &Area<B>, picture: RgbImage, at: (i32, i32)) -> Drawn<B> {
    let element = BitMapElement::with_owned_buffer(at, picture.dimensions(), picture.into_raw());
    element.map_or(Ok(()), |element| area.draw(&element))
}

/// Words on as many lines as they need.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= LETTERS_A_LINE => *line += &format!(" {word}"),
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A name on one line, its end kept.
fn shortened(name: &str) -> String {
    let count = name.chars().count();
    if count <= LETTERS_A_LINE {
        return name.to_owned();
    }
    let end: String = name.chars().skip(count - LETTERS_A_LINE + 1).collect();
    format!("…{end}")
}
