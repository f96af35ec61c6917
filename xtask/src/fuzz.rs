//! Throws damaged messages at the decoders, guided by the coverage that the stable compiler counts.
//!
//! libFuzzer comes with crate libfuzzer-sys, and what cargo-fuzz adds to it are compiler options that
//! the stable compiler takes as well. So a C++ compiler is all that has to be on the machine.

use crate::needs::{self, Install, Need};
use crate::programs::{capture, cargo, command, run};
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// Counters on every edge, a table of them, and the operands of comparisons, as libFuzzer wants
/// them. One unit of code each, or counters would be lost between them.
///
/// # Source
/// "SanitizerCoverage" in Clang's manual; `rustc -C help`.
const INSTRUMENTED: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
];

/// A run of one input longer than this is a finding.
const SLOWEST_S: u32 = 10;

/// A fuzz target and what its corpus begins with.
#[derive(Debug, Clone, Copy)]
struct Target {
    name: &'static str,
    seeds: Seeds,
}

/// Where good inputs come from.
#[derive(Debug, Clone, Copy)]
enum Seeds {
    /// The examples of docs/wire.md whose info string begins so.
    Examples(&'static [&'static str]),
    /// A journal that was written down here.
    Journal,
    /// None: the format is small enough to be found.
    Nothing,
}

const TARGETS: [Target; 5] = [
    Target {
        name: "decode_job",
        seeds: Seeds::Examples(&["job", "refused"]),
    },
    Target {
        name: "decode_result",
        seeds: Seeds::Examples(&["result"]),
    },
    Target {
        name: "decode_cancel",
        seeds: Seeds::Examples(&["cancel"]),
    },
    Target {
        name: "replay_journal",
        seeds: Seeds::Journal,
    },
    Target {
        name: "warden_protocol",
        seeds: Seeds::Nothing,
    },
];

const JOURNAL: &str = r#"{"journal":1,"reply":"bulk-1","input_sha256":"00"}
{"line":1,"sha256":"00","id":"a","correlation_id":"0123456789abcdef0123456789abcdef"}
{"confirmed":1}
{"received":1}
{"conflict":1}
{"closed":true}
"#;

/// Lints every target as a plain program.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let mut clippy = cargo();
    clippy
        .current_dir(workspace.root())
        .args([
            "clippy",
            "--quiet",
            "--locked",
            "--manifest-path=fuzz/Cargo.toml",
        ])
        .arg("--target-dir")
        .arg(workspace.folder("fuzz-check")?)
        .args(["--", "-D", "warnings"]);
    run("cargo clippy of the fuzz targets", &mut clippy)
}

/// Runs every fuzz target for `seconds`.
pub(crate) fn run_all(workspace: &Workspace, install: Install, seconds: u64) -> Result<()> {
    needs::provide(&[Need::Cxx], install)?;
    let programs = build(workspace)?;
    for target in TARGETS {
        let corpus = workspace.root().join("fuzz/corpus").join(target.name);
        let seeds = seed(workspace, &corpus, target.seeds)?;
        println!("\n=== {} for {seconds} s, {seeds} seeds", target.name);
        let artifacts = workspace.root().join("fuzz/artifacts").join(target.name);
        std::fs::create_dir_all(&artifacts)
            .with_context(|| format!("make {}", artifacts.display()))?;
        let mut fuzzer = command(programs.join(target.name));
        fuzzer
            .current_dir(workspace.root())
            .arg(&corpus)
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-timeout={SLOWEST_S}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args(["-verbosity=0", "-print_final_stats=1"]);
        let again = format!(
            "{0} survive; what ended it lies in fuzz/artifacts/{0}, and is the program's one argument \
             to see it again: {1}",
            target.name,
            programs.join(target.name).display()
        );
        run(target.name, &mut fuzzer).with_context(|| format!("see {again}"))?;
    }
    Ok(())
}

/// Builds the targets with counters; returns the folder that they lie in.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    println!("Building the fuzz targets with coverage counters ...");
    let host = host()?;
    let folder = workspace.folder("fuzz")?;
    let mut build = cargo();
    build
        .current_dir(workspace.root())
        .args([
            "build",
            "--release",
            "--quiet",
            "--locked",
            "--manifest-path=fuzz/Cargo.toml",
        ])
        // With a target named, build scripts and macros stay without counters.
        .arg(format!("--target={host}"))
        .arg("--target-dir")
        .arg(&folder)
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTED.join("\u{1f}"));
    run("cargo build of the fuzz targets", &mut build)?;
    Ok(folder.join(host).join("release"))
}

/// The triple of this machine.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let text = capture("rustc", command(rustc).arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("find the host in what rustc says")?.to_owned())
}

/// Puts good inputs into a corpus; what a fuzzer found earlier stays. Returns how many seeds there
/// are.
fn seed(workspace: &Workspace, corpus: &Path, seeds: Seeds) -> Result<usize> {
    std::fs::create_dir_all(corpus).with_context(|| format!("make {}", corpus.display()))?;
    let texts = match seeds {
        Seeds::Examples(kinds) => {
            let path = workspace.root().join("docs/wire.md");
            let page = std::fs::read_to_string(&path).context("read docs/wire.md")?;
            let found = examples(&page, kinds);
            ensure!(
                !found.is_empty(),
                "find examples of {kinds:?} in docs/wire.md"
            );
            found
        }
        Seeds::Journal => vec![JOURNAL.to_owned()],
        Seeds::Nothing => Vec::new(),
    };
    for (number, text) in texts.iter().enumerate() {
        let path = corpus.join(format!("seed-{number}"));
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(texts.len())
}

/// The fenced JSON examples of a page whose info string begins with one of `kinds`.
fn examples(page: &str, kinds: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```json ") else {
            continue;
        };
        let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if kinds.iter().any(|kind| info.starts_with(kind)) {
            found.push(text.join("\n"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{TARGETS, examples};
    use std::path::Path;

    #[test]
    fn every_fuzz_target_of_the_folder_is_run() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        let folder = std::fs::read_dir(fuzz.join("fuzz_targets")).expect("there are targets");
        let mut there: Vec<String> = folder
            .map(|entry| entry.expect("readable").path())
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        there.sort_unstable();
        let mut run = TARGETS.map(|target| target.name);
        run.sort_unstable();
        assert_eq!(there, run);
        let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).expect("a manifest");
        for target in TARGETS {
            assert!(manifest.contains(&format!("name = \"{}\"", target.name)));
        }
    }

    #[test]
    fn seeds_are_the_examples_of_the_kinds_that_were_asked_for() {
        let page = "# Page\n```json job\n{\"v\": 1}\n```\n```json result\n{}\n```\n\
                    ```json refused wrong_type\n[\n]\n```\n";
        assert_eq!(examples(page, &["job", "refused"]), ["{\"v\": 1}", "[\n]"]);
        assert_eq!(examples(page, &["result"]), ["{}"]);
    }
}
