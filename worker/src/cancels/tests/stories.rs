//! Jobs and cancels that come and go in every order that proptest can think of.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// What may happen. Ids, batches and times are few, so that they meet.
#[derive(Debug, Clone)]
enum Step {
    Comes {
        id: u8,
        batch: u8,
        /// When it was published, in milliseconds from the beginning, where its message says so.
        published: Option<u64>,
    },
    Leaves(usize),
    Heard {
        named: Named,
        pool: ForWhom,
        sent: u64,
    },
}

/// What a cancel names.
#[derive(Debug, Clone)]
enum Named {
    Jobs(Vec<u8>),
    Batch(u8),
}

/// Whose jobs a cancel is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ForWhom {
    Everybody,
    Us,
    AnotherPool,
}

impl ForWhom {
    const fn pool(self) -> Option<&'static str> {
        match self {
            Self::Everybody => None,
            Self::Us => Some("default"),
            Self::AnotherPool => Some("gpu"),
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let pool = prop_oneof![
        4 => Just(ForWhom::Everybody),
        1 => Just(ForWhom::Us),
        1 => Just(ForWhom::AnotherPool),
    ];
    let named = prop_oneof![
        3 => vec(0..6_u8, 1..4).prop_map(Named::Jobs),
        1 => (0..3_u8).prop_map(Named::Batch),
    ];
    let published = prop::option::weighted(0.8, 0..20_u64);
    prop_oneof![
        4 => (0..6_u8, 0..3_u8, published)
            .prop_map(|(id, batch, published)| Step::Comes { id, batch, published }),
        2 => (0..64_usize).prop_map(Step::Leaves),
        2 => (named, pool, 0..20_u64)
            .prop_map(|(named, pool, sent)| Step::Heard { named, pool, sent }),
    ]
}

/// One cancel for us that was heard, in the order in which they came.
struct Told {
    named: Named,
    sent: u64,
}

impl Told {
    fn means(&self, id: u8, batch: u8, published: Option<u64>) -> bool {
        let named = match &self.named {
            Named::Jobs(ids) => ids.contains(&id),
            Named::Batch(name) => *name == batch,
        };
        named && published.is_none_or(|published| published <= self.sent)
    }
}

struct Here {
    id: u8,
    batch: u8,
    published: Option<u64>,
    wanted: Wanted,
}

fn job_of(id: u8, batch: u8) -> Job {
    let text =
        format!(r#"{{"v":1,"id":"job-{id}","runtime":"bash","code":"","batch":"batch-{batch}"}}"#);
    let caps = WireCaps::default();
    decode_job(text.as_bytes(), &DecodeHint::default(), &caps).expect("a job")
}

fn body(named: &Named, pool: ForWhom, sent: EpochMs) -> Bytes {
    let targets = match named {
        Named::Jobs(ids) => ids.iter().map(|id| of(&format!("job-{id}"))).collect(),
        Named::Batch(name) => vec![Target::Batch(format!("batch-{name}"))],
    };
    encode_cancel(&Cancel {
        targets,
        pool: pool.pool().map(|pool| Name::parse(pool).expect("a name")),
        sent,
    })
    .into()
}

proptest! {
    /// Whichever comes first, and however often: exactly those jobs are wanted no more that a cancel names which
    /// was sent when they had been published.
    #[test]
    fn a_job_is_struck_exactly_when_a_cancel_means_it_in_whatever_order_they_come(
        steps in vec(step(), 0..40),
    ) {
        let book = book();
        let begin = book.clock.epoch_ms().0 - 1000;
        let (mut here, mut told): (Vec<Here>, Vec<Told>) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Comes { id, batch, published } => {
                    let wanted = book.enter(&job_of(id, batch), published.map(|ms| begin + ms));
                    here.push(Here { id, batch, published, wanted });
                }
                Step::Leaves(any) => {
                    if let Some(place) = any.checked_rem(here.len()) {
                        drop(here.swap_remove(place));
                    }
                }
                Step::Heard { named, pool, sent } => {
                    book.hear(&body(&named, pool, EpochMs(begin + sent)));
                    if pool != ForWhom::AnotherPool {
                        told.push(Told { named, sent });
                    }
                }
            }
            for job in &here {
                let meant = told.iter().any(|told| told.means(job.id, job.batch, job.published));
                prop_assert_eq!(job.wanted.no_more(), meant, "job-{} of batch-{}", job.id, job.batch);
            }
            prop_assert_eq!(book.book().here.len(), here.len(), "a job that left is in the book");
        }
    }
}
