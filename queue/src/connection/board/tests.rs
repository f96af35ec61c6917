//! What is told while confirms take long, with no broker anywhere.

use super::*;
use std::future::{pending, ready};
use tokio::sync::oneshot;
use tokio::time::sleep;

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

/// Waits longer than a broker may be silent for confirms that do not come.
async fn wait_in_vain(board: &Board) {
    let never = board.confirmed(pending::<Result<(), ()>>());
    let waited = timeout(SLOW * 3 / 2, never).await;
    assert!(waited.is_err(), "nothing was confirmed");
}

#[tokio::test]
async fn a_silent_broker_counts_as_blocked_until_it_confirms() {
    let (board, seen) = board();
    let (confirm, confirmed) = oneshot::channel();
    let story = async {
        sleep(SLOW * 3 / 2).await;
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
}

#[tokio::test]
async fn the_brokers_own_word_of_an_alarm_stands_while_nothing_is_confirmed() {
    let (board, seen) = board();
    alarm(&board);
    let said = seen.borrow().clone();
    assert!(said.alarm && said.publish == Link::Blocked);
    wait_in_vain(&board).await;
    assert_eq!(*seen.borrow(), said);
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
