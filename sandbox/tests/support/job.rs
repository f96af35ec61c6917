//! What tests run in a jail, and what one run came to.

use jailfleet::artifact::ArtifactPath;
use jailfleet::blob::Blob;
use jailfleet::evidence::Evidence;
use jailfleet::job::{JobFile, JobFileKind, RelativePath};
use jailfleet::limits::Limits;
use jailfleet_sandbox::artifacts::Gathered;
use std::rc::Rc;

/// A program, what it gets, and what it is held to.
#[derive(Clone)]
pub(crate) struct Job<'a> {
    pub(crate) runtime: &'a str,
    pub(crate) main: Vec<u8>,
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) files: Vec<JobFile>,
    pub(crate) stdin: &'a [u8],
    pub(crate) artifacts: Vec<ArtifactPath>,
    pub(crate) limits: Rc<dyn Fn(&mut Limits)>,
}

/// A job of this program and nothing else, under the runtime's own limits.
pub(crate) fn job(runtime: &str, code: impl AsRef<[u8]>) -> Job<'_> {
    Job {
        runtime,
        main: code.as_ref().to_vec(),
        argv: Vec::new(),
        env: Vec::new(),
        files: Vec::new(),
        stdin: b"",
        artifacts: Vec::new(),
        limits: Rc::new(|_| {}),
    }
}

pub(crate) fn python(code: &str) -> Job<'static> {
    job("python", code)
}

pub(crate) fn bash(code: &str) -> Job<'static> {
    job("bash", code)
}

impl Job<'_> {
    pub(crate) fn wanting(self, paths: &[&str]) -> Self {
        let path = |text: &&str| ArtifactPath::parse(text).expect("a good path");
        let artifacts = paths.iter().map(path).collect();
        Self { artifacts, ..self }
    }

    pub(crate) fn limits(self, limits: impl Fn(&mut Limits) + 'static) -> Self {
        let limits = Rc::new(limits);
        Self { limits, ..self }
    }
}

/// A file that a job brings along.
pub(crate) fn file(path: &str, content: &str) -> JobFile {
    let path = RelativePath::parse(path).expect("a good path");
    JobFile {
        path,
        kind: JobFileKind::File {
            content: Blob::new(content),
            executable: false,
        },
    }
}

/// What one run came to.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) evidence: Evidence,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) gathered: Gathered,
}

impl Seen {
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}
