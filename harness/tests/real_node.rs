//! The harness's own promise: a node that others can share, and of which nothing stays.

use jailfleet_harness::{Broker, require};
use std::net::TcpStream;

/// `host:port` of an AMQP URI without a vhost.
fn address(uri: &str) -> String {
    uri.rsplit_once('@')
        .expect("a URI with a user")
        .1
        .to_owned()
}

#[test]
fn a_node_is_shared_by_its_environment_and_leaves_nothing_behind() {
    require!(Broker);
    let broker = Broker::own().expect("a broker");
    let environment = broker.environment();
    let value = |name: &str| {
        let found = environment.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.clone())
    };
    let guest = Broker::join(value).expect("joins");
    {
        let (first, second) = (guest.vhost().expect("made"), guest.vhost().expect("made"));
        assert_ne!(first.name(), second.name());
        let vhosts = broker.ctl(&["list_vhosts", "name"]).expect("listed");
        assert!(
            vhosts.contains(first.name()) && vhosts.contains(second.name()),
            "{vhosts}"
        );
    }
    let vhosts = broker.ctl(&["list_vhosts", "name"]).expect("listed");
    assert!(!vhosts.contains("test-"), "{vhosts}");
    assert_eq!(guest.queues().expect("listed"), [""; 0]);
    drop(guest);

    let amqp = address(&value("JAILFLEET_TEST_AMQP").expect("there"));
    let epmd = value("JAILFLEET_TEST_AMQP_EPMD_PORT").expect("there");
    let folder = value("JAILFLEET_TEST_AMQP_FOLDER").expect("there");
    TcpStream::connect(&amqp).expect("a guest does not stop the node");
    drop(broker);
    TcpStream::connect(&amqp).expect_err("the node is gone");
    TcpStream::connect(format!("127.0.0.1:{epmd}")).expect_err("its epmd is gone");
    assert!(
        !std::path::Path::new(&folder).exists(),
        "its folder is gone"
    );
}
