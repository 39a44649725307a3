//! Texts of guests and files, made safe to show: they can neither steer a terminal nor look like
//! other text than they are.

/// The text on one line: control characters, line breaks, and what reorders text escaped. Tabs stay.
#[must_use]
pub fn escape(text: &str) -> String {
    escape_but(text, |character| character == '\t')
}

/// The same for a text of several lines: line breaks stay.
#[must_use]
pub fn escape_lines(text: &str) -> String {
    escape_but(text, |character| matches!(character, '\t' | '\n'))
}

fn escape_but(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_harmful(character) && !keep(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Whether a character could do something to a terminal, break a line, or reorder what is around it
/// (Unicode Standard Annex 9, section 2, and the separators of lines and paragraphs).
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::{escape, escape_lines};

    #[test]
    fn a_guest_cannot_send_escape_sequences_to_the_terminal() {
        assert_eq!(escape_lines("a\u{1b}[2Jb\u{9b}c\r"), "a\\u{1b}[2Jb\\u{9b}c\\r");
    }

    #[test]
    fn line_breaks_stay_in_texts_of_lines_only_and_tabs_in_both() {
        assert_eq!(escape_lines("a\n\tb"), "a\n\tb");
        assert_eq!(escape("a\n\tb"), "a\\n\tb");
    }

    #[test]
    fn separators_of_lines_and_paragraphs_are_escaped() {
        assert_eq!(escape_lines("a\u{2028}b\u{2029}c\u{85}"), "a\\u{2028}b\\u{2029}c\\u{85}");
    }

    #[test]
    fn nothing_changes_the_order_of_what_is_shown() {
        for character in
            "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}"
                .chars()
        {
            assert_eq!(escape(&format!("a{character}b")), format!("a{}b", character.escape_unicode()));
        }
    }

    #[test]
    fn other_text_stays_as_it_is() {
        assert_eq!(escape("Grüße, \"世界\" \\ 'ok' 🦀"), "Grüße, \"世界\" \\ 'ok' 🦀");
    }
}
