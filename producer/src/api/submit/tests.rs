//! What is planned for jobs that are known, half known and unknown.

use super::*;
use jailfleet::wire::DecodeHint;

const CONFIRM: Duration = Duration::from_secs(1);

fn job(id: &str, code: &str) -> Job {
    let body = format!(r#"{{"v":1,"id":"t:{id}","runtime":"python","code":"{code}"}}"#);
    let (hint, caps) = (DecodeHint::default(), WireCaps::default());
    wire::decode_job(body.as_bytes(), &hint, &caps).expect("a job")
}

fn noted(index: &mut Index, nonce: &str, jobs: &[Job]) {
    let jobs = jobs.iter().map(|job| Accepted {
        id: job.id.as_str().to_owned(),
        batch: None,
        content: hex(&Sha256::digest(wire::encode_job(job))),
        secret: String::new(),
        instead_of: None,
    });
    let note = Note::Accepted {
        nonce: nonce.to_owned(),
        at_ms: 1000,
        jobs: jobs.collect(),
    };
    index.note(0, note);
}

#[test]
fn what_is_known_is_not_sent_again_what_is_unknown_is_and_what_differs_refuses_all() {
    let mut index = Index::new(10);
    noted(&mut index, "n", &[job("a", "1"), job("b", "1")]);
    let sent = Note::Sent {
        nonce: "n".to_owned(),
        ids: vec!["t:b".to_owned()],
    };
    index.note(1, sent);
    let jobs = vec![job("a", "1"), job("b", "1"), job("c", "1")];
    let planned = plan(&index, jobs, 1500, CONFIRM).expect("a plan");
    let told: Vec<_> = planned.receipts.iter().map(|(_, state)| *state).collect();
    assert_eq!(told, ["accepted", "queued", "queued"]);
    assert_eq!(ids(&planned.new), ["t:c"]);
    assert_eq!(planned.new[0].index, 2);
    let other = vec![job("c", "1"), job("a", "2")];
    let refused = plan(&index, other, 1500, CONFIRM).expect_err("a conflict");
    assert_eq!((refused.status.as_u16(), refused.index), (409, Some(1)));
}

#[test]
fn a_job_that_was_never_said_to_be_sent_is_sent_after_a_while() {
    let mut index = Index::new(10);
    noted(&mut index, "n", &[job("a", "1")]);
    let soon = plan(&index, vec![job("a", "1")], 3000, CONFIRM);
    assert!(soon.expect("a plan").new.is_empty());
    let late = plan(&index, vec![job("a", "1")], 3001, CONFIRM);
    let [item] = &late.expect("a plan").new[..] else {
        panic!("it is sent");
    };
    assert_eq!(item.instead_of.as_deref(), Some("n"));
}
