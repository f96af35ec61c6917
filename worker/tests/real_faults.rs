//! The fault loop: at each step of a job's story something dies, and the job still gets its one result.

#[path = "support/client.rs"]
#[expect(dead_code, reason = "shared with the tests of jobs")]
mod client;
#[path = "support/sender.rs"]
#[expect(dead_code, reason = "shared with the tests of cancels")]
mod sender;
#[path = "support/worker.rs"]
#[expect(dead_code, reason = "shared with the tests that need no broker")]
mod worker;
#[path = "real_faults/matrix.rs"]
mod matrix;
#[path = "real_faults/halts.rs"]
mod halts;
#[path = "real_faults/step.rs"]
mod step;
#[path = "real_faults/pair.rs"]
mod pair;
#[path = "real_faults/outcome.rs"]
mod outcome;

use client::Client;
use jailfleet_harness::{Broker, require};
use matrix::{Cell, Extent, Fault, Table};
use nix::sys::signal::Signal;
use outcome::{Found, collect};
use pair::Pair;
use sender::{Sender, now};
use serde_json::json;
use step::Halted;

/// Says `all` where the whole matrix shall be gone through.
const EXTENT: &str = "JAILFLEET_FAULTS";
const REPLY: &str = "jailfleet.reply.faults";

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_at_whatever_step_a_job_gets_one_visible_result_and_nothing_is_left() {
    require!(Broker);
    let extent = match std::env::var(EXTENT).as_deref() {
        Ok("all") => Extent::All,
        Ok(_) | Err(_) => Extent::Usual,
    };
    let mut broker = Broker::own().expect("a broker");
    let mut pair = Pair::start(&broker.uri("/")).await;
    let mut table = Table::default();
    for (number, cell) in extent.cells().into_iter().enumerate() {
        eprintln!("=== {cell}");
        let began = now();
        let found = go_through(&mut broker, &mut pair, cell, number).await;
        table.note(cell, found.results, now().0 - began.0);
    }
    // Before the workers' ends, whose logs are long.
    let table = table.render();
    pair.stop();
    println!("{table}");
}

/// One job that comes to a step, and what then happens.
async fn go_through(broker: &mut Broker, pair: &mut Pair, cell: Cell, number: usize) -> Found {
    let uri = broker.uri("/");
    pair.until_ready().await;
    let client = Client::new(&uri, REPLY).await;
    let sender = Sender::new(&uri, REPLY).await;
    // An argument that no other process has.
    let mark = cell.step.pause(number);
    let id = format!("{}-{number}", cell.step.as_str());
    let code = format!("sleep {mark}; echo {id}");
    let job = json!({ "v": 1, "id": id, "runtime": "bash", "code": code });
    let armed = pair.arm(cell.step, &id);
    sender.job(&job, now()).await;
    let halted = pair.reached(armed, &mark).await;
    // A broker that goes away takes them along.
    drop((client, sender));
    strike(broker, pair, cell.fault, halted);
    let mut client = Client::new(&uri, REPLY).await;
    let found = collect(&mut client, pair, broker, &id).await;
    let left = worker::processes_with(&mark);
    assert_eq!(
        left,
        Vec::<std::path::PathBuf>::new(),
        "{cell}: processes are left"
    );
    found
}

/// Lets it happen, lets the job go on from its step, and has a supervisor start again what has ended.
fn strike(broker: &mut Broker, pair: &mut Pair, fault: Fault, halted: Halted) {
    let victim = halted.pid();
    match fault {
        Fault::KillWorker => {
            pair.kill(victim);
            halted.ends();
        }
        Fault::KillWarden => {
            pair.kill_warden_of(victim);
            halted.goes_on();
            pair.ends_without_warden(victim);
        }
        Fault::FreezeWorker => {
            pair.signal(victim, Signal::SIGSTOP);
            pair.until_given_up(victim);
            halted.goes_on();
            pair.thaw_later(victim);
        }
        Fault::CutBroker => {
            pair.cut(victim);
            halted.goes_on();
        }
        Fault::RestartBroker => {
            tokio::task::block_in_place(|| broker.halt().expect("it stops"));
            halted.goes_on();
            tokio::task::block_in_place(|| broker.resume().expect("it starts"));
        }
        Fault::KillOther => {
            pair.kill_other_than(victim);
            halted.goes_on();
        }
    }
    pair.supervise();
}
