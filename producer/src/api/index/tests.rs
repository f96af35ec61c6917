//! The same messages in the same order make the same index, and only the right ones count.

use super::*;
use proptest::prelude::*;

const NOW: Moment = Duration::ZERO;

fn accepted(id: &str, content: &str) -> Accepted {
    Accepted {
        id: format!("t:{id}"),
        batch: Some("t:night".to_owned()),
        content: content.to_owned(),
        secret: format!("secret of {id}"),
        instead_of: None,
    }
}

fn accept(nonce: &str, at_ms: u64, jobs: Vec<Accepted>) -> Note {
    let nonce = nonce.to_owned();
    Note::Accepted { nonce, at_ms, jobs }
}

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| format!("t:{id}")).collect()
}

fn sent(nonce: &str, of: &[&str]) -> Note {
    Note::Sent {
        nonce: nonce.to_owned(),
        ids: ids(of),
    }
}

fn claim<'a>(id: &'a str, secret: &'a str, digest: &'a str) -> Claim<'a> {
    Claim {
        id,
        secret,
        digest,
        word: Word::Final,
    }
}

fn lost<'a>(id: &'a str, secret: &'a str) -> Claim<'a> {
    Claim {
        word: Word::Provisional,
        ..claim(id, secret, "lost")
    }
}

fn standing(index: &Index, id: &str) -> Option<Standing> {
    index
        .job(&format!("t:{id}"))
        .map(|job| job.standing.clone())
}

fn with_job(id: &str) -> Index {
    let mut index = Index::new(100);
    index.note(0, accept("n", 5, vec![accepted(id, "c")]));
    index
}

#[test]
fn a_job_goes_from_accepted_to_sent_to_done_and_its_batch_tells_in_the_order_of_the_stream() {
    let mut index = Index::new(100);
    let jobs = vec![accepted("a", "c"), accepted("b", "c")];
    index.note(0, accept("n", 5, jobs));
    assert_eq!(standing(&index, "a"), Some(Standing::Accepted));
    index.note(1, sent("n", &["a", "b"]));
    assert_eq!(standing(&index, "a"), Some(Standing::Sent));
    for (number, id) in [(2, "b"), (3, "a")] {
        let (id, secret) = (format!("t:{id}"), format!("secret of {id}"));
        let came = index.result(number, &claim(&id, &secret, "d"), NOW);
        assert_eq!(came, Came::First);
    }
    let batch = index.batch("t:night").expect("known");
    assert_eq!((batch.jobs, batch.done.len()), (2, 2));
    let first = index.event("t:night", None).expect("an event");
    assert_eq!((first.0, &*first.1), (2, "t:b"));
    let second = index.event("t:night", Some(2)).expect("an event");
    assert_eq!((second.0, &*second.1), (3, "t:a"));
    assert_eq!(index.event("t:night", Some(3)), None);
    assert_eq!(index.event("t:other", None), None);
}

#[test]
fn a_result_that_overtakes_the_word_that_its_job_was_sent_stays_the_result() {
    let mut index = with_job("a");
    index.result(1, &claim("t:a", "secret of a", "d"), NOW);
    let done = standing(&index, "a");
    index.note(2, sent("n", &["a"]));
    let withdrawn = Note::Withdrawn {
        nonce: "n".to_owned(),
        ids: ids(&["a"]),
    };
    index.note(3, withdrawn);
    assert_eq!(standing(&index, "a"), done);
}

#[test]
fn only_the_secret_of_a_job_answers_it() {
    let mut index = with_job("a");
    for stranger in [
        claim("t:a", "another", "d"),
        claim("t:a", "", "d"),
        claim("u:a", "secret of a", "d"),
    ] {
        assert_eq!(index.result(1, &stranger, NOW), Came::Stranger);
    }
    assert_eq!(standing(&index, "a"), Some(Standing::Accepted));
}

