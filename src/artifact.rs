//! Artifacts: files that a run leaves behind and that its requester wants. The program's word, never
//! evidence.

use crate::blob::Blob;
use crate::job::RelativePath;
use crate::rejection::Rejection;

/// How deep the folders of a tree may be nested below the one that was asked for.
pub const MOST_LEVELS: usize = 32;

/// What a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ArtifactKind {
    /// One file.
    File,
    /// All files of a folder's tree: the path ends in a slash.
    Folder,
}

/// A path as it is asked for or answered: relative to the working directory, a folder's with a slash
/// at its end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArtifactPath {
    path: RelativePath,
    kind: ArtifactKind,
}

impl ArtifactPath {
    /// Reads a path, a folder's with its slash.
    ///
    /// # Errors
    /// [`crate::rejection::RejectionCode::BadPath`] as for a file that a job brings.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        let (plain, kind) = match text.strip_suffix('/') {
            Some(plain) => (plain, ArtifactKind::Folder),
            None => (text, ArtifactKind::File),
        };
        let path = RelativePath::parse(plain)?;
        Ok(Self { path, kind })
    }

    /// The path without a slash at its end.
    #[must_use]
    pub const fn path(&self) -> &RelativePath {
        &self.path
    }

    /// What it asks for.
    #[must_use]
    pub const fn kind(&self) -> ArtifactKind {
        self.kind
    }

    /// Whether one of the two is the other, or lies below it.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let below = |path: &str, above: &str| {
            path.strip_prefix(above)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let (one, other) = (self.path.as_str(), other.path.as_str());
        below(one, other) || below(other, one)
    }
}

impl From<RelativePath> for ArtifactPath {
    fn from(path: RelativePath) -> Self {
        let kind = ArtifactKind::File;
        Self { path, kind }
    }
}

impl std::fmt::Display for ArtifactPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.path.as_str())?;
        match self.kind {
            ArtifactKind::File => Ok(()),
            ArtifactKind::Folder => f.write_str("/"),
        }
    }
}

/// A file that a run left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Where it lay, relative to the working directory.
    pub path: RelativePath,
    /// Its bytes.
    pub content: Blob,
    /// Whether its owner might execute it.
    pub executable: bool,
}

/// Something that was asked for, or met in a folder that was asked for, and is not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// What; where its name cannot be told, the folder that it lies in.
    pub path: ArtifactPath,
    /// Why.
    pub reason: LeftOutReason,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $number:literal;)*) => {
        /// Why something is not delivered. The text of each reason is part of the wire format.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum LeftOutReason {
            $($(#[$doc])* $name,)*
            /// A reason that only a newer worker knows. Nobody gives it.
            Other,
        }

        impl LeftOutReason {
            /// Every reason that is given, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The reason as it travels.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Other => "other",
                }
            }

            /// Its number on the way out of a jail.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self {
                    $(Self::$name => $number,)*
                    Self::Other => 0,
                }
            }
        }
    };
}

reasons! {
    /// There is nothing of that name.
    Missing = "missing", 1;
    /// It is a symbolic link, or the path goes through one.
    Link = "link", 2;
    /// A folder was asked for as a file, or it is a pipe, a socket or a device.
    NotARegularFile = "not_a_regular_file", 3;
    /// A file was asked for as a folder.
    NotAFolder = "not_a_folder", 4;
    /// The file has other names too (hard links).
    SeveralNames = "several_names", 5;
    /// Not even the program's own user may read it.
    Unreadable = "unreadable", 6;
    /// It has more bytes than one artifact may have, or than all together have left.
    TooLarge = "too_large", 7;
    /// The folder holds more than is looked at.
    TooMany = "too_many", 8;
    /// The folder lies too deep.
    TooDeep = "too_deep", 9;
    /// Something in the folder has a name that is not UTF-8, or too long a path.
    BadName = "bad_name", 10;
    /// The folder holds no file.
    Empty = "empty", 11;
    /// No program ran.
    NoRun = "no_run", 12;
    /// It could not be brought out: trouble of ours, or too slow.
    Lost = "lost", 13;
    /// The result would have been too large with it.
    ResultTooLarge = "result_too_large", 14;
}

impl LeftOutReason {
    /// The reason that `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.as_str() == text)
    }

    /// The reason of that number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.number() == number)
    }
}

/// The most that artifacts of one job may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArtifactCaps {
    /// Files and folders that are looked at in all folders that were asked for, together.
    pub entries: usize,
    /// Bytes of one file.
    pub file_bytes: usize,
    /// Bytes of all files together.
    pub all_bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::{ArtifactKind, ArtifactPath, LeftOutReason};

    fn path(text: &str) -> ArtifactPath {
        ArtifactPath::parse(text).expect(text)
    }

    #[test]
    fn a_slash_at_the_end_asks_for_a_folder_and_is_told_again() {
        let folder = path("out/plots/");
        assert_eq!(
            (folder.kind(), folder.path().as_str(), folder.to_string()),
            (ArtifactKind::Folder, "out/plots", "out/plots/".to_owned())
        );
        let file = path("report.json");
        assert_eq!(
            (file.kind(), file.to_string()),
            (ArtifactKind::File, "report.json".to_owned())
        );
        for bad in [
            "",
            "/",
            "//",
            "a//",
            "../x",
            "/etc/passwd",
            "a/./b",
            ".",
            "./",
            "a\0b",
        ] {
            ArtifactPath::parse(bad).expect_err(bad);
        }
    }

    #[test]
    fn paths_meet_where_one_is_at_or_below_the_other() {
        for (one, other) in [("a", "a"), ("a", "a/"), ("a/", "a/b"), ("a/b/c", "a")] {
            assert!(path(one).meets(&path(other)), "{one} {other}");
            assert!(path(other).meets(&path(one)), "{one} {other}");
        }
        for (one, other) in [("a", "ab"), ("a/", "ab/"), ("a/b", "a/c"), ("a/bc", "a/b")] {
            assert!(!path(one).meets(&path(other)), "{one} {other}");
        }
    }

    #[test]
    fn each_reason_has_a_number_and_a_word_of_its_own() {
        for (place, reason) in LeftOutReason::ALL.iter().enumerate() {
            assert_eq!(usize::from(reason.number()), place + 1);
            assert_eq!(LeftOutReason::from_number(reason.number()), Some(*reason));
            assert_eq!(LeftOutReason::parse(reason.as_str()), Some(*reason));
        }
        assert_eq!(LeftOutReason::from_number(0), None);
        assert_eq!(LeftOutReason::parse("other"), None);
    }
}
