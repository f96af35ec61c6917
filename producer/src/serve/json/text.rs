//! The text within JSON: strings character by character, and how they are written.

/// One character of a string, or half of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::serve) enum Unit {
    Char(char),
    Half(u16),
}

/// Writes a value that was read without white space, and text as it is: as the service that is
/// replaced writes it, but for halves of pairs, over which that fails.
pub(in crate::serve) fn write(raw: &str, out: &mut String) {
    let mut rest = raw;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => {
                let length = string_length(rest);
                write_text(units(rest.get(..length).unwrap_or(rest)), out);
                length
            }
            ' ' | '\t' | '\n' | '\r' => 1,
            other => {
                out.push(other);
                other.len_utf8()
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
}

/// Writes text as a JSON string.
fn write_text(units: impl Iterator<Item = Unit>, out: &mut String) {
    out.push('"');
    for unit in units {
        match unit {
            Unit::Char('"') => out.push_str("\\\""),
            Unit::Char('\\') => out.push_str("\\\\"),
            Unit::Char('\n') => out.push_str("\\n"),
            Unit::Char('\r') => out.push_str("\\r"),
            Unit::Char('\t') => out.push_str("\\t"),
            Unit::Char('\u{8}') => out.push_str("\\b"),
            Unit::Char('\u{c}') => out.push_str("\\f"),
            Unit::Char(char @ ('\0'..='\x1f' | '\u{2028}' | '\u{2029}')) => {
                out.push_str(&format!("\\u{:04x}", u32::from(char)));
            }
            Unit::Char(char) => out.push(char),
            Unit::Half(half) => out.push_str(&format!("\\u{half:04x}")),
        }
    }
    out.push('"');
}

/// A text as a JSON string.
pub(in crate::serve) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    write_text(text.chars().map(Unit::Char), &mut quoted);
    quoted
}

/// How many bytes the string takes that `text` begins with, its quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = true; // The opening quote is not the closing one.
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The characters of a string between quotes.
pub(super) fn units(quoted: &str) -> impl Iterator<Item = Unit> + '_ {
    let inner = quoted.get(1..quoted.len().saturating_sub(1));
    let mut rest = inner.unwrap_or_default();
    std::iter::from_fn(move || {
        let (unit, after) = unit(rest)?;
        rest = after;
        // Two halves that belong together are one character.
        if let Unit::Half(high @ 0xd800..=0xdbff) = unit
            && let Some((Unit::Half(low @ 0xdc00..=0xdfff), after)) = self::unit(rest)
        {
            rest = after;
            let pair = 0x1_0000 + ((u32::from(high) & 0x3ff) << 10) + (u32::from(low) & 0x3ff);
            return char::from_u32(pair).map(Unit::Char);
        }
        Some(unit)
    })
}

/// The first character of what stands between quotes, and what follows it.
fn unit(text: &str) -> Option<(Unit, &str)> {
    let mut chars = text.chars();
    let first = chars.next()?;
    if first != '\\' {
        return Some((Unit::Char(first), chars.as_str()));
    }
    let char = match chars.next()? {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => {
            let code = u16::from_str_radix(text.get(2..6)?, 16).ok()?;
            let unit = char::from_u32(u32::from(code)).map_or(Unit::Half(code), Unit::Char);
            return Some((unit, text.get(6..)?));
        }
        plain => plain,
    };
    Some((Unit::Char(char), chars.as_str()))
}
