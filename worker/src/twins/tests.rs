//! Twins: which deliveries share an end, and which are jobs of their own.

use super::*;
use jailfleet::job::{Lane, Name};
use proptest::collection::vec;
use proptest::prelude::*;

fn origin() -> Origin {
    Origin {
        tenant: "/".into(),
        pool: Name::parse("default").expect("a name"),
        lane: Lane::Bulk,
        suspect: false,
    }
}

fn envelope() -> Envelope {
    Envelope {
        message_id: Some("a".to_owned()),
        correlation_id: Some("secret".to_owned()),
        reply_to: Some("jailfleet.reply.x".to_owned()),
        published_ms: Some(7),
        ..Envelope::default()
    }
}

fn key() -> Key {
    Key::of(&origin(), &envelope(), b"body")
}

#[test]
fn only_the_very_same_message_has_the_same_key() {
    let of = |change: fn(&mut Origin, &mut Envelope)| {
        let (mut origin, mut envelope) = (origin(), envelope());
        change(&mut origin, &mut envelope);
        Key::of(&origin, &envelope, b"body")
    };
    let others = [
        of(|origin, _| origin.tenant = "other".into()),
        of(|origin, _| origin.lane = Lane::Interactive),
        of(|origin, _| origin.suspect = true),
        of(|_, envelope| envelope.message_id = Some("b".to_owned())),
        of(|_, envelope| envelope.correlation_id = None),
        of(|_, envelope| envelope.correlation_id = Some(String::new())),
        of(|_, envelope| envelope.reply_to = Some("jailfleet.reply.y".to_owned())),
        of(|_, envelope| envelope.published_ms = Some(8)),
        of(|_, envelope| envelope.faults = 1),
        Key::of(&origin(), &envelope(), b"another body"),
    ];
    let distinct: HashSet<Key> = others.iter().copied().chain([key()]).collect();
    assert_eq!(distinct.len(), others.len() + 1);
    // How often it was delivered is what twins differ in.
    let again = of(|_, envelope| (envelope.redelivered, envelope.delivery_count) = (true, 3));
    assert_eq!(again, key());
}

#[tokio::test]
async fn a_redelivery_shares_the_end_of_its_twin_and_one_that_comes_after_it_is_known() {
    let twins = Arc::new(Twins::default());
    let Arrival::First(place) = twins.enter(key(), Again::New) else {
        panic!("nothing is here yet");
    };
    let Arrival::Twin(twin) = twins.enter(key(), Again::Redelivered) else {
        panic!("it runs here");
    };
    place.end(Disposition::Ack);
    assert_eq!(end_of(twin).await, Some(Disposition::Ack));
    let late = twins.enter(key(), Again::Redelivered);
    assert!(matches!(late, Arrival::Finished), "{late:?}");
    let new = twins.enter(key(), Again::New);
    assert!(
        matches!(new, Arrival::First(_)),
        "published twice, run twice: {new:?}"
    );
}

#[test]
fn a_message_without_its_time_has_no_twin_since_two_of_them_can_be_equal() {
    let twins = Arc::new(Twins::default());
    let undated = Envelope {
        published_ms: None,
        ..envelope()
    };
    let key = Key::of(&origin(), &undated, b"body");
    let Arrival::First(place) = twins.enter(key, Again::New) else {
        panic!("nothing is here yet");
    };
    let other = twins.enter(key, Again::Redelivered);
    assert!(matches!(other, Arrival::First(_)), "{other:?}");
    place.end(Disposition::Ack);
    let later = twins.enter(key, Again::Redelivered);
    assert!(matches!(later, Arrival::First(_)), "{later:?}");
}

#[tokio::test]
async fn what_was_handed_back_is_not_finished_and_a_twin_that_broke_off_is_carried_through() {
    let twins = Arc::new(Twins::default());
    let Arrival::First(place) = twins.enter(key(), Again::New) else {
        panic!("nothing is here yet");
    };
    place.end(Disposition::Requeue);
    let Arrival::First(second) = twins.enter(key(), Again::Redelivered) else {
        panic!("it was handed back");
    };
    let Arrival::Twin(twin) = twins.enter(key(), Again::Redelivered) else {
        panic!("it runs here");
    };
    drop(second);
    assert_eq!(end_of(twin).await, None);
    assert!(twins.book().running.is_empty());
}

#[test]
fn what_is_finished_is_remembered_within_a_bound_the_newest_first() {
    let of = |number: usize| {
        let mut digest = [0; 32];
        for (byte, part) in digest.iter_mut().zip(number.to_be_bytes()) {
            *byte = part;
        }
        Key {
            digest,
            dated: true,
            id: None,
            content: 0,
        }
    };
    let mut book = Book::default();
    let all = 2 * FINISHED + 7;
    for number in 0..all {
        book.finish(of(number));
        // Said twice, it is remembered once.
        book.finish(of(number));
    }
    let remembered: Vec<usize> = (0..all)
        .filter(|number| book.finished.contains(&of(*number)))
        .collect();
    assert_eq!(remembered, (all - FINISHED..all).collect::<Vec<_>>());
    assert_eq!(book.by_age.len(), FINISHED);
}

