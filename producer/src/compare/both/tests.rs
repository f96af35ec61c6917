//! The loop without a broker and without a service.

use super::*;
use crate::input::{Defaults, Input};
use jailfleet::job::Lane;
use jailfleet::settings;
use jailfleet::wire::WireCaps;
use jailfleet_queue::amqp::producer::{ProducePlan, ProducerDoor};
use jailfleet_queue::topology::ReplyLife;
use std::io::Write as _;

const WITHIN: Duration = Duration::from_secs(30);

/// Those lines, all of them under way at one time, and a client whose broker is away.
fn settled(lines: &[String]) -> (Settled, Client) {
    let set = [("amqp.uri".to_owned(), "amqp://127.0.0.1:1".to_owned())];
    let settings = settings::producer_settings(None, &[], &set).expect("good settings");
    let plan = ProducePlan {
        reply: "compare".to_owned(),
        life: ReplyLife::Passing,
        pools: vec![settings.producer.pool.clone()],
        prefetch: settings.producer.prefetch,
    };
    let door = ProducerDoor::open(&settings.amqp, &plan).expect("a door");
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    for line in lines {
        writeln!(file, "{line}").expect("written");
    }
    let defaults = Defaults {
        pool: settings.producer.pool.clone(),
        lane: Lane::Bulk,
        batch: None,
        caps: WireCaps::default(),
    };
    let settled = Settled {
        input: Input::open(file.path(), defaults).expect("an input"),
        service: Service::parse("http://127.0.0.1:1").expect("an address"),
        within: WITHIN,
        answer_bytes: 1000,
        parallel: lines.len(),
        show: 0,
        json: false,
    };
    assert!(settled.input.bad.is_empty(), "{:?}", settled.input.bad);
    (settled, Client::behind(door, &settings))
}

fn line(more: &str) -> String {
    format!("{{\"v\":1,\"runtime\":\"python\",\"code\":\"\",\"globals\":\"{{}}\"{more}}}")
}

fn ran() -> Side {
    Side::of_service(b"{\"globals_dict\": {}}")
}

fn nothing() -> Side {
    Side::Nothing("silence".to_owned())
}

#[tokio::test]
async fn no_job_is_started_after_the_time_in_which_somebody_waits_for_it() {
    let soon = ",\"deadline\":\"2020-01-01T00:00:00Z\"";
    let far = ",\"deadline\":\"2999-01-01T00:00:00Z\"";
    let (settled, client) = settled(&[line(""), line(soon), line(far)]);
    let mut both = Both::new(&settled);
    let before = both.clock.epoch_ms().0;
    both.send_more(&client).expect("sent");
    let after = both.clock.epoch_ms().0;
    let within = u64::try_from(WITHIN.as_millis()).expect("a small number");
    let latest = before + within..=after + within;
    assert_eq!(both.pairs.len(), 3);
    for pair in both.pairs.values() {
        let deadline = pair.job.deadline.expect("each has one").0;
        if pair.line == 2 {
            assert_eq!(deadline, 1_577_836_800_000, "its own comes first");
        } else {
            assert!(latest.contains(&deadline), "{} {deadline}", pair.line);
        }
    }
}

#[tokio::test]
async fn twenty_silences_in_a_row_of_either_side_end_it_and_an_answer_of_the_same_side_begins_anew()
{
    let lines = vec![line(""); 64];
    for party in [Party::Codejail, Party::Jailfleet] {
        let (settled, client) = settled(&lines);
        let mut both = Both::new(&settled);
        both.send_more(&client).expect("sent");
        let mut numbers: Vec<usize> = both.pairs.keys().copied().collect();
        let mut answer = |both: &mut Both<'_>, codejail, jailfleet| {
            let number = numbers.pop().expect("one more job");
            both.hear(Event::Codejail(number, codejail)).expect("heard");
            both.jailfleet(number, jailfleet, None).expect("heard");
        };
        for silences in [19, 20] {
            assert_eq!(both.silent(), None, "{party:?}");
            for _ in 0..silences {
                match party {
                    Party::Codejail => answer(&mut both, nothing(), ran()),
                    Party::Jailfleet => answer(&mut both, ran(), nothing()),
                }
            }
            if silences == 19 {
                answer(&mut both, ran(), ran());
            }
        }
        assert_eq!(both.silent(), Some(party));
    }
}
