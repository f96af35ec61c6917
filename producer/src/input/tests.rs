//! Tests of the input, on real files and with the real decoder.

use std::fs;

use super::*;
use proptest::prelude::*;

fn defaults() -> Defaults {
    Defaults {
        pool: Name::parse("night").expect("a name"),
        lane: Lane::Bulk,
        batch: Some("b1".to_owned()),
        caps: WireCaps {
            body_bytes: 4096,
            ..WireCaps::default()
        },
    }
}

fn open(text: &str) -> (tempfile::TempDir, PathBuf, Input) {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("jobs.jsonl");
    fs::write(&path, text).expect("room on the disk");
    let input = Input::open(&path, defaults()).expect("a readable file");
    (folder, path, input)
}

#[test]
fn every_bad_line_is_reported_with_its_number() {
    let text = concat!(
        "{\"v\":1,\"id\":\"a\",\"runtime\":\"python\",\"code\":\"1\"}\n",
        "not json\n",
        "\n",
        "{\"v\":1,\"id\":\"b\",\"runtime\":\"python\",\"code\":\"1\",\"nonsense\":1}\n",
        "{\"v\":1,\"id\":\"a\",\"runtime\":\"python\",\"code\":\"2\"}\n",
        "{\"v\":1,\"id\":\"c\",\"runtime\":\"python\",\"code\":\"1\"}",
    );
    let (_folder, _, input) = open(text);
    let bad: Vec<String> = input.bad.iter().map(ToString::to_string).collect();
    assert_eq!(
        input
            .lines
            .iter()
            .map(|line| line.number)
            .collect::<Vec<_>>(),
        [1, 6]
    );
    assert_eq!(bad.len(), 3, "{bad:?}");
    assert!(bad[0].starts_with("line 2: not_json"), "{bad:?}");
    assert!(
        bad[1].starts_with("line 4: unknown_field") && bad[1].contains("nonsense"),
        "{bad:?}"
    );
    assert!(
        bad[2].starts_with("line 5: has the id of line 1"),
        "{bad:?}"
    );
}

#[test]
fn a_line_gets_what_it_does_not_say_and_keeps_what_it_says() {
    let text = concat!(
        "{\"v\":1,\"runtime\":\"python\",\"code\":\"1\"}\r\n",
        "{\"v\":1,\"id\":\"mine\",\"runtime\":\"python\",\"code\":\"1\",\"pool\":\"day\",",
        "\"lane\":\"interactive\",\"batch\":\"b0\"}\n",
    );
    let (_folder, _, input) = open(text);
    assert!(input.bad.is_empty(), "{:?}", input.bad);
    let given = JobId::parse("given").expect("an id");
    let mine = JobId::parse("mine").expect("an id");
    let first = input
        .job(&input.lines[0], &given)
        .expect("the line is there");
    assert_eq!(
        (first.id, first.pool.as_str(), first.lane),
        (given, "night", Lane::Bulk)
    );
    assert_eq!(first.batch.as_deref(), Some("b1"));
    assert_eq!(input.lines[0].id, None);
    let second = input
        .job(&input.lines[1], &mine)
        .expect("the line is there");
    assert_eq!((second.id, second.pool.as_str()), (mine.clone(), "day"));
    assert_eq!(
        (second.lane, second.batch.as_deref()),
        (Lane::Interactive, Some("b0"))
    );
    assert_eq!(input.lines[1].id, Some(mine));
}

#[test]
fn a_line_beyond_the_cap_is_bad_and_does_not_spoil_the_next() {
    let good = "{\"v\":1,\"runtime\":\"python\",\"code\":\"1\"}";
    let (_folder, _, input) = open(&format!("{}\n{good}\n", "x".repeat(100_000)));
    assert_eq!(input.bad.len(), 1);
    assert!(
        input.bad[0].what.starts_with("too_large"),
        "{:?}",
        input.bad
    );
    assert_eq!(input.lines.len(), 1);
    input
        .job(&input.lines[0], &JobId::parse("x").expect("an id"))
        .expect("the right bytes");
}

#[test]
fn a_line_that_changes_under_our_hands_is_noticed() {
    let (_folder, path, input) = open("{\"v\":1,\"runtime\":\"python\",\"code\":\"1\"}\n");
    fs::write(&path, "{\"v\":1,\"runtime\":\"python\",\"code\":\"2\"}\n").expect("room");
    let read = input.job(&input.lines[0], &JobId::parse("x").expect("an id"));
    assert!(matches!(read, Err(InputError::Changed { line: 1, .. })));
}

#[test]
fn a_pipe_is_no_input() {
    let refused = Input::open(Path::new("/dev/null"), defaults());
    assert!(matches!(refused, Err(InputError::NotAFile { .. })));
}

proptest! {
    /// However the file is cut into chunks and lines, the digest is that of all bytes and the
    /// lengths add up.
    #[test]
    fn reading_by_lines_misses_no_byte(
        bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..300),
        chunk in 1_usize..40,
    ) {
        let mut reader = BufReader::with_capacity(chunk, bytes.as_slice());
        let (mut whole, mut text, mut total) = (Sha256::new(), Vec::new(), 0);
        let mut lines = 0;
        loop {
            let read = read_line(&mut reader, 10, &mut text, &mut whole).expect("memory reads");
            if read == 0 { break; }
            prop_assert!(text.len() <= 11 && !text.contains(&b'\n'));
            total += read;
            lines += 1;
        }
        prop_assert_eq!(total, u64::try_from(bytes.len()).expect("small"));
        prop_assert_eq!(lines, bytes.split_inclusive(|byte| *byte == b'\n').count());
        prop_assert_eq!(hex(&whole.finalize()), hex(&Sha256::digest(&bytes)));
    }
}
