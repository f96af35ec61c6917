//! A session that does not come up, with no broker anywhere.

use super::*;
use jailfleet::settings::producer_settings;

#[tokio::test]
async fn files_that_hang_are_waited_for_no_longer_than_a_broker_that_does() {
    let settings = producer_settings(None, &[], &[]).expect("the defaults are good");
    let runtime = tokio::runtime::Handle::current();
    let dialer = Dialer::new(&settings.amqp, &runtime).expect("a URI");
    let dialer = Dialer {
        within: Duration::from_millis(20),
        ..dialer
    };
    // As if another role had been reading all the time.
    let reading = dialer.reader.clone().acquire_owned().await;
    let ended = timeout(Duration::from_secs(30), dialer.connect(Role::Reap)).await;
    let error = ended.expect("it ends").err().expect("nothing was read");
    assert_eq!(error.to_string(), "connect: no answer within 20ms");
    drop(reading);
}