#[test]
fn the_first_result_counts_an_equal_one_is_dropped_and_another_is_a_conflict() {
    let mut index = with_job("a");
    let results = [
        ("d", Came::First),
        ("d", Came::Duplicate),
        ("e", Came::Conflict),
    ];
    for (number, (digest, came)) in (1..).zip(results) {
        let claim = claim("t:a", "secret of a", digest);
        assert_eq!(index.result(number, &claim, NOW), came);
    }
    assert_eq!(
        index.result(9, &lost("t:a", "secret of a"), NOW),
        Came::Duplicate
    );
    let job = index.job("t:a").expect("known");
    assert_eq!(job.conflicts, 1);
    assert!(matches!(job.standing, Standing::Done { body: 1, .. }));
}

#[test]
fn a_lost_worker_is_waited_for_then_given_up_by_a_note_and_what_comes_later_is_a_conflict() {
    let mut index = with_job("a");
    let word = lost("t:a", "secret of a");
    assert_eq!(index.result(1, &word, NOW), Came::Provisional);
    assert_eq!(index.due(PROVISIONAL_GRACE / 2), None);
    assert_eq!(index.due(PROVISIONAL_GRACE).as_deref(), Some("t:a"));
    // The note is on its way.
    assert_eq!(index.due(PROVISIONAL_GRACE), None);
    assert_eq!(index.due(PROVISIONAL_GRACE * 2).as_deref(), Some("t:a"));
    let id = "t:a".to_owned();
    index.note(2, Note::GivenUp { id: id.clone() });
    index.note(3, Note::GivenUp { id });
    let job = index.job("t:a").expect("known");
    assert!(matches!(
        job.standing,
        Standing::Done {
            event: 2,
            body: 1,
            ..
        }
    ));
    assert_eq!(index.due(PROVISIONAL_GRACE * 9), None);
    let late = claim("t:a", "secret of a", "d");
    assert_eq!(index.result(4, &late, NOW), Came::Conflict);
}

#[test]
fn a_real_result_replaces_a_lost_worker_that_was_not_given_up() {
    let mut index = with_job("a");
    index.result(1, &lost("t:a", "secret of a"), NOW);
    let real = claim("t:a", "secret of a", "d");
    assert_eq!(index.result(2, &real, NOW), Came::First);
    assert_eq!(index.due(PROVISIONAL_GRACE * 9), None);
    let job = index.job("t:a").expect("known");
    assert!(matches!(
        job.standing,
        Standing::Done {
            event: 2,
            body: 2,
            ..
        }
    ));
}

#[test]
fn of_two_gateways_that_accept_one_id_the_first_note_counts_and_the_other_can_withdraw_nothing() {
    let mut index = with_job("a");
    index.note(1, accept("other", 6, vec![accepted("a", "another job")]));
    assert_eq!(&*index.job("t:a").expect("known").nonce, "n");
    let withdrawn = |nonce: &str| Note::Withdrawn {
        nonce: nonce.to_owned(),
        ids: ids(&["a"]),
    };
    index.note(2, withdrawn("other"));
    index.note(3, sent("other", &["a"]));
    assert_eq!(standing(&index, "a"), Some(Standing::Accepted));
    index.note(4, withdrawn("n"));
    assert_eq!(standing(&index, "a"), None);
    assert_eq!(index.batch("t:night"), None);
}

#[test]
fn the_job_of_a_gateway_that_died_is_taken_over_once_and_only_before_it_was_sent() {
    let mut index = with_job("a");
    let confirm = Duration::from_secs(1);
    let job = index.job("t:a").expect("known");
    assert!(!is_orphan(job, 2_005, confirm) && is_orphan(job, 2_006, confirm));
    let over = |old: &str| Accepted {
        secret: "new secret".to_owned(),
        instead_of: Some(old.to_owned()),
        ..accepted("a", "c")
    };
    index.note(1, accept("second", 9, vec![over("n")]));
    index.note(2, accept("third", 9, vec![over("n")]));
    assert_eq!(&*index.job("t:a").expect("known").nonce, "second");
    let old = claim("t:a", "secret of a", "d");
    assert_eq!(index.result(3, &old, NOW), Came::Stranger);
    index.note(4, sent("second", &["a"]));
    index.note(5, accept("fourth", 9, vec![over("second")]));
    let job = index.job("t:a").expect("known");
    assert_eq!((&*job.nonce, &job.standing), ("second", &Standing::Sent));
    assert!(!is_orphan(job, u64::MAX, confirm));
    assert_eq!(index.batch("t:night").expect("known").jobs, 1);
}

