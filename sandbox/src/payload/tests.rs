//! Properties of the payload's spelling.

use super::{Item, MAGIC, MAX_ARGUMENTS, Payload, PayloadError, Unpacker, encode};
use jailfleet::blob::Blob;
use jailfleet::job::{JobFile, JobFileKind, RelativePath};
use proptest::prelude::*;

fn file(path: &str, content: &str) -> JobFile {
    let path = RelativePath::parse(path).expect("the tests name good paths");
    JobFile {
        path,
        kind: JobFileKind::File {
            content: Blob::new(content),
            executable: false,
        },
    }
}

fn items(bytes: &[u8]) -> Result<Vec<String>, PayloadError> {
    let mut unpacker = Unpacker::open(bytes)?;
    let mut seen = Vec::new();
    while let Some(item) = unpacker.next()? {
        seen.push(match item {
            Item::Argument(text) => format!("argument {}", text.to_string_lossy()),
            Item::Variable(text) => format!("variable {}", text.to_string_lossy()),
            Item::Main(content) => format!("main {}", String::from_utf8_lossy(content)),
            Item::Directory(path) => format!("directory {}", path.to_string_lossy()),
            Item::File {
                path,
                content,
                executable,
            } => format!(
                "file {} {} {executable}",
                path.to_string_lossy(),
                String::from_utf8_lossy(content)
            ),
        });
    }
    Ok(seen)
}

#[test]
fn folders_come_once_and_before_what_is_in_them() {
    let files = [
        file("a/b/c.txt", "1"),
        file("a/b/d.txt", "2"),
        file("e.txt", "3"),
    ];
    let argv = ["-x".to_owned(), String::new()];
    let env = [("K".to_owned(), "v=w".to_owned())];
    let payload = Payload {
        main: Some(b"code"),
        files: &files,
        argv: &argv,
        env: &env,
    };
    let bytes = encode(&payload).expect("all is within bounds");
    let expected = [
        "argument -x",
        "argument ",
        "variable K=v=w",
        "directory a",
        "directory a/b",
        "file a/b/c.txt 1 false",
        "file a/b/d.txt 2 false",
        "file e.txt 3 false",
        "main code",
    ];
    assert_eq!(items(&bytes).expect("what was written is read"), expected);
}

#[test]
fn a_nul_byte_within_an_argument_is_refused() {
    let argv = ["a\0b".to_owned()];
    let payload = Payload {
        main: None,
        files: &[],
        argv: &argv,
        env: &[],
    };
    assert_eq!(encode(&payload), Err(PayloadError::Nul("an argument")));
}

#[test]
fn more_arguments_than_the_bound_are_refused() {
    let argv = vec![String::new(); MAX_ARGUMENTS + 1];
    let payload = Payload {
        main: None,
        files: &[],
        argv: &argv,
        env: &[],
    };
    assert!(matches!(
        encode(&payload),
        Err(PayloadError::TooMany { .. })
    ));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let _seen: Result<Vec<String>, PayloadError> = items(&[&MAGIC[..], &bytes].concat());
    }

    #[test]
    fn a_payload_cut_short_never_yields_more_than_the_whole(
        argv in proptest::collection::vec("[a-z]{0,9}", 0..5),
        main in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..50)),
        cut in 0..40_usize,
    ) {
        let payload = Payload { main: main.as_deref(), files: &[], argv: &argv, env: &[] };
        let bytes = encode(&payload).expect("all is within bounds");
        let whole = items(&bytes).expect("what was written is read");
        prop_assert_eq!(whole.len(), argv.len() + usize::from(main.is_some()));
        let short = bytes.len().saturating_sub(cut);
        if let Ok(part) = items(&bytes[..short]) {
            prop_assert!(whole.starts_with(&part));
        }
    }
}
