//! What is told while confirms take long, with no broker anywhere.

use super::*;
use std::future::{pending, ready};
use std::io;
use std::sync::Mutex;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::subscriber::{DefaultGuard, set_default};

/// A board of the publishing role, which is up, and what others see of it.
fn board() -> (Board, watch::Receiver<DoorState>) {
    let (state, seen) = watch::channel(DoorState::default());
    let board = Board {
        role: Role::Publish,
        state,
        counters: Arc::default(),
    };
    board.up();
    (board, seen)
}

fn alarm(board: &Board) {
    let on = Event::ConnectionBlocked("low on memory".into());
    board.event(Some(on)).expect("no end of the session");
}

/// A log that can be read.
#[derive(Default)]
struct Lines(Mutex<Vec<u8>>);

impl io::Write for &Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics with it").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged from now on by this thread.
fn log() -> (Arc<Lines>, DefaultGuard) {
    let lines = Arc::new(Lines::default());
    let log = tracing_subscriber::fmt().with_writer(Arc::clone(&lines));
    (lines, set_default(log.finish()))
}

/// How often whoever reads the log is told that confirms take long.
fn told(lines: &Lines) -> usize {
    let lines = lines.0.lock().expect("nobody panics with it");
    let text = String::from_utf8_lossy(&lines);
    text.matches("the broker takes longer than a second to answer")
        .count()
}

/// Waits longer than a broker may be silent for confirms that do not come.
async fn wait_in_vain(board: &Board) {
    let never = board.confirmed(pending::<Result<(), ()>>());
    let waited = timeout(SLOW * 3 / 2, never).await;
    assert!(waited.is_err(), "nothing was confirmed");
}

#[tokio::test]
async fn a_silent_broker_counts_as_blocked_until_it_confirms() {
    let (lines, _guard) = log();
    let (board, seen) = board();
    let (confirm, confirmed) = oneshot::channel();
    let story = async {
        sleep(SLOW * 3 / 2).await;
        assert_eq!(told(&lines), 1);
        let silent = seen.borrow().clone();
        assert_eq!(silent.publish, Link::Blocked);
        assert_eq!(silent.trouble.as_deref(), Some(SILENT));
        confirm.send(()).expect("somebody waits");
    };
    let (confirmed, ()) = tokio::join!(board.confirmed(confirmed), story);
    assert_eq!(confirmed, Ok(()));
    assert_eq!(seen.borrow().publish, Link::Up);
    // At once is no reason to say anything.
    assert_eq!(board.confirmed(ready(Ok::<_, ()>(()))).await, Ok(()));
    assert_eq!(seen.borrow().publish, Link::Up);
    assert_eq!(told(&lines), 1);
}

#[tokio::test]
async fn the_brokers_own_word_of_an_alarm_stands_while_nothing_is_confirmed() {
    let (lines, _guard) = log();
    let (board, seen) = board();
    alarm(&board);
    let said = seen.borrow().clone();
    assert!(said.alarm && said.publish == Link::Blocked);
    wait_in_vain(&board).await;
    assert_eq!(*seen.borrow(), said);
    // Its own word was enough.
    assert_eq!(told(&lines), 0);
}

#[tokio::test]
async fn a_confirm_of_what_was_sent_before_an_alarm_does_not_end_it() {
    let (board, seen) = board();
    let (confirm, confirmed) = oneshot::channel();
    let story = async {
        sleep(SLOW * 3 / 2).await;
        alarm(&board);
        confirm.send(()).expect("somebody waits");
    };
    let (confirmed, ()) = tokio::join!(board.confirmed(confirmed), story);
    assert_eq!(confirmed, Ok(()));
    assert_eq!(seen.borrow().publish, Link::Blocked);
    let over = board.event(Some(Event::ConnectionUnblocked));
    over.expect("no end of the session");
    assert_eq!(seen.borrow().publish, Link::Up);
}
