//! Text from elsewhere, for logs, terminals and records: of one line, without control characters, of bounded length.

use std::fmt::Write as _;

/// Line breaks, controls and marks of direction are spelled out, so that text is what it looks like.
#[must_use]
pub fn visible(text: &str) -> String {
    let spelled = |c: char| match c {
        '\'' | '"' | '\\' => c.to_string(),
        // Behind a letter, an accent is no character by itself.
        c => format!("a{c}").escape_debug().skip(1).collect(),
    };
    text.chars().map(spelled).collect()
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
    fn what_is_cut_says_so() {
        let mut text = "ééé".to_owned();
        cut(&mut text, 6);
        assert_eq!(text, "ééé");
        cut(&mut text, 3);
        assert_eq!(text, "é... (4 bytes more)");
    }
}
