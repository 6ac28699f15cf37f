//! Small pictures in rows as one image file of bounded size.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, replace, resize};
use image::{DynamicImage, ImageError, ImageFormat, RgbImage};

/// The longer side of a picture, pixels: the largest that fits is taken.
const SIDES: [u32; 5] = [96, 64, 48, 32, 16];
/// Qualities of JPEG, in percent, the best first.
const QUALITIES: [u8; 2] = [92, 75];

/// An image file with pictures of one size.
#[derive(Debug)]
pub struct Sheet {
    /// Of one picture, pixels.
    pub width: u32,
    /// Of one picture, pixels.
    pub height: u32,
    /// PNG or JPEG.
    pub format: ImageFormat,
    /// The file.
    pub bytes: Vec<u8>,
}

/// Pictures in rows as a file of at most `most` bytes: a PNG where it fits, else a JPEG, and smaller where that does not either.
/// `None` where no row is given, or nothing fits.
///
/// # Errors
/// What the encoder fails with.
pub fn encoded<const COLUMNS: usize>(rows: &[[RgbImage; COLUMNS]], most: usize) -> Result<Option<Sheet>, ImageError> {
    let Some((own_width, own_height)) = rows.first().and_then(|row| row.first()).map(RgbImage::dimensions) else {
        return Ok(None);
    };
    let longer = own_width.max(own_height);
    // A picture that is small enough keeps its size.
    let smaller = SIDES.into_iter().filter(|side| *side < longer);
    for side in Some(longer).filter(|side| *side <= SIDES[0]).into_iter().chain(smaller) {
        let scaled = |own: u32| (own * side / longer).max(1);
        let (width, height) = (scaled(own_width), scaled(own_height));
        let grid = grid(rows, (width, height));
        let mut png = Cursor::new(Vec::new());
        grid.write_to(&mut png, ImageFormat::Png)?;
        let mut found = Some((ImageFormat::Png, png.into_inner())).filter(|(_, bytes)| bytes.len() <= most);
        for quality in QUALITIES {
            if found.is_none() {
                let mut jpeg = Vec::new();
                grid.write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, quality))?;
                found = Some((ImageFormat::Jpeg, jpeg)).filter(|(_, bytes)| bytes.len() <= most);
            }
        }
        if let Some((format, bytes)) = found {
            return Ok(Some(Sheet { width, height, format, bytes }));
        }
    }
    Ok(None)
}

/// The pictures, each in its place; grey where all of them are.
fn grid<const COLUMNS: usize>(rows: &[[RgbImage; COLUMNS]], (width, height): (u32, u32)) -> DynamicImage {
    let mut grid = RgbImage::new(width * COLUMNS as u32, height * rows.len() as u32);
    for (row, pictures) in (0..).zip(rows) {
        for (column, picture) in (0..).zip(pictures) {
            let (x, y) = (i64::from(column * width), i64::from(row * height));
            if picture.dimensions() == (width, height) {
                replace(&mut grid, picture, x, y);
            } else {
                replace(&mut grid, &resize(picture, width, height, FilterType::Triangle), x, y);
            }
        }
    }
    let is_grey = grid.pixels().all(|pixel| pixel.0 == [pixel.0[0]; 3]);
    let grid = DynamicImage::ImageRgb8(grid);
    if is_grey { grid.to_luma8().into() } else { grid }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    const MOST: usize = 64 << 10;

    /// A picture that compresses badly.
    fn noisy(side: u32, seed: u32, is_grey: bool) -> RgbImage {
        RgbImage::from_fn(side, side * 3 / 4, |x, y| {
            let value = |channel: u32| {
                (x.wrapping_mul(2_654_435_761) ^ (y + seed * 97 + channel * 31).wrapping_mul(40_503)).to_le_bytes()[1]
            };
            Rgb([0, 1, 2].map(|channel| value(if is_grey { 0 } else { channel })))
        })
    }

    fn rows(side: u32, is_grey: bool) -> Vec<[RgbImage; 3]> {
        (0..12).map(|row| [0, 1, 2].map(|column| noisy(side, 3 * row + column, is_grey))).collect()
    }

    #[test]
    fn small_grey_pictures_are_kept_as_they_are() {
        let rows = rows(28, true);
        let sheet = encoded(&rows, MOST).expect("encoded").expect("fits");
        assert_eq!((sheet.width, sheet.height, sheet.format), (28, 21, ImageFormat::Png));
        let read = image::load_from_memory(&sheet.bytes).expect("an image").to_rgb8();
        assert_eq!(read.dimensions(), (84, 252));
        for (place, picture) in rows.iter().flatten().enumerate() {
            let (x, y) = (place as u32 % 3 * 28, place as u32 / 3 * 21);
            assert!(picture.enumerate_pixels().all(|(i, j, pixel)| read.get_pixel(x + i, y + j) == pixel));
        }
    }

    #[test]
    fn whatever_is_shown_the_file_is_short_enough() {
        for (side, most) in [(32, MOST), (96, MOST), (500, MOST), (500, MOST / 16)] {
            let sheet = encoded(&rows(side, false), most).expect("encoded").expect("fits");
            assert!(sheet.bytes.len() <= most && sheet.width <= 96, "{side}: {}", sheet.bytes.len());
            let read = image::load_from_memory(&sheet.bytes).expect("an image");
            assert_eq!((read.width(), read.height()), (3 * sheet.width, 12 * sheet.height));
        }
        assert!(encoded(&rows(32, false), 100).expect("encoded").is_none());
        assert!(encoded::<3>(&[], MOST).expect("nothing").is_none());
    }
}