#[test]
fn an_id_under_which_something_else_came_is_noticed_and_that_is_a_job_of_its_own() {
    let twins = Arc::new(Twins::default());
    let enter = |again, change: fn(&mut Origin, &mut Envelope), body: &[u8]| {
        let (mut origin, mut envelope) = (origin(), envelope());
        change(&mut origin, &mut envelope);
        match twins.enter(Key::of(&origin, &envelope, body), again) {
            Arrival::First(place) => (place.id(), place),
            other @ (Arrival::Twin(_) | Arrival::Finished) => {
                panic!("a job of its own: {other:?}")
            }
        }
    };
    let (first, _running) = enter(Again::New, |_, _| {}, b"body");
    assert_eq!(first, IdUse::Its);
    let same: [fn(&mut Origin, &mut Envelope); 3] = [
        |_, envelope| envelope.faults = 1,
        |origin, _| origin.suspect = true,
        |origin, _| origin.tenant = "other".into(),
    ];
    for change in same {
        let (id, _) = enter(Again::Redelivered, change, b"body");
        assert_eq!(id, IdUse::Its, "another try, or another tenant");
    }
    let (id, _) = enter(Again::Redelivered, |_, _| {}, b"another");
    assert_eq!(id, IdUse::AnothersToo);
    let mine =
        |_: &mut Origin, envelope: &mut Envelope| envelope.reply_to = Some("mine".to_owned());
    let (id, _) = enter(Again::Redelivered, mine, b"another");
    assert_eq!(id, IdUse::AnothersToo);
    let nameless = |_: &mut Origin, envelope: &mut Envelope| envelope.message_id = None;
    let (id, _) = enter(Again::New, nameless, b"third");
    assert_eq!(id, IdUse::Its);
}

#[test]
fn ids_are_remembered_within_a_bound() {
    let mut book = Book::default();
    let key = |id, content| Key {
        digest: [0; 32],
        dated: true,
        id: Some(id),
        content,
    };
    for id in 0..=FINISHED as u64 {
        assert_eq!(book.note(&key(id, 1)), IdUse::Its);
    }
    assert_eq!(book.note(&key(FINISHED as u64, 2)), IdUse::AnothersToo);
    assert_eq!(book.note(&key(0, 2)), IdUse::Its, "it is forgotten");
    assert_eq!(
        (book.contents.len(), book.ids_by_age.len()),
        (FINISHED, FINISHED)
    );
}

/// What may happen to one of four messages, the second half of which say when they were published.
#[derive(Debug, Clone, Copy)]
enum Step {
    Comes(u8, Again),
    Ends(usize, Disposition),
    BreaksOff(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let again = prop_oneof![Just(Again::New), Just(Again::Redelivered)];
    let end = prop_oneof![Just(Disposition::Ack), Just(Disposition::Requeue)];
    prop_oneof![
        4 => (0..4_u8, again).prop_map(|(which, again)| Step::Comes(which, again)),
        3 => (0..8_usize, end).prop_map(|(which, end)| Step::Ends(which, end)),
        1 => (0..8_usize).prop_map(Step::BreaksOff),
    ]
}

fn numbered(which: u8) -> Key {
    let envelope = Envelope {
        message_id: Some(which.to_string()),
        published_ms: (which >= 2).then_some(7),
        ..envelope()
    };
    Key::of(&origin(), &envelope, b"body")
}

/// Deliveries that are carried through, those that wait for one of them, and what was acked.
#[derive(Default)]
struct Scene {
    open: Vec<(u8, Place)>,
    waiting: Vec<(u8, watch::Receiver<Option<Disposition>>)>,
    acked: HashSet<u8>,
}

impl Scene {
    fn comes(&mut self, twins: &Arc<Twins>, which: u8, again: Again) -> Result<(), TestCaseError> {
        let runs = self.open.iter().any(|(open, _)| *open == which);
        let may_share = again == Again::Redelivered && which >= 2;
        match twins.enter(numbered(which), again) {
            Arrival::First(place) => {
                let booked = self
                    .open
                    .iter()
                    .any(|(open, place)| *open == which && place.booked);
                prop_assert!(!(may_share && booked), "run twice at one time");
                prop_assert!(!(may_share && self.acked.contains(&which)), "run again");
                self.open.push((which, place));
            }
            Arrival::Twin(twin) => {
                prop_assert!(may_share && runs, "nobody would tell it");
                self.waiting.push((which, twin));
            }
            Arrival::Finished => prop_assert!(may_share && self.acked.contains(&which)),
        }
        Ok(())
    }

    /// One of those that are carried through, taken out.
    fn one(&mut self, which: usize) -> Option<(u8, Place)> {
        (!self.open.is_empty()).then(|| self.open.swap_remove(which % self.open.len()))
    }
}

proptest! {
    #[test]
    fn no_message_is_carried_through_twice_or_lost_in_whatever_order_it_comes_and_ends(
        steps in vec(step(), 0..120),
    ) {
        let twins = Arc::new(Twins::default());
        let mut scene = Scene::default();
        for step in steps {
            match step {
                Step::Comes(which, again) => scene.comes(&twins, which, again)?,
                Step::Ends(which, end) => {
                    let Some((which, place)) = scene.one(which) else { continue };
                    if end == Disposition::Ack && which >= 2 {
                        scene.acked.insert(which);
                    }
                    place.end(end);
                }
                Step::BreaksOff(which) => drop(scene.one(which)),
            }
        }
        scene.open.clear();
        prop_assert!(twins.book().running.is_empty());
        for (which, mut twin) in scene.waiting {
            // Told, or let go: nobody waits for ever.
            let told = *twin.borrow_and_update();
            prop_assert!(told.is_some() || twin.has_changed().is_err(), "{which} waits");
            if told == Some(Disposition::Ack) {
                prop_assert!(scene.acked.contains(&which));
            }
        }
    }
}
