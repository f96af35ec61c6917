//! The files that a job brings: paths that cannot leave their folder, none of them twice.

use super::WireCaps;
use super::given::Object;
use super::message::FileMessage;
use super::vet::{decoded, within};
use crate::job::{JobFile, JobFileKind, RelativePath};
use crate::rejection::{Rejection, RejectionCode};
use std::collections::BTreeMap;

/// The files of a job, in the order in which they were sent.
pub(super) fn vet(
    messages: Vec<Object<FileMessage>>,
    caps: &WireCaps,
) -> Result<Vec<JobFile>, Rejection> {
    within("files", messages.len(), caps.files)?;
    let read = messages
        .into_iter()
        .enumerate()
        .map(|(place, Object(message))| file(&format!("files[{place}]"), message));
    let files = read.collect::<Result<Vec<_>, _>>()?;
    refuse_conflicts(&files)?;
    Ok(files)
}

fn file(field: &str, message: FileMessage) -> Result<JobFile, Rejection> {
    let at = |part: &str| format!("{field}.{part}");
    if message.directory.0.unwrap_or(false) {
        if !message.content.is_absent() || message.executable.0.unwrap_or(false) {
            let text =
                format!("{field}: a folder has neither content nor executable: leave it out");
            return Err(Rejection::new(RejectionCode::WrongType, text));
        }
        // A folder may be written `d/`.
        let path = message.path.strip_suffix('/').unwrap_or(&message.path);
        let path = RelativePath::parse(path).map_err(|refusal| refusal.in_field(&at("path")))?;
        return Ok(JobFile {
            path,
            kind: JobFileKind::Directory,
        });
    }
    let path = RelativePath::parse(&message.path);
    let path = path.map_err(|refusal| refusal.in_field(&at("path")))?;
    let Some(content) = message.content.0 else {
        let text =
            format!("{field}: the field `content` is missing: add it, \"\" for an empty file");
        return Err(Rejection::new(RejectionCode::MissingField, text));
    };
    let content = decoded(&at("content"), content)?;
    let executable = message.executable.0.unwrap_or(false);
    Ok(JobFile {
        path,
        kind: JobFileKind::File {
            content,
            executable,
        },
    })
}

/// Refuses paths that are there twice, and files that another path goes through.
fn refuse_conflicts(files: &[JobFile]) -> Result<(), Rejection> {
    let mut kinds = BTreeMap::new();
    for file in files {
        if kinds.insert(file.path.as_str(), &file.kind).is_some() {
            return Err(conflict(file, "is there twice: leave one out"));
        }
    }
    for file in files {
        for (end, _) in file.path.as_str().match_indices('/') {
            let above = file.path.as_str().get(..end).unwrap_or_default();
            if matches!(kinds.get(above), Some(JobFileKind::File { .. })) {
                return Err(conflict(
                    file,
                    "goes through a path that is a file: rename one",
                ));
            }
        }
    }
    Ok(())
}

fn conflict(file: &JobFile, complaint: &str) -> Rejection {
    Rejection::about(RejectionCode::DuplicatePath, file.path.as_str(), complaint).in_field("files")
}

/// Whether `path` is `folder` or lies below it.
pub(super) fn is_at_or_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
