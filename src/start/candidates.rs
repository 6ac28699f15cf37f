//! What a training may have done to its images: the preprocessings that are worth a try.

use crate::preprocess::{Color, Extent, Geometry, Preprocess, Resample, Resize, USUAL};
use crate::probe::ProbeSet;

/// Float images beyond this are 0 to 255.
const WHOLE: f32 = 20.0;
/// Float images below this were normalised.
const NEGATIVE: f32 = -0.1;
/// The side of the images that photographs' presets resize to 256 pixels before they crop.
const PHOTOGRAPH: (u32, u32) = (224, 256);

/// What may be done to the values of images from `range.0` to `range.1` as they are stored, each with its name.
pub fn values(set: &ProbeSet, range: (f32, f32)) -> Vec<(String, Preprocess)> {
    let (least, largest) = range;
    let as_they_are = || ("as they are".to_owned(), Preprocess::default());
    if !set.is_bytes() && least < NEGATIVE {
        return vec![as_they_are()];
    }
    // Bytes are divided by 255 where nothing else is said.
    let to_unit = (!set.is_bytes() && largest > WHOLE).then_some(1.0 / 255.0);
    let to_whole = if set.is_bytes() { Some(1.0) } else { (largest <= WHOLE).then_some(255.0) };
    let channels = set.shape().channels;
    let scaled = |rescale| Preprocess { rescale, ..Preprocess::default() };
    let mut all = vec![("as pixels from 0 to 1".to_owned(), scaled(to_unit))];
    for (whose, mean, std) in USUAL.iter().filter(|(_, mean, _)| mean.len() == channels || mean.len() == 1) {
        let normalised = Preprocess { mean: Some(mean.to_vec()), std: Some(std.to_vec()), ..scaled(to_unit) };
        all.push((format!("with the normalisation {whose}"), normalised));
    }
    all.push(("as pixels from 0 to 255".to_owned(), scaled(to_whole)));
    all
}

/// The same with the channels in reverse order, where they are three colours.
pub fn reversed(set: &ProbeSet, name: &str, preprocess: &Preprocess) -> Option<(String, Preprocess)> {
    let is_color = set.is_bytes() && set.shape().channels == 3;
    is_color
        .then(|| (format!("{name}, blue first (BGR)"), Preprocess { color: Some(Color::Bgr), ..preprocess.clone() }))
}

/// How images come to `height` and `width`, each with its name.
pub fn geometries((height, width): (usize, usize)) -> Vec<(String, Geometry)> {
    let (Ok(height), Ok(width)) = (u32::try_from(height), u32::try_from(width)) else { return Vec::new() };
    let (side, extent) = (height.min(width), Extent { height, width });
    let cropped = |shorter, resample| Geometry {
        resize: Some(Resize::Shorter(shorter)),
        crop: Some(extent),
        resample: Some(resample),
        ..Geometry::default()
    };
    let exactly = Geometry { resize: Some(Resize::Exactly(extent)), ..Geometry::default() };
    let larger = side * PHOTOGRAPH.1 / PHOTOGRAPH.0;
    vec![
        (format!("shorter side to {larger}, middle {extent}"), cropped(larger, Resample::Bilinear)),
        (format!("shorter side to {larger}, middle {extent}, bicubic"), cropped(larger, Resample::Bicubic)),
        (format!("shorter side to {side}, middle {extent}"), cropped(side, Resample::Bilinear)),
        (format!("resized to {extent}"), exactly),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(channels: usize, largest: f32) -> ProbeSet {
        let values = vec![largest; 2 * channels * 16];
        ProbeSet::from_nchw(values, [2, channels, 4, 4], None).expect("a set")
    }

    #[test]
    fn values_are_brought_to_one_or_to_255_from_wherever_they_are() {
        let rescales = |set: &ProbeSet, range| {
            let all = values(set, range);
            (all.first().expect("one").1.rescale, all.last().expect("another").1.rescale)
        };
        assert_eq!(rescales(&floats(1, 1.0), (0.0, 1.0)), (None, Some(255.0)));
        assert_eq!(rescales(&floats(1, 255.0), (0.0, 255.0)), (Some(1.0 / 255.0), None));
        let normalised = values(&floats(3, 2.0), (-2.0, 2.0));
        assert!(matches!(&normalised[..], [(_, only)] if *only == Preprocess::default()), "{normalised:?}");
        assert!(
            values(&floats(1, 1.0), (0.0, 1.0)).iter().all(|(_, one)| one.mean.as_ref().is_none_or(|m| m.len() == 1))
        );
    }

    #[test]
    fn photographs_are_resized_as_presets_do() {
        let (_, first) = geometries((224, 224)).swap_remove(0);
        let preset = Preprocess::named("imagenet").expect("a preset").geometry();
        assert_eq!((first.resize, first.crop, first.resample), (preset.resize, preset.crop, preset.resample));
        assert!(reversed(&floats(3, 1.0), "", &Preprocess::default()).is_none(), "floats cannot be recoloured");
    }
}
