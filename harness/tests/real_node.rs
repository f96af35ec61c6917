//! The harness's own promise: a node that others can share, and of which nothing stays.

use jailfleet_harness::{Broker, poll_until, require};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

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
    assert!(!Path::new(&folder).exists(), "its folder is gone");
}

/// Set in the process that the test below kills.
const TO_BE_KILLED: &str = "JAILFLEET_NODE_TO_BE_KILLED";

/// Starts a node, tells its address and its folder, and waits to be killed.
fn be_killed() {
    let broker = Broker::own().expect("a broker");
    let environment = broker.environment();
    let value = |name: &str| {
        let found = environment.iter().find(|(key, _)| *key == name);
        &found.expect("there").1
    };
    let amqp = address(value("JAILFLEET_TEST_AMQP"));
    eprintln!("node {amqp} {}", value("JAILFLEET_TEST_AMQP_FOLDER"));
    let ended = std::io::stdin().read_to_end(&mut Vec::new());
    panic!("nobody killed it: {ended:?}");
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "this test is the program that it starts"
)]
fn an_owner_that_is_killed_leaves_no_node_and_no_folder() {
    require!(Broker);
    if std::env::var_os(TO_BE_KILLED).is_some() {
        return be_killed();
    }
    let name = "an_owner_that_is_killed_leaves_no_node_and_no_folder";
    let mut owner = std::process::Command::new(std::env::current_exe().expect("we run"))
        .args(["--exact", "--nocapture", name])
        .env(TO_BE_KILLED, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(owner.stderr.take().expect("a pipe")).lines();
    let told = lines.find_map(|line| Some(line.ok()?.strip_prefix("node ")?.to_owned()));
    let told = told.expect("a node");
    let (amqp, folder) = told.split_once(' ').expect("two words");
    TcpStream::connect(amqp).expect("the node is up");
    assert!(Path::new(folder).exists(), "it has a folder");

    // As nextest does at its time limit, and a terminal with another signal.
    let pid = i32::try_from(owner.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a pid"), Signal::TERM).expect("a signal");
    let status = owner.wait().expect("its end");
    assert!(!status.success(), "it ended by itself: {status}");
    // The folder is what goes last.
    poll_until("the folder gone", Duration::from_secs(40), || {
        Ok(!Path::new(folder).exists())
    })
    .expect("a watcher");
    TcpStream::connect(amqp).expect_err("the node is gone");
    let left = processes_with(&format!("JAILFLEET_WATCHED={folder}"));
    assert!(left.is_empty(), "processes are left: {left:?}");
}

/// Those in whose environment this stands.
fn processes_with(mark: &str) -> Vec<String> {
    let environ = |path: &Path| std::fs::read(path.join("environ")).unwrap_or_default();
    std::fs::read_dir("/proc")
        .expect("it is mounted")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            environ(path)
                .split(|byte| *byte == 0)
                .any(|line| line == mark.as_bytes())
        })
        .map(|path| path.display().to_string())
        .collect()
}
