//! What is wanted reads back, and whatever comes out of a jail is told within the bounds, under names
//! that the job asked for.

use super::*;
use jailfleet::artifact::{Artifact, LeftOut};
use jailfleet::blob::Blob;
use jailfleet::job::RelativePath;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeSet;

const CAPS: ArtifactCaps = ArtifactCaps {
    entries: 4,
    file_bytes: 10,
    all_bytes: 15,
};

fn path(text: &str) -> ArtifactPath {
    ArtifactPath::parse(text).expect("a path")
}

fn two() -> Vec<ArtifactPath> {
    vec![path("report.json"), path("out/")]
}

fn file(item: u32, below: &[u8], content: &[u8]) -> Vec<u8> {
    let head = head(tag::FILE, item, below.len(), content.len() as u64);
    [&head, below, content].concat()
}

fn left_out(item: u32, below: &[u8], reason: LeftOutReason) -> Vec<u8> {
    [&left_out_head(item, below.len(), reason), below].concat()
}

fn stream(pieces: &[Vec<u8>]) -> Vec<u8> {
    [&STREAM_MAGIC[..], &pieces.concat(), &[tag::END]].concat()
}

fn artifact(path: &str, content: &[u8]) -> Artifact {
    Artifact {
        path: RelativePath::parse(path).expect("a path"),
        content: Blob::new(content),
        executable: false,
    }
}

fn told(path_text: &str, reason: LeftOutReason) -> LeftOut {
    LeftOut {
        path: path(path_text),
        reason,
    }
}

/// A stream as a collector of ours writes it, for [`two`].
fn whole() -> Vec<u8> {
    stream(&[
        file(0, b"", b"{}"),
        file(1, b"a", b"x"),
        left_out(1, b"b/", LeftOutReason::TooDeep),
        file(1, b"c/d", b""),
    ])
}

#[test]
fn a_whole_stream_is_told_in_its_order() {
    let read = read(&whole(), &two(), &CAPS);
    let expected = Gathered {
        artifacts: vec![
            artifact("report.json", b"{}"),
            artifact("out/a", b"x"),
            artifact("out/c/d", b""),
        ],
        left_out: vec![told("out/b/", LeftOutReason::TooDeep)],
    };
    assert_eq!(read, expected);
}

#[test]
fn a_stream_that_ends_too_early_says_what_is_lost_and_keeps_what_came() {
    let whole = whole();
    for length in 0..whole.len() {
        let read = read(&whole[..length], &two(), &CAPS);
        let lost = |text| read.left_out.contains(&told(text, LeftOutReason::Lost));
        let report = read.artifacts.contains(&artifact("report.json", b"{}"));
        assert!(report != lost("report.json"), "{length}: {read:?}");
        assert!(lost("out/"), "{length}: {read:?}");
    }
}

#[test]
fn what_no_collector_of_ours_writes_is_not_believed() {
    let first = || file(0, b"", b"{}");
    let cases = [
        ("content above the cap", file(1, b"a", b"12345678901")),
        ("a path that leads up", file(1, b"../../etc/passwd", b"x")),
        ("an absolute path", file(1, b"/etc/passwd", b"x")),
        ("a dot", file(1, b"./a", b"x")),
        ("an empty part", file(1, b"a//b", b"x")),
        ("a NUL", file(1, b"a\0b", b"x")),
        ("no UTF-8", file(1, b"\xff", b"x")),
        ("a folder with content", file(1, b"a/", b"x")),
        ("the folder itself with content", file(1, b"", b"x")),
        ("a path too long", file(1, &[b'x'; 1025], b"x")),
        ("an item that nobody asked for", file(2, b"", b"x")),
        (
            "a reason that there is not",
            left_out(1, b"a", LeftOutReason::Other),
        ),
        ("the first item again", file(0, b"", b"{}")),
    ];
    for (what, piece) in cases {
        let read = read(&stream(&[first(), piece]), &two(), &CAPS);
        assert_eq!(read.artifacts, [artifact("report.json", b"{}")], "{what}");
        assert_eq!(read.left_out, [told("out/", LeftOutReason::Lost)], "{what}");
    }
    let below_a_file = stream(&[file(0, b"a", b"x"), file(1, b"a", b"x")]);
    let lost = Gathered::nothing(&two(), LeftOutReason::Lost);
    assert_eq!(read(&below_a_file, &two(), &CAPS), lost);
    let skipped = stream(&[file(1, b"a", b"x")]);
    assert_eq!(read(&skipped, &two(), &CAPS), lost);
    let twice = stream(&[first(), file(1, b"a", b"x"), file(1, b"a", b"y")]);
    let read_twice = read(&twice, &two(), &CAPS);
    assert_eq!(read_twice.artifacts.len(), 2);
    assert_eq!(read_twice.left_out, [told("out/", LeftOutReason::Lost)]);
}

