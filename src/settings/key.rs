//! Dotted keys as TOML writes them: a name that is more than letters, digits, `_` and `-` stands in
//! quotes, so that a dot in it does not divide it.

use super::print::quoted;

/// The dotted key of a path, as TOML writes it.
#[must_use]
pub fn join<T: AsRef<str>>(path: &[T]) -> String {
    let parts: Vec<String> = path.iter().map(|part| written(part.as_ref())).collect();
    parts.join(".")
}

/// The path of a dotted key. What is in quotes is one part of it. Control characters stay as they are
/// written: no name that is taken has one.
pub(super) fn split(key: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut in_quotes = false;
    let mut letters = key.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => in_quotes = !in_quotes,
            '.' if !in_quotes => parts.push(String::new()),
            '\\' if in_quotes => {
                if let Some(part) = parts.last_mut() {
                    part.extend(letters.next());
                }
            }
            _ => {
                if let Some(part) = parts.last_mut() {
                    part.push(letter);
                }
            }
        }
    }
    parts
}

/// Whether TOML takes the name without quotes.
pub(super) fn is_bare(name: &str) -> bool {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    !name.is_empty() && name.bytes().all(bare)
}

fn written(name: &str) -> String {
    if is_bare(name) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

#[cfg(test)]
mod tests {
    use super::{join, split};
    use proptest::prelude::*;

    #[test]
    fn only_a_name_that_needs_quotes_has_them() {
        assert_eq!(
            join(&["profiles", "large", "cpu_ms"]),
            "profiles.large.cpu_ms"
        );
        assert_eq!(
            join(&["profiles", "course-v1:edX+Demo.X+2026", "cpu_ms"]),
            "profiles.\"course-v1:edX+Demo.X+2026\".cpu_ms"
        );
    }

    proptest! {
        #[test]
        fn a_path_survives_being_written(path in proptest::collection::vec("\\PC*", 1..4)) {
            prop_assert_eq!(split(&join(&path)), path);
        }
    }
}
