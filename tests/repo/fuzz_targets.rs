//! What a fuzz target takes for granted of a format, it takes from the format itself.

use super::rust_files;

/// A beginning that is written out goes stale with the next version of the format, unseen: all that the
/// fuzzer made of it is then refused at the first look.
#[test]
fn no_fuzz_target_writes_out_how_a_format_begins() {
    for path in rust_files("fuzz/fuzz_targets") {
        let text = std::fs::read_to_string(&path).expect("the file can be read");
        let hit = text.lines().find(|line| line.contains("b\"JF"));
        assert!(hit.is_none(), "{} says {hit:?}", path.display());
    }
}
