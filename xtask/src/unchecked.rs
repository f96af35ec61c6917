//! What a run did not check, in a box that is hard to overlook.

/// The box: what was not checked and why not.
pub(crate) fn unchecked(what: &str, promises: &[&str], reason: &str) -> String {
    let mut lines = vec![format!("NOT CHECKED, {what}:")];
    lines.extend(promises.iter().map(|promise| format!("  - {promise}")));
    lines.push("Why there was none: it failed to".to_owned());
    lines.extend(wrapped(reason, 90).map(|line| format!("  {line}")));
    let width = lines.iter().map(|line| line.chars().count()).max();
    let width = width.unwrap_or(0);
    let edge = format!("+-{}-+", "-".repeat(width));
    let rows = lines.iter().map(|line| format!("| {line:<width$} |\n"));
    format!("{edge}\n{}{edge}", rows.collect::<String>())
}

/// Whether this is continuous integration, where nobody reads warnings: what was not checked is a failure.
pub(crate) fn must_all_be_checked() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Lines of at most `width` letters, cut between words where there are any.
fn wrapped(text: &str, width: usize) -> impl Iterator<Item = String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is one from the start");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.into_iter()
}

#[cfg(test)]
mod tests {
    use super::{unchecked, wrapped};

    #[test]
    fn the_box_names_every_promise_and_the_reason_and_is_closed_on_both_sides() {
        let promises = ["that one thing holds", "that another, longer one does"];
        let text = unchecked("since", &promises, "fetch packages: no route to anywhere");
        for promise in promises {
            assert!(text.contains(promise), "{text}");
        }
        assert!(text.contains("no route to anywhere"), "{text}");
        let lengths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert!(lengths.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
    }

    #[test]
    fn long_words_of_trouble_are_cut_between_words() {
        let lines: Vec<String> = wrapped("one two\nthree four", 9).collect();
        assert_eq!(lines, ["one two", "three", "four"]);
    }
}
