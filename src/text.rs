//! Text from elsewhere: for logs, terminals and records of one line, without control characters and of bounded length; from flags,
//! as the values that it stands for.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Line breaks, controls and marks of direction are spelled out, so that text is what it looks like.
pub fn visible(text: &str) -> String {
    text.chars().map(|c| spelled(c).unwrap_or_else(|| c.to_string())).collect()
}

/// The same of a JSON text, by the escapes of JSON (`\u009b`): whoever parses it reads what was written.
pub fn visible_json(text: &str) -> Cow<'_, str> {
    // JSON itself escapes the controls before it.
    const DELETE: char = '\u{7f}';
    if text.bytes().all(|byte| byte < DELETE as u8) {
        return text.into();
    }
    let mut spelled_out = String::with_capacity(text.len());
    for c in text.chars() {
        if c < DELETE || spelled(c).is_none() {
            spelled_out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(spelled_out, "\\u{unit:04x}");
            }
        }
    }
    spelled_out.into()
}

/// How a character is spelled out that is none to look at.
fn spelled(c: char) -> Option<String> {
    if matches!(c, '\'' | '"' | '\\') {
        return None;
    }
    // Behind a letter, an accent is no character by itself.
    let text: String = format!("a{c}").escape_debug().skip(1).collect();
    (!text.starts_with(c)).then_some(text)
}

/// A path as one word of a command that a shell may be given.
pub fn word(path: &Path) -> String {
    let text = path.display().to_string();
    shlex::try_quote(&text).map(Cow::into_owned).unwrap_or(text)
}

/// The text, or its beginning of at most `most` bytes and a mark that says how much is left out.
pub fn cut(text: &mut String, most: usize) {
    if text.len() <= most {
        return;
    }
    let end = text.floor_char_boundary(most);
    let rest = text.len() - end;
    text.truncate(end);
    let _ = write!(text, "... ({rest} bytes more)");
}

/// What a flag says in pairs such as `monitor=r_f,patience=5`, with the keys and values of a table in a configuration.
///
/// # Errors
/// `Setting` in the flag's name for what is no such table.
pub fn of_pairs<T: DeserializeOwned>(flag: &'static str, expected: &str, text: &str) -> Result<T> {
    let mut lines = String::new();
    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
        let (key, value) = part.split_once('=').ok_or_else(|| Error::setting(flag, expected, part))?;
        let value = value.trim();
        // A number, true or false stands as it is; whatever else is a text.
        let value = match value.parse::<toml::Value>() {
            Ok(toml::Value::Float(number)) if !number.is_finite() => {
                return Err(Error::setting(flag, "finite numbers", part.trim()));
            }
            Ok(toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_)) => value.to_owned(),
            _ => toml::Value::String(value.to_owned()).to_string(),
        };
        lines.push_str(&format!("{} = {value}\n", key.trim()));
    }
    toml::from_str(&lines)
        .map_err(|error| Error::setting(flag, expected, format!("{text} ({})", error.message().trim())))
}

/// For ever, as far as times of this program go.
const CENTURY: Duration = Duration::from_hours(100 * 365 * 24);

/// A time as people write it, such as `500ms`, `2s` or `1m`.
///
/// # Errors
/// What was expected, for what is none.
pub fn duration(text: &str) -> std::result::Result<Duration, String> {
    let bare = text.trim().parse::<f64>().is_ok_and(|number| number > 0.0);
    let expected = if bare {
        let number = text.trim();
        format!("expected a time with its unit: {number}s, {number}m or {number}h")
    } else {
        "expected a time such as 500ms, 2s or 1m".to_owned()
    };
    let duration = text.parse::<jiff::SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
    let duration = duration.ok_or(expected)?;
    // Longer ones could not be added to the present.
    Ok(duration.min(CENTURY))
}

/// Has serde read and write types as their text.
macro_rules! as_text {
    ($($kind:ty),*) => {
        $(impl TryFrom<String> for $kind {
            type Error = String;

            fn try_from(text: String) -> std::result::Result<Self, String> {
                text.parse()
            }
        }

        impl From<$kind> for String {
            fn from(value: $kind) -> Self {
                value.to_string()
            }
        })*
    };
}
pub(crate) use as_text;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_reorders_text_is_spelled_out() {
        assert_eq!(visible("a\nb\t\u{202e}c\u{2066}\u{200f}\u{61c}\u{0}"), r"a\nb\t\u{202e}c\u{2066}\u{200f}\u{61c}\0");
        let plain = r#"Zürich e\'"<|>` 图 ü é — e"#;
        assert_eq!(visible(plain), plain);
        assert_eq!(visible("e\u{301}"), "e\u{301}");
    }

    #[test]
    fn in_json_it_is_spelled_as_json_spells_it() {
        let name = "a\u{9b}31m\u{7f}\u{202e}b\u{2066}\u{85}\u{e0001}\u{feff}\n\"é图";
        let json = serde_json::to_string(name).expect("JSON");
        let shown = visible_json(&json);
        assert_eq!(shown, r#""a\u009b31m\u007f\u202eb\u2066\u0085\udb40\udc01\ufeff\n\"é图""#);
        assert_eq!(serde_json::from_str::<String>(&shown).expect("JSON"), name);
        let plain = "{\n  \"a\": \"b\"\n}";
        assert!(matches!(visible_json(plain), Cow::Borrowed(text) if text == plain));
    }

    #[test]
    fn what_is_cut_says_so() {
        let mut text = "ééé".to_owned();
        cut(&mut text, 6);
        assert_eq!(text, "ééé");
        cut(&mut text, 3);
        assert_eq!(text, "é... (4 bytes more)");
    }
}
