//! Unsafe code stands in one fenced module.

use super::{read, root, rust_files};

#[test]
fn only_the_sandbox_may_be_unsafe() {
    for file in [
        "src/lib.rs",
        "queue/src/lib.rs",
        "program/src/lib.rs",
        "harness/src/lib.rs",
        "worker/src/lib.rs",
        "producer/src/lib.rs",
    ] {
        assert!(
            read(file).contains("#![forbid(unsafe_code)]"),
            "{file} forbids unsafe code"
        );
    }
    for file in [
        "worker/src/main.rs",
        "producer/src/main.rs",
        "xtask/src/main.rs",
        "guest/src/main.rs",
        "guest/src/lib.rs",
    ] {
        assert!(
            read(file).contains("#![forbid(unsafe_code)]"),
            "{file} forbids unsafe code"
        );
    }
    for folder in [
        "src", "queue", "program", "worker", "producer", "xtask", "harness", "guest",
    ] {
        for path in rust_files(folder) {
            let text = std::fs::read_to_string(&path).expect("the file can be read");
            let hit = text.lines().find(|line| has_unsafe_code(line));
            assert!(hit.is_none(), "{} says {hit:?}", path.display());
        }
    }
}

#[test]
fn within_the_sandbox_only_the_system_calls_are_unsafe() {
    for path in rust_files("sandbox/src") {
        let relative = path
            .strip_prefix(root().join("sandbox/src"))
            .expect("it lies below");
        let is_sys = relative.to_string_lossy().starts_with("sys");
        let text = std::fs::read_to_string(&path).expect("the file can be read");
        let hit = text.lines().find(|line| has_unsafe_code(line));
        assert!(is_sys || hit.is_none(), "{} says {hit:?}", path.display());
    }
}

/// Whether a line of Rust opens something unsafe. Words in comments do not count.
fn has_unsafe_code(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
        .iter()
        .any(|mark| code.contains(mark))
}

#[test]
fn the_search_for_unsafe_code_finds_it_and_passes_comments_over() {
    assert!(has_unsafe_code("    let x = unsafe { f() };"));
    assert!(has_unsafe_code("pub unsafe fn f() {}"));
    assert!(!has_unsafe_code("// unsafe { f() }"));
    assert!(!has_unsafe_code("#![forbid(unsafe_code)]"));
}
