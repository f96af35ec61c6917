//! What people see of a batch while it runs, and what the broker sees of its producer.

#[expect(dead_code, reason = "shared with the tests that kill a producer")]
mod support;

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use jailfleet::job::Job;
use jailfleet::outcome::Outcome;
use jailfleet_harness::{Broker, require};
use nix::pty::{Winsize, openpty};
use support::{Answers, Files, LONG, Responder, result};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr};
use tokio::sync::mpsc;
use tokio::time::timeout;

const JOBS: usize = 40;

fn answer(job: &Job) -> Answers {
    vec![(result(job, Outcome::Exited, job.id.as_str()), None)]
}

fn input() -> Files {
    let job = |number| {
        format!("{{\"v\":1,\"id\":\"job-{number}\",\"runtime\":\"python\",\"code\":\"1\"}}")
    };
    Files::new(&(0..JOBS).map(job).collect::<Vec<_>>())
}

/// A batch, and who takes its jobs and keeps the answers back until told otherwise.
async fn held_batch(uri: &str) -> (Files, Responder) {
    let responder = Responder::start(uri, 64, answer).await;
    responder.hold_answers(true);
    (input(), responder)
}

/// A terminal of 100 columns: what is written to it, and the end that a program is given.
struct Terminal {
    shown: mpsc::Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn open() -> (Self, OwnedFd) {
        let size = Winsize {
            ws_row: 24,
            ws_col: 100,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pair = openpty(Some(&size), None).expect("a terminal");
        let mut screen = File::from(pair.master);
        let (sender, shown) = mpsc::channel(10_000);
        // Blocking reads need a thread of their own; it ends with the last holder of the other end.
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // The kernel says EIO when nobody has the other end any more.
            while let Ok(count @ 1..) = screen.read(&mut piece) {
                let piece = piece.get(..count).expect("so many were read");
                if sender.blocking_send(piece.to_vec()).is_err() {
                    return;
                }
            }
        });
        let seen = String::new();
        (Self { shown, seen }, pair.slave)
    }

    /// Waits until `words` have been shown; `None` until nobody can show anything any more.
    async fn shows(&mut self, words: Option<&str>) {
        while words.is_none_or(|words| !self.seen.contains(words)) {
            let piece = timeout(LONG, self.shown.recv()).await.expect("in time");
            match (piece, words) {
                (Some(piece), _) => self.seen.push_str(&String::from_utf8_lossy(&piece)),
                (None, None) => return,
                (None, Some(words)) => panic!("{words:?} was never shown: {:?}", self.seen),
            }
        }
    }
}

/// The next line of a program's standard error.
async fn next_line(from: &mut BufReader<ChildStderr>) -> String {
    let mut line = String::new();
    let read = timeout(LONG, from.read_line(&mut line)).await;
    read.expect("in time").expect("text");
    line
}

async fn ends(child: Child) -> (Option<i32>, String) {
    let output = timeout(LONG, child.wait_with_output()).await;
    let output = output.expect("in time").expect("it ends");
    let stdout = String::from_utf8(output.stdout).expect("text");
    (output.status.code(), stdout)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_terminal_a_bar_shows_how_far_a_batch_is_and_stays() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let (files, mut responder) = held_batch(&vhost.uri()).await;
    let (mut terminal, end) = Terminal::open();
    let mut command = files.bulk(&vhost.uri(), &["--json"]);
    command
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stderr(Stdio::from(end));
    let child = command.spawn().expect("it starts");
    drop(command); // It holds the terminal's other end.

    terminal.shows(Some("0/40 results")).await;
    responder.saw(JOBS).await;
    responder.hold_answers(false);
    terminal.shows(Some("40/40 results")).await;
    let (code, stdout) = ends(child).await;
    terminal.shows(None).await;
    assert_eq!(code, Some(0), "{}", terminal.seen);

    let bar = "━".repeat(30);
    assert!(terminal.seen.contains(&bar), "{:?}", terminal.seen);
    // It is drawn over, and its last state stays in a line of its own.
    assert!(terminal.seen.matches("/40 results").count() > 1);
    let last = terminal.seen.trim_end().rsplit(['\r', '\n']).next();
    let last = last.expect("there is always one");
    assert!(last.contains("40/40 results"), "{last:?}");
    assert!(terminal.seen.contains("\u{1b}["), "{:?}", terminal.seen);
    // Only standard error is for people here.
    let summary: serde_json::Value = serde_json::from_str(&stdout).expect("one object");
    assert_eq!(summary["results"], JOBS);
    responder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elsewhere_plain_lines_say_how_far_a_batch_is() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let (files, mut responder) = held_batch(&vhost.uri()).await;
    let mut child = files.bulk(&vhost.uri(), &[]).spawn().expect("it starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let first = next_line(&mut stderr).await;
    assert!(first.starts_with("0/40 results, 0.0/s"), "{first:?}");
    responder.saw(JOBS).await;
    responder.hold_answers(false);
    let mut last = first;
    loop {
        let line = next_line(&mut stderr).await;
        if line.is_empty() {
            break;
        }
        last = line;
    }
    assert!(last.starts_with("40/40 results, "), "{last:?}");
    let (code, stdout) = ends(child).await;
    assert_eq!(code, Some(0), "{stdout}");

    let files = input();
    let mut log = tempfile::tempfile().expect("a file");
    let mut command = files.bulk(&vhost.uri(), &[]);
    command.stderr(log.try_clone().expect("a second handle"));
    let (code, _) = ends(command.spawn().expect("it starts")).await;
    let mut said = String::new();
    log.rewind().expect("a plain file");
    log.read_to_string(&mut said).expect("text");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("40/40 results, "), "{said:?}");
    for odd in ["\u{1b}", "\r", "━"] {
        assert!(!said.contains(odd), "{odd:?} in {said:?}");
    }
    responder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_has_one_connection_for_jobs_and_one_for_results_whatever_it_sends() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let (files, mut responder) = held_batch(&vhost.uri()).await;
    let child = files.bulk(&vhost.uri(), &[]).spawn().expect("it starts");
    let pid = child.id().expect("it runs");
    responder.saw(JOBS).await;
    let mut names = broker.connections().expect("a list");
    names.retain(|name| name.ends_with(&format!(" {pid}")));
    names.sort();
    let expected = ["consume", "publish"].map(|role| format!("jailfleet {role} {pid}"));
    assert_eq!(names, expected);
    responder.hold_answers(false);
    assert_eq!(ends(child).await.0, Some(0));
    responder.stop().await;
}
