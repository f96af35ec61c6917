//! Artifacts of a result become files of ours. Their names were made up by a program that nobody trusts:
//! they are vetted where the result is read, and written where nothing can be in their way.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jailfleet::artifact::{Artifact, LeftOut};

/// Why artifacts were not written.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactsError {
    /// There is something that could be taken for theirs, or be in their way.
    #[error("write artifacts to {}: it is there and not an empty folder; name another", .0.display())]
    Taken(PathBuf),
    /// The file system refused.
    #[error("write {path}")]
    Write {
        /// What.
        path: String,
        /// Why not.
        source: io::Error,
    },
}

fn refused(path: &Path) -> impl FnOnce(io::Error) -> ArtifactsError + '_ {
    // A name from a jail may hold anything, also what steers a terminal.
    move |source| ArtifactsError::Write {
        path: format!("{path:?}"),
        source,
    }
}

/// Whether artifacts can go to `folder`: it is not there, or empty.
///
/// # Errors
/// [`ArtifactsError::Taken`] where it is not so, or cannot be seen.
pub fn check(folder: &Path) -> Result<(), ArtifactsError> {
    match fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(ArtifactsError::Taken(folder.to_owned())),
    }
}

/// Writes them below `folder`, all or none: they are put together in a new folder beside it, in which no
/// link can lead anywhere, and which then takes its name.
///
/// # Errors
/// [`ArtifactsError`].
pub fn write(folder: &Path, artifacts: &[Artifact]) -> Result<(), ArtifactsError> {
    let above = match folder.parent() {
        Some(above) if above != Path::new("") => above,
        Some(_) | None => Path::new("."),
    };
    let aside = tempfile::Builder::new()
        .prefix(".jailfleet-artifacts-")
        .tempdir_in(above)
        .map_err(refused(above))?;
    let made = aside.path().join("made");
    fs::create_dir(&made).map_err(refused(&made))?;
    for artifact in artifacts {
        let path = made.join(artifact.path.as_str());
        let wrong = |source| refused(Path::new(artifact.path.as_str()))(source);
        if let Some(above) = path.parent() {
            fs::create_dir_all(above).map_err(wrong)?;
        }
        let mode = if artifact.executable { 0o777 } else { 0o666 };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
            .map_err(wrong)?;
        file.write_all(artifact.content.as_bytes()).map_err(wrong)?;
    }
    fs::rename(&made, folder).map_err(refused(folder))
}

/// What a person should know of one that was left out.
#[must_use]
pub fn remark(left_out: &LeftOut) -> String {
    let path = left_out.path.to_string();
    format!("artifact {path:?} left out: {}", left_out.reason.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jailfleet::artifact::{ArtifactPath, LeftOutReason};
    use jailfleet::blob::Blob;
    use jailfleet::job::RelativePath;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn artifact(path: &str, content: &str) -> Artifact {
        Artifact {
            path: RelativePath::parse(path).expect("a path"),
            content: Blob::new(content),
            executable: path.ends_with(".sh"),
        }
    }

    /// The paths below a folder, sorted.
    fn below(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                found.extend(below(&path));
            }
            found.push(path.display().to_string());
        }
        found.sort();
        found
    }

    #[test]
    fn files_come_with_their_folders_and_their_execute_bit_and_nothing_stays_beside_them() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("left");
        check(&folder).expect("it is not there");
        let artifacts = [artifact("out/a.txt", "a"), artifact("out/b/run.sh", "b")];
        write(&folder, &artifacts).expect("it is written");
        let read = |path: &str| fs::read_to_string(folder.join(path)).expect("a file");
        assert_eq!(
            (read("out/a.txt"), read("out/b/run.sh")),
            ("a".into(), "b".into())
        );
        let executable = |path: &str| {
            let mode = fs::metadata(folder.join(path))
                .expect("a file")
                .permissions()
                .mode();
            mode & 0o100 != 0
        };
        assert!(executable("out/b/run.sh") && !executable("out/a.txt"));
        assert_eq!(fs::read_dir(home.path()).expect("a folder").count(), 1);
        assert!(matches!(check(&folder), Err(ArtifactsError::Taken(_))));
        write(&folder, &artifacts).expect_err("it is not empty");
        fs::create_dir(home.path().join("empty")).expect("room");
        write(&home.path().join("empty"), &artifacts).expect("an empty folder is taken over");
    }

    #[test]
    fn what_meets_is_refused_whole_and_no_link_is_written_through() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("left");
        // Whoever has taken over a worker can say this; a jail cannot leave it.
        let meeting = [artifact("a", "1"), artifact("a/b", "2")];
        let error = write(&folder, &meeting)
            .expect_err("a is a file")
            .to_string();
        assert!(error.contains("\"a/b\""), "{error}");
        let twice = [artifact("a", "1"), artifact("a", "2")];
        write(&folder, &twice).expect_err("a is there");
        assert_eq!(below(home.path()), Vec::<String>::new());
        let elsewhere = tempfile::tempdir().expect("a folder");
        symlink(elsewhere.path(), &folder).expect("room");
        write(&folder, &[artifact("a", "1")]).expect_err("a link is no empty folder");
        assert_eq!(below(elsewhere.path()), Vec::<String>::new());
    }

    #[test]
    fn a_name_that_steers_a_terminal_is_told_escaped() {
        let left_out = LeftOut {
            path: ArtifactPath::parse("a\u{1b}[31m").expect("a path"),
            reason: LeftOutReason::Link,
        };
        assert_eq!(
            remark(&left_out),
            "artifact \"a\\u{1b}[31m\" left out: link"
        );
    }
}
