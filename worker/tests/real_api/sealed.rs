//! TLS, and files that are read again.

use std::process::Output;

use jailfleet_harness::{Authority, Broker, require};

use crate::own::{EXAMS, Own, SITE, entry, python};
use crate::worker;

#[test]
fn curl_speaks_tls_and_a_token_that_is_taken_out_of_the_file_is_nobodys() {
    require!(Broker, Curl);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let authority = Authority::new().expect("an authority");
    let issued = authority
        .issue("gateway", "localhost", 2)
        .expect("a certificate");
    let much =
        "lanes = [\"bulk\"]\nown_limits = false\nrequests_per_s = 1000\njobs_per_s = 10\nwaits = 2";
    let tenants = worker::file_of(&entry("exams", EXAMS, much));
    let text = |path: &std::path::Path| path.to_str().expect("a plain path").to_owned();
    let own = Own::start(
        &vhost.uri(),
        &[
            &format!("api.tenants_file={}", text(tenants.path())),
            &format!("api.tls_cert_file={}", text(&issued.certificate)),
            &format!("api.tls_key_file={}", text(&issued.key)),
        ],
    );
    let (_, port) = own.address.rsplit_once(':').expect("a port");
    let curl = |token: &str, more: &[&str]| -> Output {
        let mut curl = worker::command("curl");
        curl.args(["--silent", "--show-error", "--max-time", "30", "--cacert"])
            .arg(authority.certificate())
            .arg("--header")
            .arg(format!("Authorization: Bearer {token}"))
            .args(["--write-out", "\n%{http_code}"])
            .args(more);
        curl.output().expect("curl starts")
    };
    let jobs = format!("https://localhost:{port}/api/v1/jobs");
    let body = python("a", "1").to_string();
    let said = curl(EXAMS, &["--data", &body, &jobs]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert_eq!(said, "{\"id\":\"a\",\"state\":\"queued\"}\n202");
    // Whoever does not speak TLS is hung up on.
    let plain = format!("http://localhost:{port}/api/v1/openapi.json");
    assert!(!curl(EXAMS, &[&plain]).status.success());

    let job = format!("{jobs}/a");
    let status = |token: &str| {
        let said = curl(token, &[&job]).stdout;
        let said = String::from_utf8_lossy(&said).into_owned();
        said.lines().last().map(ToOwned::to_owned)
    };
    assert_eq!(status(SITE).as_deref(), Some("401"));
    // A file that does not do changes nothing; the next one that does counts.
    std::fs::write(tenants.path(), "[tenants.exams]\n").expect("writable");
    assert_eq!(status(EXAMS).as_deref(), Some("200"));
    std::fs::write(tenants.path(), entry("exams", SITE, much)).expect("writable");
    while status(EXAMS).as_deref() == Some("200") {}
    assert_eq!(status(EXAMS).as_deref(), Some("401"));
    assert_eq!(status(SITE).as_deref(), Some("200"));
    own.stops();
}
