//! What is taken, and what is refused with which place.

use super::*;
use crate::api::tenants::Tenants;
use crate::api::tenants::tests::entry;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use jailfleet::job::{Lane, ProfileName};
use proptest::prelude::*;
use std::sync::Arc;

fn tenant(more: &str) -> Arc<Tenant> {
    let tenants = Tenants::read(&entry("exams", "t", more)).expect("a good file");
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, "Bearer t".parse().expect("a header"));
    tenants.who(&headers).expect("its token")
}

fn read_as(tenant: &Tenant, body: &str) -> Result<Order, Failure> {
    let pool = Name::parse("default").expect("a name");
    let bounds = Bounds {
        pool: &pool,
        jobs: 3,
        caps: WireCaps {
            body_bytes: 2000,
            ..WireCaps::default()
        },
    };
    let mut made = 0;
    read(body.as_bytes(), tenant, &bounds, || {
        made += 1;
        format!("made-{made}")
    })
}

fn job(more: &str) -> String {
    format!(r#"{{"v":1,"runtime":"python","code":"1"{more}}}"#)
}

fn refused(more: &str, body: &str) -> (u16, &'static str, Option<usize>, Option<String>) {
    let failure = read_as(&tenant(more), body).expect_err(body);
    (
        failure.status.as_u16(),
        failure.code,
        failure.index,
        failure.field,
    )
}

#[test]
fn a_job_travels_under_its_tenants_name_and_gets_what_it_does_not_say() {
    let tenant = tenant("lanes = [\"interactive\", \"bulk\"]\nprofile = \"small\"");
    let order = read_as(&tenant, &job("")).expect("a job");
    assert_eq!(order.shape, Shape::One);
    let [one] = order.jobs.as_slice() else {
        panic!("one job");
    };
    assert_eq!(one.id.as_str(), "exams:made-1");
    assert_eq!((one.lane, one.batch.as_deref()), (Lane::Interactive, None));
    let profile = one.limit_profile.as_ref().map(ProfileName::as_str);
    assert_eq!(profile, Some("small"));

    let body = format!(
        "[{}, {}]",
        job(r#","id":"a:b","batch":"night","lane":"bulk""#),
        job("")
    );
    let order = read_as(&tenant, &body).expect("two jobs");
    assert_eq!(order.shape, Shape::Many);
    let ids: Vec<_> = order.jobs.iter().map(|job| job.id.as_str()).collect();
    assert_eq!(ids, ["exams:a:b", "exams:made-1"]);
    assert_eq!(order.jobs[0].batch.as_deref(), Some("exams:night"));
    assert_eq!(name(&tenant, "exams:a:b"), "a:b");
}

#[test]
fn the_first_mistake_refuses_everything_and_is_told_with_its_job_and_field() {
    let second = |more: &str| format!("[{}, {}]", job(""), job(more));
    for (body, code, index, field) in [
        ("", "not_json", None, None),
        ("7", "not_json", None, None),
        ("[1", "not_json", None, None),
        ("[]", "no_jobs", None, None),
        ("[1]", "wrong_type", Some(0), None),
        ("{}", "missing_field", Some(0), None),
        (&second(r#","id":"a b""#), "bad_id", Some(1), Some("id")),
        (
            &second(r#","novel":1"#),
            "unknown_field",
            Some(1),
            Some("novel"),
        ),
        (
            &second(r#","pool":"gpu""#),
            "wrong_queue",
            Some(1),
            Some("pool"),
        ),
        (
            &second(r#","lane":"fast""#),
            "bad_lane",
            Some(1),
            Some("lane"),
        ),
        (
            &second(r#","batch":"a b""#),
            "bad_id",
            Some(1),
            Some("batch"),
        ),
        (&second(r#","v":1"#), "duplicate_field", Some(1), None),
    ] {
        let field = field.map(str::to_owned);
        assert_eq!(refused("", body), (400, code, index, field), "{body}");
    }
    let four = format!("[{0},{0},{0},{0}]", job(""));
    assert_eq!(refused("", &four).1, "too_many");
    let same = format!("[{0},{0}]", job(r#","id":"a""#));
    assert_eq!(
        refused("", &same),
        (400, "duplicate_id", Some(1), Some("id".to_owned()))
    );
    let large = job(&format!(r#","stdin":"{}""#, "x".repeat(2000)));
    assert_eq!(refused("", &large).1, "too_large");
    let long = job(&format!(r#","id":"{}""#, "x".repeat(96)));
    assert_eq!(refused("", &long).1, "bad_id");
    let longest = job(&format!(r#","id":"{}""#, "x".repeat(95)));
    read_as(&tenant(""), &longest).expect("it fits");
}

#[test]
fn what_the_token_may_not_use_is_forbidden_by_its_field() {
    for (body, field) in [
        (job(r#","lane":"interactive""#), "lane"),
        (job(r#","limit_profile":"huge""#), "limit_profile"),
        (job(r#","limits":{"wall_ms":1}"#), "limits"),
    ] {
        let told = (403, "not_allowed", Some(0), Some(field.to_owned()));
        assert_eq!(refused("profiles = [\"small\"]", &body), told);
    }
    let allowed = tenant("profiles = [\"small\"]\nown_limits = true");
    let body = job(r#","limit_profile":"small","limits":{"wall_ms":1}"#);
    read_as(&allowed, &body).expect("allowed");
}

#[test]
fn no_name_of_a_caller_leads_out_of_its_tenant() {
    let tenant = tenant("");
    for wrong in ["", "a/b", "a b", "ü", &"x".repeat(96)] {
        assert_eq!(key(&tenant, wrong), None, "{wrong}");
    }
    let own = key(&tenant, "other:a").expect("an id");
    assert_eq!(own.as_str(), "exams:other:a");
}

proptest! {
    #[test]
    fn no_body_makes_it_panic_and_what_is_taken_is_the_tenants(body in ".{0,200}") {
        if let Ok(order) = read_as(&tenant(""), &body) {
            for job in order.jobs {
                prop_assert!(job.id.as_str().starts_with("exams:"));
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(more in "[\\[\\]{}\":,a-z0-9 ]{0,60}") {
        let body = job(&more);
        let told = read_as(&tenant(""), &format!("[{body}"));
        prop_assert!(told.is_err());
    }
}
