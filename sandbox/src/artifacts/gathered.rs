//! Reading the stream that comes out of a jail. Whatever is in it, what is told of it lies within the
//! bounds, under names that the job asked for, and each name once.

use super::{HEAD_BYTES, STREAM_MAGIC, tag};
use jailfleet::artifact::{
    Artifact, ArtifactCaps, ArtifactKind, ArtifactPath, LeftOut, LeftOutReason,
};
use jailfleet::blob::Blob;
use jailfleet::job::RelativePath;
use std::collections::BTreeSet;

/// What came of what was wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Gathered {
    /// The files.
    pub artifacts: Vec<Artifact>,
    /// What did not come, and why.
    pub left_out: Vec<LeftOut>,
}

impl Gathered {
    /// Nothing came of all that was wanted, for this reason.
    #[must_use]
    pub fn nothing(wanted: &[ArtifactPath], reason: LeftOutReason) -> Self {
        let left_out = wanted.iter().map(|path| LeftOut {
            path: path.clone(),
            reason,
        });
        Self {
            artifacts: Vec::new(),
            left_out: left_out.collect(),
        }
    }
}

/// Reads a stream as far as it makes sense. What it leaves without a word is [`LeftOutReason::Lost`].
#[must_use]
pub fn read(bytes: &[u8], wanted: &[ArtifactPath], caps: &ArtifactCaps) -> Gathered {
    let mut reading = Reading {
        wanted,
        caps,
        item: 0,
        answered: false,
        bytes_left: caps.all_bytes,
        told: BTreeSet::new(),
        gathered: Gathered::default(),
    };
    let mut rest = bytes.strip_prefix(&STREAM_MAGIC);
    while let Some(bytes) = rest {
        rest = match reading.piece(bytes) {
            Read::Piece(rest) => Some(rest),
            Read::End => return reading.gathered,
            Read::Broken => None,
        };
    }
    reading.lose_the_rest();
    reading.gathered
}

struct Reading<'a> {
    wanted: &'a [ArtifactPath],
    caps: &'a ArtifactCaps,
    /// The path that is answered at the moment.
    item: usize,
    /// Whether it was answered in full, as far as can be seen: a file needs one piece.
    answered: bool,
    bytes_left: usize,
    told: BTreeSet<String>,
    gathered: Gathered,
}

/// What the next bytes were.
enum Read<'b> {
    /// A piece; what follows it.
    Piece(&'b [u8]),
    /// The end of a whole stream.
    End,
    /// Nothing that a collector of ours writes, or not all of it.
    Broken,
}

impl Reading<'_> {
    fn piece<'b>(&mut self, bytes: &'b [u8]) -> Read<'b> {
        match bytes {
            [tag::END] if self.all_are_answered() => return Read::End,
            _ => {}
        }
        let piece = split(bytes).and_then(|(piece, rest)| self.take(&piece).map(|()| rest));
        piece.map_or(Read::Broken, Read::Piece)
    }

    /// Books a piece; `None` where no collector of ours would have sent it.
    fn take(&mut self, piece: &Piece<'_>) -> Option<()> {
        self.turn_to(piece.item)?;
        let wanted = self.wanted.get(piece.item)?;
        let path = path_of(wanted, piece.path)?;
        if !self.told.insert(path.to_string()) && piece.what != What::LeftOut {
            return None;
        }
        match piece.what {
            What::File | What::Executable => {
                let room = self.caps.file_bytes.min(self.bytes_left);
                if path.kind() == ArtifactKind::Folder || piece.content.len() > room {
                    return None;
                }
                self.bytes_left = self.bytes_left.saturating_sub(piece.content.len());
                self.gathered.artifacts.push(Artifact {
                    path: path.path().clone(),
                    content: Blob::new(piece.content),
                    executable: piece.what == What::Executable,
                });
            }
            What::LeftOut => {
                let reason = LeftOutReason::from_number(piece.reason)?;
                self.gathered.left_out.push(LeftOut { path, reason });
            }
        }
        let pieces = self.gathered.artifacts.len() + self.gathered.left_out.len();
        let most = self
            .caps
            .entries
            .saturating_add(self.wanted.len().saturating_mul(2));
        if pieces > most {
            return None;
        }
        self.answered = true;
        Some(())
    }

    /// Pieces come in the order of what is wanted, at least one for each, and for a file one alone.
    fn turn_to(&mut self, item: usize) -> Option<()> {
        if item == self.item {
            let one_alone = self
                .wanted
                .get(item)
                .is_some_and(|path| path.kind() == ArtifactKind::File);
            return (!self.answered || !one_alone).then_some(());
        }
        if item == self.item.checked_add(1)? && self.answered {
            (self.item, self.answered) = (item, false);
            return Some(());
        }
        None
    }

    fn all_are_answered(&self) -> bool {
        let last = self.item.saturating_add(1) == self.wanted.len();
        self.wanted.is_empty() || (last && self.answered)
    }

    /// The stream ended too early, or went astray: the folder in hand and whatever follows is lost.
    fn lose_the_rest(&mut self) {
        let in_hand = self.wanted.get(self.item).map(ArtifactPath::kind);
        let whole = self.answered && in_hand == Some(ArtifactKind::File);
        let first = self.item.saturating_add(usize::from(whole));
        let lost = self.wanted.iter().skip(first);
        let lost = Gathered::nothing(
            lost.cloned().collect::<Vec<_>>().as_slice(),
            LeftOutReason::Lost,
        );
        self.gathered.left_out.extend(lost.left_out);
    }
}

/// The path of a piece: what was wanted, or something below it. Names in a folder are a stranger's.
fn path_of(wanted: &ArtifactPath, below: &[u8]) -> Option<ArtifactPath> {
    if below.is_empty() {
        return Some(wanted.clone());
    }
    match wanted.kind() {
        ArtifactKind::File => None,
        ArtifactKind::Folder => {
            let below = std::str::from_utf8(below).ok()?;
            // By itself it must not lead anywhere either.
            RelativePath::parse(below.strip_suffix('/').unwrap_or(below)).ok()?;
            ArtifactPath::parse(&format!("{wanted}{below}")).ok()
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    File,
    Executable,
    LeftOut,
}

struct Piece<'b> {
    what: What,
    item: usize,
    path: &'b [u8],
    content: &'b [u8],
    reason: u8,
}

/// The first piece, and what follows it.
fn split(bytes: &[u8]) -> Option<(Piece<'_>, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let [tag, numbers @ ..] = head;
    let (item, numbers) = numbers.split_first_chunk::<4>()?;
    let (path_bytes, numbers) = numbers.split_first_chunk::<4>()?;
    let (content, _) = numbers.split_first_chunk::<8>()?;
    let content = u64::from_le_bytes(*content);
    let (path, rest) =
        rest.split_at_checked(usize::try_from(u32::from_le_bytes(*path_bytes)).ok()?)?;
    let (what, content_bytes, reason) = match *tag {
        tag::FILE => (What::File, usize::try_from(content).ok()?, 0),
        tag::EXECUTABLE => (What::Executable, usize::try_from(content).ok()?, 0),
        tag::LEFT_OUT => (What::LeftOut, 0, u8::try_from(content).ok()?),
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(content_bytes)?;
    let piece = Piece {
        what,
        item: usize::try_from(u32::from_le_bytes(*item)).ok()?,
        path,
        content,
        reason,
    };
    Some((piece, rest))
}
