//! One image file's bytes to 8-bit pixels: PNG, JPEG, WebP or BMP, turned upright as its EXIF says.

use std::io::Cursor;

use image::{ColorType, DynamicImage, GrayImage, ImageDecoder as _, ImageFormat, ImageReader, Limits, RgbImage};
use mozjpeg::Decompress;

use crate::panics::caught;
use crate::preprocess::Bitmap;

/// Of one decoded image: a file of a few bytes may claim any size.
const MAX_BYTES: u64 = 512 << 20;

/// Grey stays grey, everything else becomes red, green, blue; transparency is dropped, 16 bits are rounded to 8.
pub fn decode(bytes: &[u8]) -> Result<Bitmap, String> {
    let failed = |error: image::ImageError| error.to_string();
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| error.to_string())?;
    let format = reader.format().ok_or("no PNG, JPEG, WebP or BMP image")?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let orientation = decoder.orientation().map_err(failed)?;
    if decoder.total_bytes() > MAX_BYTES {
        return Err(format!("{} bytes of pixels, more than {MAX_BYTES}", decoder.total_bytes()));
    }
    let mut image = match (format, is_plain(bytes)) {
        (ImageFormat::Jpeg, true) => jpeg(bytes)?,
        _ => DynamicImage::from_decoder(decoder).map_err(failed)?,
    };
    image.apply_orientation(orientation);
    let (width, height) = (image.width() as usize, image.height() as usize);
    let (pixels, channels) = match image.color() {
        ColorType::L8 | ColorType::La8 | ColorType::L16 | ColorType::La16 => (image.into_luma8().into_raw(), 1),
        _ => (image.into_rgb8().into_raw(), 3),
    };
    Ok(Bitmap { pixels, height, width, channels })
}

/// Whether a JPEG is grey or of colours that libjpeg turns into red, green, blue.
fn is_plain(bytes: &[u8]) -> bool {
    quietly(|| Decompress::new_mem(bytes).map(|jpeg| jpeg.components().len()))
        .is_ok_and(|components| components == 1 || components == 3)
}

/// By libjpeg, whose pixels are those that Python's libraries see: other decoders differ by up to 4 of 255.
fn jpeg(bytes: &[u8]) -> Result<DynamicImage, String> {
    if !ends(bytes) {
        return Err("the file is cut short".to_owned());
    }
    quietly(|| {
        let jpeg = Decompress::new_mem(bytes)?;
        let (width, height) = (jpeg.width() as u32, jpeg.height() as u32);
        let is_gray = jpeg.components().len() == 1;
        let mut started = if is_gray { jpeg.grayscale() } else { jpeg.rgb() }?;
        let pixels: Vec<u8> = started.read_scanlines()?;
        started.finish()?;
        let image = if is_gray {
            GrayImage::from_raw(width, height, pixels).map(DynamicImage::from)
        } else {
            RgbImage::from_raw(width, height, pixels).map(DynamicImage::from)
        };
        image.ok_or_else(|| std::io::Error::other("fewer pixels than the header says"))
    })
}

/// Whether the image comes to its end, whatever lies behind it; libjpeg would fill up what is missing with grey.
fn ends(bytes: &[u8]) -> bool {
    let mut at = 2; // behind the mark of the beginning
    while let Some(next) =
        bytes.get(at..).and_then(|rest| rest.windows(2).position(|pair| pair[0] == 0xff && pair[1] != 0xff))
    {
        let code = bytes[at + next + 1];
        at += next + 2;
        match code {
            0xd9 => return true,
            // An 0xff of the compressed pixels, or a mark among them, has no length.
            0x00 | 0x01 | 0xd0..=0xd8 => {}
            _ => {
                let length = bytes.get(at..at + 2).unwrap_or_default();
                at += length.try_into().map_or(0, |length| usize::from(u16::from_be_bytes(length)));
            }
        }
    }
    false
}

/// libjpeg tells of damage by unwinding.
fn quietly<T>(work: impl FnOnce() -> std::io::Result<T>) -> Result<T, String> {
    caught(work)?.map_err(|error| error.to_string())
}