#[test]
fn the_oldest_are_forgotten_first_when_there_are_too_many_or_they_are_too_old() {
    let mut index = Index::new(2);
    for (number, id) in (0..).zip(["a", "b", "c"]) {
        index.note(number, accept(id, number, vec![accepted(id, "c")]));
    }
    let known = |index: &Index| {
        let known = |id: &&str| standing(index, id).is_some();
        ["a", "b", "c"]
            .into_iter()
            .filter(known)
            .collect::<Vec<_>>()
    };
    assert_eq!(known(&index), ["b", "c"]);
    index.result(9, &claim("t:b", "secret of b", "d"), NOW);
    index.forget_before(2);
    assert_eq!(known(&index), ["c"]);
    let batch = index.batch("t:night").expect("known");
    assert_eq!((batch.jobs, batch.done.len()), (1, 0));
    index.forget_before(3);
    assert_eq!((index.len(), index.batch("t:night")), (0, None));
}

#[derive(Debug, Clone)]
enum Message {
    Note(Note),
    Result {
        id: String,
        secret: String,
        digest: String,
        lost: bool,
    },
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let id = prop::sample::select(vec!["a", "b", "c"]);
    let nonce = prop::sample::select(vec!["n", "m"]);
    let message = (id, nonce, 0..7_u8, 0..3_u8).prop_map(|(id, nonce, kind, digest)| {
        let result = |lost| Message::Result {
            id: format!("t:{id}"),
            secret: format!("secret of {id}"),
            digest: digest.to_string(),
            lost,
        };
        match kind {
            0 | 1 => Message::Note(accept(nonce, u64::from(digest), vec![accepted(id, "c")])),
            2 => Message::Note(sent(nonce, &[id])),
            3 => Message::Note(Note::Withdrawn {
                nonce: nonce.to_owned(),
                ids: ids(&[id]),
            }),
            4 => Message::Note(Note::GivenUp {
                id: format!("t:{id}"),
            }),
            5 => result(true),
            _ => result(false),
        }
    });
    prop::collection::vec(message, 0..40)
}

proptest! {
    #[test]
    fn whatever_comes_counts_agree_what_is_done_stays_and_every_event_is_told_once(
        messages in messages(),
        most in 1..4_usize,
    ) {
        let mut index = Index::new(most);
        for (number, message) in (0..).zip(messages) {
            let before: Vec<_> = ["a", "b", "c"].map(|id| standing(&index, id)).into();
            let accepts = matches!(message, Message::Note(Note::Accepted { .. }));
            match message {
                Message::Note(note) => index.note(number, note),
                Message::Result { id, secret, digest, lost } => {
                    let word = if lost { Word::Provisional } else { Word::Final };
                    let claim = Claim { id: &id, secret: &secret, digest: &digest, word };
                    index.result(number, &claim, NOW);
                }
            }
            for (id, was) in ["a", "b", "c"].iter().zip(before) {
                let now = standing(&index, id);
                let is_done = matches!(was, Some(Standing::Done { .. }));
                // Only a newcomer can push it out.
                prop_assert!(!is_done || now == was || (accepts && now.is_none()));
            }
            prop_assert!(index.len() <= most);
            let batch = index.batch("t:night").cloned().unwrap_or_default();
            prop_assert_eq!(batch.jobs, index.len());
            let mut told = Vec::new();
            while let Some((event, key)) = index.event("t:night", told.last().map(|(at, _)| *at)) {
                let known = index.job(&key).map(|job| job.standing.clone());
                let right = matches!(known, Some(Standing::Done { event: at, .. }) if at == event);
                prop_assert!(right);
                told.push((event, key));
            }
            prop_assert_eq!(told.len(), batch.done.len());
        }
    }
}
