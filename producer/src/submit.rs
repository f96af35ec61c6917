//! `submit`: one job, its output, its exit code.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jailfleet::artifact::ArtifactPath;
use jailfleet::blob::Blob;
use jailfleet::job::{Job, JobFile, JobFileKind, JobId, Lane, Name, ProfileName, RelativePath};
use jailfleet::limits::LimitsRequest;
use jailfleet::outcome::Outcome;
use jailfleet::rejection::Rejection;
use jailfleet::result::JobResult;
use jailfleet::settings::ProducerSettings;
use jailfleet::wire::{self, DecodeHint, WireCaps};
use jailfleet_program::output;

use crate::artifacts::{self, ArtifactsError};
use crate::bulk::fresh_id;
use crate::cli::{Exit, SubmitArgs};
use crate::client::{Client, ClientError, Content};
use crate::progress::say;

/// A limit of the job ended it.
const LIMITED: Exit = Exit::Program(124);
/// No word about the program.
pub const NO_WORD: Exit = Exit::Program(125);
/// The job was not run.
const NOT_RUN: Exit = Exit::Program(126);

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// A file cannot be read.
    #[error("read {path}")]
    Read {
        /// The file.
        path: String,
        /// What the file system said.
        source: io::Error,
    },
    /// A file is too large for a message.
    #[error("read {path}: has more than {cap} bytes (producer.message_bytes)")]
    TooLarge {
        /// The file.
        path: String,
        /// What is allowed.
        cap: usize,
    },
    /// Options that exclude each other.
    #[error("read code and stdin both from our stdin: give one of them as a file")]
    StdinTwice,
    /// Artifacts that nobody would see.
    #[error(
        "bring artifacts: name a folder for them with --artifacts-dir, or take all with --json"
    )]
    ArtifactsNowhere,
    /// Artifacts cannot be written.
    #[error(transparent)]
    Artifacts(#[from] ArtifactsError),
    /// The job would be refused.
    #[error("make the job")]
    Refused(#[from] Rejection),
    /// A limit that there is not.
    #[error("make the job: no limit is called {name}; {known}")]
    UnknownLimit {
        /// The name.
        name: String,
        /// What the words say.
        known: String,
    },
    /// The broker.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What we print cannot be written.
    #[error("print the result")]
    Print(#[source] io::Error),
    /// The person at the keyboard has had enough.
    #[error("wait for the result: interrupted; the job may still run")]
    Interrupted,
}

/// Publishes the job that the arguments describe, waits for its result, and prints it.
///
/// # Errors
/// When the job cannot be made or published, or no result comes in time.
pub async fn run(settings: &ProducerSettings, args: &SubmitArgs) -> Result<Exit, SubmitError> {
    let job = make_job(settings, args)?;
    match &args.artifacts_dir {
        Some(folder) => artifacts::check(folder)?,
        None if args.artifacts.is_empty() || args.json => {}
        None => return Err(SubmitError::ArtifactsNowhere),
    }
    let within = args.timeout.map_or(
        settings.producer.idle_timeout_ms.duration(),
        Duration::from_secs,
    );
    let mut client = Client::connect(settings, vec![job.pool.clone()]).await?;
    let content = tokio::select! {
        content = client.run_to_content(&job, within) => content.map_err(SubmitError::Client),
        _ = tokio::signal::ctrl_c() => Err(SubmitError::Interrupted),
    };
    client.close().await;
    let mut content = content?;
    content.name_job(&job.id);
    let exit = print(&content, args)?;
    if let Some(folder) = &args.artifacts_dir {
        artifacts::write(folder, &content.result.artifacts)?;
    }
    Ok(exit)
}

fn print(content: &Content, args: &SubmitArgs) -> Result<Exit, SubmitError> {
    let result = &content.result;
    if args.json {
        let line = format!("{}\n", content.line);
        output::print(line.as_bytes()).map_err(SubmitError::Print)?;
        return Ok(Exit::Done);
    }
    let bytes = |stream: &Option<Blob>| stream.clone().unwrap_or_default().into_bytes();
    output::print(&bytes(&result.stdout)).map_err(SubmitError::Print)?;
    io::stderr()
        .write_all(&bytes(&result.stderr))
        .map_err(SubmitError::Print)?;
    for stream in &result.truncated {
        say(&format!(
            "jailfleet-producer: {} was cut off",
            stream.as_str()
        ));
    }
    for left_out in &result.artifacts_left_out {
        say(&format!(
            "jailfleet-producer: {}",
            artifacts::remark(left_out)
        ));
    }
    let exit = exit_of(result);
    if result.outcome != Outcome::Exited || result.error.is_some() {
        say(&format!("jailfleet-producer: {}", remark(result)));
    }
    Ok(exit)
}

/// The exit code that mirrors what became of the program.
fn exit_of(result: &JobResult) -> Exit {
    match result.outcome {
        Outcome::Exited => match result.exit_code.map(u8::try_from) {
            Some(Ok(code)) => Exit::Program(code),
            Some(Err(_)) | None => NO_WORD,
        },
        Outcome::Signaled => match result.signal.map(|signal| u8::try_from(signal + 128)) {
            Some(Ok(code)) => Exit::Program(code),
            Some(Err(_)) | None => NO_WORD,
        },
        Outcome::CpuLimit | Outcome::WallLimit | Outcome::MemoryLimit | Outcome::OutputLimit => {
            LIMITED
        }
        Outcome::Rejected | Outcome::Expired | Outcome::Cancelled => NOT_RUN,
        Outcome::WorkerLost | Outcome::EngineFault | Outcome::Other => NO_WORD,
    }
}

/// The outcome in words, for people whose program did not simply exit.
fn remark(result: &JobResult) -> String {
    let mut text = result.outcome.to_string();
    if result.outcome == Outcome::Other {
        text.push_str(": the worker is newer and tells an outcome that is not known here; ");
        text.push_str("--json shows it, a newer jailfleet-producer knows it");
    }
    if let Some(signal) = result.signal {
        text.push_str(&format!(" (signal {signal})"));
    }
    if let Some(error) = &result.error {
        text.push_str(&format!(": {}: {}", error.code.as_str(), error.message));
    }
    text
}

/// Builds the job, and lets the decoder look at it as the worker's will.
fn make_job(settings: &ProducerSettings, args: &SubmitArgs) -> Result<Job, SubmitError> {
    let cap = settings.producer.message_bytes;
    let is_dash = |path: &Option<PathBuf>| path.as_deref() == Some(Path::new("-"));
    if is_dash(&args.code) && is_dash(&args.stdin) {
        return Err(SubmitError::StdinTwice);
    }
    let blob = |path: &Option<PathBuf>| match path {
        Some(path) => read(path, cap).map(Blob::new).map(Some),
        None => Ok(None),
    };
    let job = Job {
        id: match &args.id {
            Some(id) => JobId::parse(id)?,
            None => fresh_id(),
        },
        runtime: Name::parse(&args.runtime)?,
        code: blob(&args.code)?,
        files: args
            .files
            .iter()
            .map(|spec| file(spec, cap))
            .collect::<Result<_, _>>()?,
        argv: args.args.iter().chain(&args.rest).cloned().collect(),
        env: args.env.clone(),
        stdin: blob(&args.stdin)?,
        globals: None,
        python_path: Vec::new(),
        artifacts: args
            .artifacts
            .iter()
            .map(|path| ArtifactPath::parse(path))
            .collect::<Result<_, _>>()?,
        limits: limits(&args.limits)?,
        limit_profile: args
            .profile
            .as_deref()
            .map(ProfileName::parse)
            .transpose()?,
        slug: args.slug.clone(),
        pool: match &args.pool {
            Some(pool) => Name::parse(pool)?,
            None => settings.producer.pool.clone(),
        },
        lane: args
            .lane
            .as_deref()
            .map_or(Ok(Lane::Interactive), Lane::parse)?,
        batch: None,
        deadline: None,
        grade: None,
    };
    let caps = WireCaps {
        body_bytes: cap,
        ..WireCaps::default()
    };
    let body = wire::encode_job(&job);
    wire::decode_job(&body, &DecodeHint::default(), &caps).map_err(|refused| refused.rejection)?;
    Ok(job)
}

/// `PATH` or `PATH=NAME`; without a name it is called as it is called here.
fn file(spec: &str, cap: usize) -> Result<JobFile, SubmitError> {
    let (path, name) = match spec.rsplit_once('=') {
        Some((path, name)) => (Path::new(path), name.to_owned()),
        None => {
            let path = Path::new(spec);
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            (path, name.unwrap_or_default())
        }
    };
    let executable = fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0);
    let kind = JobFileKind::File {
        content: Blob::new(read(path, cap)?),
        executable,
    };
    Ok(JobFile {
        path: RelativePath::parse(&name)?,
        kind,
    })
}

fn limits(pairs: &[(String, u64)]) -> Result<LimitsRequest, SubmitError> {
    let mut object = serde_json::Map::new();
    for (name, value) in pairs {
        object.insert(name.clone(), (*value).into());
        // One at a time, so that the message is about the one that is wrong.
        let alone = serde_json::json!({ name: value });
        if let Err(error) = serde_json::from_value::<LimitsRequest>(alone) {
            let known = error.to_string();
            return Err(SubmitError::UnknownLimit {
                name: name.clone(),
                known,
            });
        }
    }
    let all = serde_json::from_value(object.into());
    Ok(all.expect("each of them was read alone"))
}

/// Reads a file, or our stdin for `-`, up to one byte beyond the cap.
fn read(path: &Path, cap: usize) -> Result<Vec<u8>, SubmitError> {
    let shown = || path.display().to_string();
    let most = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().take(most).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    read.map_err(|source| SubmitError::Read {
        path: shown(),
        source,
    })?;
    if bytes.len() > cap {
        return Err(SubmitError::TooLarge { path: shown(), cap });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jailfleet::result::WorkerStamp;

    fn result(outcome: Outcome, exit_code: Option<i32>, signal: Option<i32>) -> JobResult {
        let worker = WorkerStamp {
            host: "h".to_owned(),
            version: "0".to_owned(),
            slot: None,
            attempt: 1,
            last_canary: None,
        };
        let mut result = JobResult::without_run(None, outcome, None, worker);
        (result.exit_code, result.signal) = (exit_code, signal);
        result
    }

    #[test]
    fn a_programs_own_exit_code_and_signal_are_mirrored() {
        assert_eq!(exit_of(&result(Outcome::Exited, Some(7), None)).code(), 7);
        assert_eq!(
            exit_of(&result(Outcome::Signaled, None, Some(11))).code(),
            139
        );
    }

    #[test]
    fn whatever_is_not_the_programs_word_has_a_code_of_its_own() {
        for outcome in Outcome::ALL.iter().chain([&Outcome::Other]) {
            let code = exit_of(&result(*outcome, None, None)).code();
            assert!((124..=126).contains(&code), "{outcome} gives {code}");
        }
    }

    #[test]
    fn a_limit_that_there_is_not_is_named_together_with_those_that_there_are() {
        let wrong = limits(&[("cpu_ms".to_owned(), 5), ("cpu_seconds".to_owned(), 1)]);
        let text = wrong.expect_err("no such limit").to_string();
        assert!(
            text.contains("cpu_seconds") && text.contains("wall_ms"),
            "{text}"
        );
        let right = limits(&[("cpu_ms".to_owned(), 5)]).expect("a limit");
        assert_eq!(right.cpu_ms, Some(5));
    }

    #[test]
    fn a_file_keeps_its_name_and_its_execute_bit() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("tool.sh");
        fs::write(&path, "exit 3").expect("room on the disk");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own file");
        let spec = path.display().to_string();
        let plain = file(&spec, 100).expect("a readable file");
        assert_eq!(plain.path.as_str(), "tool.sh");
        let JobFileKind::File {
            content,
            executable,
        } = plain.kind
        else {
            panic!("a folder")
        };
        assert!(executable && content.as_bytes() == b"exit 3");
        let named = file(&format!("{spec}=bin/run"), 100).expect("a readable file");
        assert_eq!(named.path.as_str(), "bin/run");
        assert!(matches!(file(&spec, 3), Err(SubmitError::TooLarge { .. })));
        assert!(matches!(
            file(&format!("{spec}=../x"), 100),
            Err(SubmitError::Refused(_))
        ));
    }
}
