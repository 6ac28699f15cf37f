//! The probe images whose answers move most, as a picture and what it shows.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// Images of a strip, at most.
pub const STRIP_IMAGES: usize = 12;
/// An encoded picture may be this long, bytes.
pub const STRIP_BYTES: usize = 64 << 10;
/// An image's name may be this long, bytes.
const NAME: usize = 256;
/// One of the small pictures may be this wide and high, pixels.
const SIDE: u32 = 256;

/// Probe images as they are, deformed and with noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Strip {
    /// What the picture shows.
    pub shown: Shown,
    /// How it is encoded.
    pub format: Format,
    /// The encoded picture; base64 in JSON.
    #[serde(serialize_with = "to_base64", deserialize_with = "of_base64")]
    pub picture: Vec<u8>,
}

/// A grid of small pictures: a row for each image, in its columns the image as it is, deformed, and with noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Shown {
    /// Of a small picture, pixels.
    pub width: u32,
    /// Of a small picture, pixels.
    pub height: u32,
    /// The image whose answer moves most comes first.
    #[schemars(length(min = 1, max = 12))]
    pub rows: Vec<Row>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// What it is called.
    pub image: String,
    /// Its class, where the probe images have labels.
    pub label: Option<u32>,
    /// Which of its draws is shown: the one that moves the output most.
    pub draw: u32,
    /// What the network says to it as it is, deformed, and with noise; null for a network that tells no classes.
    pub answers: Option<[Told; 3]>,
}

/// An answer to one image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Told {
    /// The likeliest class.
    pub class: u32,
    /// Its probability, a fraction.
    pub confidence: f32,
}

/// How a picture is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::EnumString, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Format {
    /// Without loss.
    Png,
    /// Smaller, with loss.
    Jpeg,
}

impl Format {
    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
        }
    }

    /// What its files begin with.
    fn signature(self) -> &'static [u8] {
        match self {
            Self::Png => b"\x89PNG\r\n\x1a\n",
            Self::Jpeg => b"\xff\xd8\xff",
        }
    }
}

impl Strip {
    /// The strip with its names cut to their limit; `None` where anything else is beyond its limits.
    pub fn bounded(mut self) -> Option<Self> {
        let Shown { width, height, rows } = &mut self.shown;
        let is_sized = [*width, *height].iter().all(|side| (1..=SIDE).contains(side));
        let is_whole = self.picture.len() <= STRIP_BYTES && self.picture.starts_with(self.format.signature());
        let is_told = |row: &Row| row.answers.iter().flatten().all(|told| (0.0..=1.0).contains(&told.confidence));
        for row in rows.iter_mut() {
            row.image.truncate(row.image.floor_char_boundary(NAME));
        }
        let is_fine = is_sized && is_whole && (1..=STRIP_IMAGES).contains(&rows.len()) && rows.iter().all(is_told);
        is_fine.then_some(self)
    }
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&base64::display::Base64Display::new(bytes, &BASE64_STANDARD))
}

fn of_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    BASE64_STANDARD.decode(String::deserialize(deserializer)?).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip() -> Strip {
        let told = Told { class: 3, confidence: 0.5 };
        let row = Row { image: "seven.png".to_owned(), label: Some(7), draw: 0, answers: Some([told; 3]) };
        let picture = [Format::Png.signature(), &[0; 100]].concat();
        Strip { shown: Shown { width: 28, height: 28, rows: vec![row] }, format: Format::Png, picture }
    }

    #[test]
    fn it_goes_through_json_as_it_is() {
        let text = serde_json::to_string(&strip()).expect("JSON");
        assert_eq!(serde_json::from_str::<Strip>(&text).expect("a strip"), strip());
    }

    #[test]
    fn what_is_beyond_its_limits_is_none() {
        assert_eq!(strip().bounded(), Some(strip()));
        let other = |change: fn(&mut Strip)| {
            let mut strip = strip();
            change(&mut strip);
            strip.bounded()
        };
        let changes: [fn(&mut Strip); 7] = [
            |strip| strip.picture.resize(STRIP_BYTES + 1, 0),
            |strip| strip.picture[0] = b'<',
            |strip| strip.format = Format::Jpeg,
            |strip| strip.shown.rows.clear(),
            |strip| strip.shown.rows = vec![strip.shown.rows[0].clone(); STRIP_IMAGES + 1],
            |strip| strip.shown.width = SIDE + 1,
            |strip| strip.shown.rows[0].answers = Some([Told { class: 0, confidence: f32::NAN }; 3]),
        ];
        for change in changes {
            assert_eq!(other(change), None);
        }
        let long = other(|strip| strip.shown.rows[0].image = "x".repeat(NAME * 2)).expect("a strip");
        assert!(long.shown.rows[0].image.len() <= NAME);
    }
}
