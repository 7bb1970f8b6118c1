//! [`Form`]: the fields of a form, or of the query of a link.

/// The most fields that are looked at. Ours have a handful.
const FIELDS_MAX: usize = 32;

/// Fields as `application/x-www-form-urlencoded` writes them.
#[derive(Debug, Default)]
pub(super) struct Form {
    fields: Vec<(String, String)>,
}

impl Form {
    /// What cannot be decoded, or is not UTF-8, is not a form: `None`.
    pub(super) fn read(text: &str) -> Option<Self> {
        let fields = text.split('&').filter(|field| !field.is_empty()).take(FIELDS_MAX);
        let fields = fields.map(|field| {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            Some((decoded(name)?, decoded(value)?))
        });
        Some(Self { fields: fields.collect::<Option<_>>()? })
    }

    /// A field that is there exactly once.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(other, _)| other == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }
}

/// Decodes `%41` and `+`.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let digits = rest.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
                rest = &rest[2..];
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded_and_none_counts_twice() {
        let form = Form::read("a=1&b=x+y%2B%C3%A9&&c&d=1&d=2&e=f=g").unwrap();
        let fields = ["a", "b", "c", "d", "e", "f"].map(|name| form.get(name));
        assert_eq!(fields, [Some("1"), Some("x y+é"), Some(""), None, Some("f=g"), None]);
        for bad in ["a=%", "a=%4", "a=%zz", "a=%+1", "a=%ff", "%ff=1"] {
            assert!(Form::read(bad).is_none(), "{bad}");
        }
        assert_eq!(Form::read(&"a=1&".repeat(10_000)).unwrap().fields.len(), FIELDS_MAX);
    }
}
