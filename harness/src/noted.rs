//! What a test that passes has to tell: a hole that is known, what a wall was worth.
//!
//! Nobody reads what a passing test writes, and nextest does not show it. What is told here is also put
//! into a file of the run, whose lines stand in its account.

use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Names the file that gets one line for each thing that is told.
pub const NOTES: &str = "JAILFLEET_NOTES_FILE";
/// What the line begins with on standard error, which is all that comes out of a guest.
pub const NOTED: &str = "NOTED ";

/// Tells one line to whoever reads the account of the run.
///
/// # Panics
/// When it cannot be noted.
pub fn tell(line: &str) {
    let line = format!("{}\n", line.replace('\n', " "));
    eprint!("{NOTED}{line}");
    if let Some(path) = std::env::var_os(NOTES) {
        append(Path::new(&path), &line);
    }
}

/// One write of one line to a file in append mode: lines of tests that run at one time do not mix.
pub(crate) fn append(path: &Path, line: &str) {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .unwrap_or_else(|error| panic!("{line:?} is not noted in {}: {error}", path.display()));
}

#[cfg(test)]
mod tests {
    use super::append;

    #[test]
    fn each_line_is_one_of_its_own_in_the_file_of_the_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notes");
        append(&path, "one: needs Root\n");
        append(&path, "two: needs Broker\n");
        let noted = std::fs::read_to_string(&path).expect("it is there");
        assert_eq!(noted, "one: needs Root\ntwo: needs Broker\n");
    }
}
