//! Bounded readers of a run's stdout and stderr, with one budget for both, and of a harness's answer.
//!
//! The program writes into pipes; what passes the budget is never kept, and the first byte beyond
//! it asks for the end of the run. A program that closes nothing and leaves nothing running cannot
//! hold a reader: its run's sweep closes every write end, and a deadline stands behind that.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio_util::sync::CancellationToken;

/// How much is read at once. A pipe holds 64 KiB; larger pieces would only cost memory.
const PIECE_BYTES: usize = 16 * 1024;

/// The bytes that stdout and stderr may still bring, together.
#[derive(Debug)]
pub struct OutputBudget {
    left: AtomicU64,
    passed: CancellationToken,
}

impl OutputBudget {
    /// A budget of `bytes`.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self {
            left: AtomicU64::new(bytes),
            passed: CancellationToken::new(),
        }
    }

    /// Takes up to `wanted` bytes from the budget and says how many it got.
    fn take(&self, wanted: usize) -> usize {
        let wanted_u64 = wanted as u64;
        let before = self
            .left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                Some(left.saturating_sub(wanted_u64))
            })
            .unwrap_or_else(|left| left);
        if before < wanted_u64 {
            self.passed.cancel();
        }
        usize::try_from(before).map_or(wanted, |before| before.min(wanted))
    }

    /// Resolves when a reader saw a byte beyond the budget.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn passed(&self) {
        self.passed.cancelled().await;
    }
}

/// What one stream brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// The bytes within the bound.
    pub bytes: Vec<u8>,
    /// Whether bytes beyond it were thrown away.
    pub truncated: bool,
}

/// Reads `pipe` to its end into `captured`, keeping what the budget allows.
///
/// # Errors
/// When the descriptor is not a pipe, or reading fails.
///
/// # Cancel safety
/// What was read until then stays in `captured`.
pub async fn capture(
    pipe: OwnedFd,
    budget: &OutputBudget,
    captured: &mut Captured,
) -> io::Result<()> {
    let mut pipe = Receiver::from_owned_fd(pipe)?;
    loop {
        let start = captured.bytes.len();
        captured.bytes.reserve(PIECE_BYTES);
        let read = (&mut pipe)
            .take(PIECE_BYTES as u64)
            .read_buf(&mut captured.bytes)
            .await?;
        if read == 0 {
            captured.bytes.shrink_to_fit();
            return Ok(());
        }
        let granted = budget.take(read);
        if granted < read {
            captured.bytes.truncate(start + granted);
            captured.truncated = true;
        }
    }
}

/// Reads `pipe` to its end, or until more than `most` bytes came; then it is closed, and whoever still
/// writes is told so by the kernel. Unlike a program's output, more than enough of this ends no run.
///
/// # Errors
/// When the descriptor is not a pipe, or reading fails.
///
/// # Cancel safety
/// What was read until then stays in `captured`.
pub async fn capture_at_most(
    pipe: OwnedFd,
    most: usize,
    captured: &mut Captured,
) -> io::Result<()> {
    let mut pipe = Receiver::from_owned_fd(pipe)?;
    loop {
        captured.bytes.reserve(PIECE_BYTES);
        let mut piece = (&mut pipe).take(PIECE_BYTES as u64);
        if piece.read_buf(&mut captured.bytes).await? == 0 {
            return Ok(());
        }
        if captured.bytes.len() > most {
            captured.bytes.truncate(most);
            captured.truncated = true;
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn pipe() -> (OwnedFd, io::PipeWriter) {
        let (read, write) = io::pipe().expect("a pipe can be made");
        (OwnedFd::from(read), write)
    }

    #[tokio::test]
    async fn what_fits_the_budget_is_kept_whole() {
        let (budget, mut captured) = (OutputBudget::new(5), Captured::default());
        let (read, mut write) = pipe();
        write.write_all(b"hello").expect("the pipe takes it");
        drop(write);
        capture(read, &budget, &mut captured)
            .await
            .expect("readable");
        assert_eq!(
            captured,
            Captured {
                bytes: b"hello".to_vec(),
                truncated: false
            }
        );
        assert!(!budget.passed.is_cancelled());
    }

    #[tokio::test]
    async fn the_first_byte_beyond_the_budget_asks_for_the_end_and_is_not_kept() {
        let (budget, mut captured) = (OutputBudget::new(5), Captured::default());
        let (read, mut write) = pipe();
        write.write_all(b"hello!").expect("the pipe takes it");
        let reader = capture(read, &budget, &mut captured);
        let (read, ()) = tokio::join!(reader, async {
            budget.passed().await;
            drop(write);
        });
        read.expect("readable");
        assert_eq!(
            captured,
            Captured {
                bytes: b"hello".to_vec(),
                truncated: true
            }
        );
    }

    #[tokio::test]
    async fn both_streams_share_one_budget() {
        let budget = OutputBudget::new(8);
        let (mut out, mut err) = (Captured::default(), Captured::default());
        let (out_read, mut out_write) = pipe();
        let (err_read, mut err_write) = pipe();
        out_write.write_all(b"123456").expect("the pipe takes it");
        err_write.write_all(b"123456").expect("the pipe takes it");
        drop((out_write, err_write));
        tokio::try_join!(
            capture(out_read, &budget, &mut out),
            capture(err_read, &budget, &mut err)
        )
        .expect("readable");
        assert_eq!(out.bytes.len() + err.bytes.len(), 8);
        assert!(out.truncated || err.truncated);
    }

    #[tokio::test]
    async fn what_has_a_bound_of_its_own_is_read_up_to_it_and_then_nobody_listens() {
        let (read, mut write) = pipe();
        write.write_all(b"1234").expect("the pipe takes it");
        drop(write);
        let mut captured = Captured::default();
        capture_at_most(read, 4, &mut captured)
            .await
            .expect("readable");
        assert!(captured.bytes == b"1234" && !captured.truncated);

        let (read, mut write) = pipe();
        write.write_all(b"12345").expect("the pipe takes it");
        let mut captured = Captured::default();
        capture_at_most(read, 4, &mut captured)
            .await
            .expect("readable");
        assert!(captured.truncated && captured.bytes == b"1234");
        let refused = write.write_all(b"6").expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_file_in_place_of_a_pipe_is_an_error() {
        let file = tempfile::tempfile().expect("a temporary file");
        let mut captured = Captured::default();
        assert!(
            capture(file.into(), &OutputBudget::new(1), &mut captured)
                .await
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn a_budget_never_grants_more_than_it_has(
            budget in 0..10_000_u64, pieces in proptest::collection::vec(0..5_000_usize, 0..20)
        ) {
            let shared = OutputBudget::new(budget);
            let wanted: usize = pieces.iter().sum();
            let granted: usize = pieces.iter().map(|piece| shared.take(*piece)).sum();
            prop_assert_eq!(granted as u64, budget.min(wanted as u64));
            prop_assert_eq!(shared.passed.is_cancelled(), wanted as u64 > budget);
        }
    }
}
