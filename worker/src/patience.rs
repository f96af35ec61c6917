//! How long an attempt waits for what it published. Pure but for the waiting.

use std::pin::pin;
use std::time::Duration;

use jailfleet_queue::{DoorState, Link};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::sleep;

/// Nobody confirmed it in time, although what is published got through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("see a message confirmed within {} ms of a connection that is up; see worker.publish_timeout_ms", .0.as_millis())]
pub(crate) struct TooLong(Duration);

/// What `publishing` comes to, if it does within so long a time without a break in which the connection is
/// up and takes messages. While it is away or blocked nothing can be confirmed, and giving up would only
/// run a job again whose result waits to go out. After a break the time runs anew.
pub(crate) async fn while_up<T>(
    publishing: impl Future<Output = T>,
    within: Duration,
    mut doors: watch::Receiver<DoorState>,
) -> Result<T, TooLong> {
    let mut publishing = pin!(publishing);
    loop {
        tokio::select! {
            done = &mut publishing => return Ok(done),
            // An error says that nobody tells of connections any more: then the time runs.
            _ = doors.wait_for(|state| state.publish == Link::Up) => {}
        }
        tokio::select! {
            done = &mut publishing => return Ok(done),
            Ok(_) = doors.wait_for(|state| state.publish != Link::Up) => {}
            () = sleep(within) => return Err(TooLong(within)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::sync::oneshot;

    const WITHIN: Duration = Duration::from_millis(100);

    fn door(publish: Link) -> DoorState {
        DoorState {
            publish,
            ..DoorState::default()
        }
    }

    #[tokio::test]
    async fn a_result_waits_for_as_long_as_the_broker_is_away_or_takes_nothing() {
        for link in [Link::Down, Link::Blocked] {
            let doors = watch::Sender::new(door(Link::Up));
            let (confirm, confirmed) = oneshot::channel();
            let story = async {
                doors.send_replace(door(link));
                sleep(WITHIN * 4).await;
                doors.send_replace(door(Link::Up));
                sleep(WITHIN / 4).await;
                confirm.send(7).expect("somebody waits still");
            };
            let waiting = while_up(confirmed, WITHIN, doors.subscribe());
            assert_eq!(tokio::join!(waiting, story).0, Ok(Ok(7)), "{link:?}");
        }
    }

    #[tokio::test]
    async fn a_result_that_nobody_confirms_over_a_good_connection_is_given_up() {
        let doors = watch::Sender::new(door(Link::Up));
        let never = || while_up(pending::<()>(), WITHIN, doors.subscribe());
        assert_eq!(never().await, Err(TooLong(WITHIN)));
        let waiting = never();
        drop(doors);
        let given_up = waiting.await;
        assert_eq!(given_up, Err(TooLong(WITHIN)), "nobody tells any more");
    }
}