#[test]
fn all_together_stay_within_the_bound_of_all() {
    let ten = |below: &[u8]| file(1, below, b"1234567890");
    let read = read(
        &stream(&[file(0, b"", b"{}"), ten(b"a"), ten(b"b")]),
        &two(),
        &CAPS,
    );
    assert_eq!(read.artifacts.len(), 2);
    assert_eq!(read.left_out, [told("out/", LeftOutReason::Lost)]);
}

#[test]
fn a_memfd_that_is_cut_or_names_too_much_is_not_read() {
    let bytes = wanted(&two(), &CAPS);
    for length in 0..bytes.len() {
        let Ok(mut wanted) = Wanted::open(&bytes[..length]) else {
            continue;
        };
        let mut items = 0;
        let last = loop {
            match wanted.next() {
                Ok(Some(_)) => items += 1,
                other => break other,
            }
        };
        assert!(
            items < 2 && (last.is_err() || items * 17 + 28 == length),
            "{length}: {last:?}"
        );
    }
    let many = vec![path("a"); MOST_WANTED + 1];
    let many = wanted(&many, &CAPS);
    let mut many = Wanted::open(&many).expect("a good beginning");
    let read = (0..=MOST_WANTED).map(|_| many.next()).last();
    assert!(matches!(read, Some(Err(_))), "{read:?}");
}

fn any_path() -> impl Strategy<Value = ArtifactPath> {
    "[a-z]{1,3}(/[^/\u{0}.]{1,9}){0,3}/?"
        .prop_filter_map("a path", |text| ArtifactPath::parse(&text).ok())
}

fn any_piece() -> impl Strategy<Value = Vec<u8>> {
    let tag = prop_oneof![4 => 1..4_u8, 1 => any::<u8>()];
    let below = prop_oneof![
        3 => "[a-c]{0,2}(/[a-c]{1,2}){0,2}/?".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..6),
    ];
    let content = vec(any::<u8>(), 0..12);
    (tag, 0..4_u32, below, content, any::<bool>()).prop_map(
        |(tag, item, below, content, true_size)| {
            let size = if true_size { content.len() as u64 } else { 7 };
            [&head(tag, item, below.len(), size), &below[..], &content].concat()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_wanted_reads_back(paths in vec(any_path(), 0..6), entries: usize) {
        let caps = ArtifactCaps { entries, ..CAPS };
        let bytes = wanted(&paths, &caps);
        let mut read = Wanted::open(&bytes).expect("just written");
        prop_assert_eq!(read.caps, caps);
        for path in &paths {
            let (kind, text) = read.next().expect("just written").expect("not the end");
            prop_assert_eq!(kind, path.kind());
            prop_assert_eq!(text.to_bytes(), path.path().as_str().as_bytes());
        }
        prop_assert_eq!(read.next(), Ok(None));
    }

    #[test]
    fn no_bytes_make_the_reader_of_what_is_wanted_panic(bytes: Vec<u8>) {
        let bytes = [&WANTED_MAGIC[..], &[0; 24], &bytes].concat();
        let mut read = Wanted::open(&bytes).expect("a good beginning");
        while let Ok(Some((_, path))) = read.next() {
            prop_assert!(path.to_bytes_with_nul().len() <= MOST_PATH_BYTES);
        }
    }

    #[test]
    fn whatever_comes_is_told_within_the_bounds_and_under_wanted_names_each_once(
        pieces in vec(any_piece(), 0..12),
        rest in vec(any::<u8>(), 0..30),
    ) {
        let wanted = vec![path("f"), path("d/"), path("e/g/")];
        let bytes = [&STREAM_MAGIC[..], &pieces.concat(), &rest, &[tag::END]].concat();
        let read = read(&bytes, &wanted, &CAPS);
        let mut names = BTreeSet::new();
        let mut total = 0;
        for artifact in &read.artifacts {
            let name = artifact.path.as_str();
            prop_assert!(name == "f" || name.starts_with("d/") || name.starts_with("e/g/"));
            prop_assert!(names.insert(name), "{} twice", name);
            prop_assert!(artifact.content.as_bytes().len() <= CAPS.file_bytes);
            total += artifact.content.as_bytes().len();
        }
        prop_assert!(total <= CAPS.all_bytes);
        for left_out in &read.left_out {
            prop_assert!(wanted.iter().any(|path| path.meets(&left_out.path)));
        }
        let told = read.artifacts.len() + read.left_out.len();
        prop_assert!(told <= CAPS.entries + 3 * wanted.len());
        // Of each that was wanted there is a word.
        for path in &wanted {
            let of = |other: &ArtifactPath| path.meets(other);
            let word = read.artifacts.iter().any(|file| of(&file.path.clone().into()))
                || read.left_out.iter().any(|left_out| of(&left_out.path));
            prop_assert!(word, "nothing is said of {}", path);
        }
    }
}
