//! The register of cancels: what it hits, what it keeps, what it forgets.

use super::*;
use proptest::prelude::*;

const NOW: EpochMs = EpochMs(1_800_000_000_000);

fn job(id: &str) -> Target {
    Target::Job(JobId::parse(id).expect("an id"))
}

fn batch(name: &str) -> Target {
    Target::Batch(name.to_owned())
}

fn at(ms: i64) -> EpochMs {
    EpochMs(NOW.0.saturating_add_signed(ms))
}

fn cancel(targets: &[Target], sent: EpochMs) -> Cancel {
    Cancel {
        targets: targets.to_vec(),
        pool: None,
        sent,
    }
}

fn subject(id: &str, of: Option<&str>, published: Option<EpochMs>) -> Subject {
    Subject {
        job: job(id),
        batch: of.map(batch),
        published,
    }
}

#[test]
fn a_cancel_hits_what_was_published_before_it_and_nothing_later() {
    let mut register = Register::new(10);
    let cancels = cancel(&[job("a"), batch("exam")], at(0));
    assert_eq!(
        register.enter(&cancels, NOW),
        Entered::Taken { forgotten: 0 }
    );
    for (published, hit) in [
        (Some(at(-5)), true),
        (Some(at(0)), true),
        (Some(at(1)), false),
    ] {
        assert_eq!(register.hits(&subject("a", None, published)), hit);
        assert_eq!(register.hits(&subject("b", Some("exam"), published)), hit);
        assert!(!register.hits(&subject("b", Some("another"), published)));
    }
    assert!(
        register.hits(&subject("a", None, None)),
        "no time counts as before"
    );
    let alike = subject("b", Some("a"), None);
    assert!(!register.hits(&alike), "an id is no batch");
}

#[test]
fn what_is_too_old_or_too_far_ahead_is_not_taken() {
    let mut register = Register::new(10);
    let week = i64::try_from(REMEMBERED.as_millis()).expect("it fits");
    let ahead = i64::try_from(CLOCKS_DIFFER.as_millis()).expect("it fits");
    let of = |sent| cancel(&[job("a")], sent);
    assert_eq!(register.enter(&of(at(-week - 1)), NOW), Entered::Old);
    assert_eq!(register.enter(&of(at(ahead + 1)), NOW), Entered::Ahead);
    assert!(register.is_empty());
    assert_eq!(
        register.enter(&of(at(ahead)), NOW),
        Entered::Taken { forgotten: 0 }
    );
    assert_eq!(register.enter(&of(at(5)), NOW), Entered::Known);
}

#[test]
fn an_entry_is_forgotten_after_a_week() {
    let mut register = Register::new(10);
    register.enter(&cancel(&[job("a")], at(0)), NOW);
    let week = i64::try_from(REMEMBERED.as_millis()).expect("it fits");
    register.enter(&cancel(&[job("b")], at(week)), at(week));
    assert!(
        register.hits(&subject("a", None, None)),
        "a week is remembered"
    );
    register.enter(&cancel(&[job("b")], at(week)), at(week + 1));
    assert!(!register.hits(&subject("a", None, None)));
    assert_eq!(register.len(), 1);
}

fn some_targets() -> impl Strategy<Value = Vec<(Target, i64)>> {
    let target = prop_oneof![
        (0..40_u8).prop_map(|number| job(&format!("job-{number}"))),
        (0..5_u8).prop_map(|number| batch(&format!("batch-{number}"))),
    ];
    proptest::collection::vec((target, -10_000..10_000_i64), 0..200)
}

proptest! {
    #[test]
    fn a_register_with_room_hits_as_the_latest_cancel_of_each_target_says_in_any_order(
        entries in some_targets().prop_shuffle(), published in -10_000..10_000_i64,
    ) {
        let mut register = Register::new(1000);
        let mut latest: HashMap<Target, i64> = HashMap::new();
        for (target, sent) in &entries {
            register.enter(&cancel(std::slice::from_ref(target), at(*sent)), NOW);
            let known = latest.entry(target.clone()).or_insert(*sent);
            *known = (*known).max(*sent);
        }
        prop_assert_eq!(register.len(), latest.len());
        for (target, sent) in latest {
            let subject = match target {
                Target::Job(_) => Subject { job: target, batch: None, published: Some(at(published)) },
                Target::Batch(_) => {
                    Subject { job: job("none"), batch: Some(target), published: Some(at(published)) }
                }
            };
            prop_assert_eq!(register.hits(&subject), published <= sent);
        }
    }

    #[test]
    fn a_register_never_grows_beyond_its_bound_and_keeps_the_newest(
        entries in some_targets(), most in 1..20_usize,
    ) {
        let mut register = Register::new(most);
        for (target, sent) in &entries {
            register.enter(&cancel(std::slice::from_ref(target), at(*sent)), NOW);
            prop_assert!(register.len() <= most);
            prop_assert_eq!(register.by_age.len(), register.sent.len());
        }
        // Whatever was forgotten is not newer than what is there.
        let oldest_kept = register.by_age.first().map(|(sent, _)| *sent);
        for (target, sent) in entries {
            if register.len() == most && register.sent.get(&target).is_none_or(|kept| *kept < at(sent)) {
                prop_assert!(oldest_kept.is_some_and(|kept| at(sent) <= kept));
            }
        }
    }
}
