//! The repository tests itself: boundaries between the crates, promises, documents.

mod boundaries;
mod documents;
mod fuzz_targets;
mod unsafe_code;

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file below `folder` that is ours, whatever it is; build output and git left out.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("the entry can be read").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        match name {
            "target" | ".git" => {}
            _ if path.is_symlink() => {}
            _ if path.is_dir() => found.extend(files_below(&path)),
            _ => found.push(path),
        }
    }
    found
}

fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = files_below(&root().join(folder));
    files.retain(|path| path.extension().is_some_and(|end| end == "rs"));
    assert!(!files.is_empty(), "{folder} has Rust files");
    files
}
