//! Text for a page: escaped, and with nothing in it that a reader cannot see.

use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

/// The most characters that are shown of a text that somebody else wrote.
pub(super) const SHOWN_MAX: usize = 64;

/// Somebody else's text, for HTML: [spelt out](spelt), and escaped. It is safe between tags, and inside a quoted attribute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a>(pub(super) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Whole(&spelt(self.0)).fmt(f)
    }
}

/// A text that must come back as it is, in a form: escaped, and whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole<'a>(pub(super) &'a str);

impl fmt::Display for Whole<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A text for the query of a link: all but letters, digits, `-`, `_` and `.` is percent-encoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'a>(pub(super) &'a str);

impl fmt::Display for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => f.write_char(byte.into())?,
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}

/// A text of which a reader sees everything: control characters, and those that turn the direction, are invisible or break lines, are
/// spelt out as `<U+202E>`. What is longer than 64 characters is cut.
pub(super) fn spelt(text: &str) -> String {
    spelt_to(text, SHOWN_MAX)
}

/// The same, cut after so many characters.
pub(super) fn spelt_to(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == most {
            shown.push('…');
            break;
        }
        if is_hidden(c) {
            let _ = write!(shown, "<U+{:04X}>", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Whether a character cannot be seen, or changes how others are. Those of Unicode's categories Cc, Cf, Zl and Zp, and the selectors and
/// fillers that show nothing.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{AD}' | '\u{34F}' | '\u{600}'..='\u{605}' | '\u{61C}' | '\u{6DD}' | '\u{70F}' | '\u{890}'..='\u{891}'
            | '\u{8E2}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}'
            | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{110BD}' | '\u{110CD}'
            | '\u{13430}'..='\u{1343F}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

/// A number per second, as a person reads it: `0`, `2.1`, `1,518`.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        none if none <= 0.0 => "0".to_owned(),
        little if little < 0.05 => "< 0.1".to_owned(),
        few if few < 9.95 => format!("{few:.1}"),
        many => thousands(many.round() as u64), // a rate is far below 2^64
    }
}

/// `1,930`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A part, in percent: `0 %`, `< 1 %`, `4 %`.
pub(super) fn percent(part: f64) -> String {
    match part {
        none if none <= 0.0 => "0 %".to_owned(),
        little if little < 0.01 => "< 1 %".to_owned(),
        part => format!("{:.0} %", (part * 100.0).floor()),
    }
}

/// A time, as a person says it, rounded up: `850 ms`, `12 s`, `3 min`, `5 h`, `2 days`.
pub(super) fn time(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    match seconds {
        _ if time.is_zero() => "0 s".to_owned(),
        _ if time < Duration::from_secs(1) => format!("{} ms", time.as_nanos().div_ceil(1_000_000)),
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds.div_ceil(60)),
        7200..172_800 => format!("{} h", seconds.div_ceil(3600)),
        _ => format!("{} days", seconds.div_ceil(86_400)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a browser makes of escaped text.
    fn read(html: &str) -> String {
        let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
        entities.iter().fold(html.to_owned(), |text, (entity, c)| text.replace(entity, c))
    }

    proptest! {
        #[test]
        fn no_text_leaves_its_place(text in any::<String>(), odd in "[<>&\"'\u{202a}-\u{202e}\\u{0}-\u{1f}a;#]{0,80}") {
            for text in [text, odd] {
                let (shown, whole) = (Text(&text).to_string(), Whole(&text).to_string());
                for html in [&shown, &whole] {
                    prop_assert!(!html.contains(['<', '>', '"', '\'']), "{}", html);
                }
                prop_assert!(!shown.chars().any(is_hidden), "{:?}", shown);
                prop_assert!(read(&shown).chars().filter(|c| *c != '…').count() <= SHOWN_MAX * "<U+10FFFF>".len());
                prop_assert_eq!(read(&whole), text);
            }
        }
    }

    #[test]
    fn hostile_text_is_shown_and_does_nothing() {
        assert_eq!(
            Text("<script>alert('1')</script> & \"").to_string(),
            "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;"
        );
        // Right-to-left override, isolates, a zero width joiner, a null, a tag, a line separator, a soft hyphen.
        for hidden in [
            '\u{202E}',
            '\u{2066}',
            '\u{2069}',
            '\u{200D}',
            '\0',
            '\u{E0041}',
            '\u{2028}',
            '\u{AD}',
            '\n',
            '\u{85}',
            '\u{FE0F}',
            '\u{1160}',
        ] {
            let spelled = format!("a&lt;U+{:04X}&gt;b", u32::from(hidden));
            assert_eq!(Text(&format!("a{hidden}b")).to_string(), spelled);
        }
        assert_eq!(spelt("Ünïcode, 中文, עברית"), "Ünïcode, 中文, עברית");
        let long = "é".repeat(100);
        assert_eq!(spelt(&long), format!("{}…", &long[..SHOWN_MAX * 2]));
        assert_eq!(spelt(&long[..SHOWN_MAX * 2]), &long[..SHOWN_MAX * 2]);
        assert_eq!(Query("a b&c=<é>\"").to_string(), "a%20b%26c%3D%3C%C3%A9%3E%22");
    }

    #[test]
    fn numbers_are_those_that_a_person_reads() {
        let rates = [0.0, 0.01, 0.1, 2.1, 9.94, 9.96, 412.4, 1518.0, 1_234_567.0].map(rate);
        assert_eq!(rates, ["0", "< 0.1", "0.1", "2.1", "9.9", "10", "412", "1,518", "1,234,567"]);
        assert_eq!([0.0, 0.005, 0.04, 0.999, 1.0].map(percent), ["0 %", "< 1 %", "4 %", "99 %", "100 %"]);
        let times =
            [0, 849_000_001, 1_000_000_000, 11_000_000_001, 180_000_000_000, 86_400_000_000_000, 200_000_000_000_000]
                .map(|nanos| time(Duration::from_nanos(nanos)));
        assert_eq!(times, ["0 s", "850 ms", "1 s", "12 s", "3 min", "24 h", "3 days"]);
    }
}
