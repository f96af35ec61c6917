//! The service's own tests of its interface, line by line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::behaviours;
use crate::Behaviour;
use crate::gateway::Gateway;

pub(crate) const ALL: &[Behaviour] = behaviours![
    a_missing_payload_is_a_400_in_its_words,
    a_malformed_payload_is_a_400_with_pythons_words,
    a_successful_call_answers_its_globals_and_no_emsg,
    unsafely_is_refused,
    missing_code_is_named,
    missing_globals_are_named,
    of_two_missing_members_code_is_named,
    a_course_library_can_be_imported,
    an_unknown_entry_of_python_path_is_refused,
    an_unknown_entry_beside_the_known_one_is_refused,
    an_unknown_uploaded_file_is_refused,
    an_unknown_file_beside_the_known_one_is_refused,
    an_exception_is_a_200_with_emsg_and_the_globals_of_the_request,
    any_limit_override_may_be_passed,
    nan_and_the_infinities_come_in_and_go_out,
    health_is_ok_and_json,
    another_method_is_a_405,
    json_is_no_form,
    a_path_that_is_not_there_is_a_404,
    globals_keep_order_size_and_halves_of_pairs,
    a_large_payload_is_taken_in_both_encodings,
];

/// A zip with `course_library.py`, which has `triangular_number`.
const LIBRARY: &str = "UEsDBBQAAAAAAAAAIVwvQf+pNgAAADYAAAARAAAAY291cnNlX2xpYnJhcnkucHlkZWYgdHJpYW5ndWxhcl9udW1i\
    ZXIobik6CiAgICByZXR1cm4gbiAqIChuICsgMSkgLy8gMgpQSwECFAMUAAAAAAAAACFcL0H/qTYAAAA2AAAAEQAA\
    AAAAAAAAAAAApAEAAAAAY291cnNlX2xpYnJhcnkucHlQSwUGAAAAAAEAAQA/AAAAZQAAAAAA";

fn library() -> Vec<u8> {
    STANDARD.decode(LIBRARY).expect("base64")
}

fn a_missing_payload_is_a_400_in_its_words(gateway: &Gateway) {
    let expected = r#"{"error":"Missing 'payload' parameter in POST body"}"#;
    let form = "application/x-www-form-urlencoded";
    gateway.post(form, b"").assert(400, expected);
    gateway.post(form, b"paylod=%7B%7D").assert(400, expected);
    gateway
        .post("multipart/form-data; boundary=B", b"--B--\r\n")
        .assert(400, expected);
}

fn a_malformed_payload_is_a_400_with_pythons_words(gateway: &Gateway) {
    let expected =
        r#"{"error":"Unable to parse payload JSON: Expecting value: line 1 column 1 (char 0)"}"#;
    gateway.payload("Not JSON").assert(400, expected);
    gateway
        .payload_with("Not JSON", "python_lib.zip", b"")
        .assert(400, expected);
}

fn a_successful_call_answers_its_globals_and_no_emsg(gateway: &Gateway) {
    let payload = r#"{"code": "retval = 3 + 4", "globals_dict": {}, "python_path": [], "limit_overrides_context": "course-v1:a+b+c", "slug": "s", "unsafely": false}"#;
    gateway
        .payload(payload)
        .assert(200, r#"{"globals_dict":{"retval":7}}"#);
}

fn unsafely_is_refused(gateway: &Gateway) {
    let payload = r#"{"code": "retval = 3 + 4", "globals_dict": {}, "unsafely": true}"#;
    let expected = r#"{"error":"Refusing codejail execution with unsafely=true"}"#;
    gateway.payload(payload).assert(400, expected);
}

fn missing(gateway: &Gateway, payload: &str, member: &str) {
    let expected = format!(
        "{{\"error\":\"Payload JSON did not match schema at path $: '{member}' is a required \
         property\"}}"
    );
    gateway.payload(payload).assert(400, &expected);
}

fn missing_code_is_named(gateway: &Gateway) {
    missing(gateway, r#"{"globals_dict": {}}"#, "code");
}

fn missing_globals_are_named(gateway: &Gateway) {
    missing(gateway, r#"{"code": "retval = 3 + 4"}"#, "globals_dict");
}

fn of_two_missing_members_code_is_named(gateway: &Gateway) {
    missing(gateway, "{}", "code");
}

fn a_course_library_can_be_imported(gateway: &Gateway) {
    let payload = json!({
        "code": "from course_library import triangular_number\n\nresult = triangular_number(6)",
        "globals_dict": {},
        "python_path": ["python_lib.zip"],
    });
    let reply = gateway.payload_with(&payload.to_string(), "python_lib.zip", &library());
    reply.assert(200, r#"{"globals_dict":{"result":21}}"#);
}

fn python_path_refused(gateway: &Gateway, path: &str) {
    let payload = format!("{{\"code\": \"\", \"globals_dict\": {{}}, \"python_path\": {path}}}");
    let expected = r#"{"error":"Only allowed entry in 'python_path' is 'python_lib.zip'"}"#;
    gateway.payload(&payload).assert(400, expected);
}

fn an_unknown_entry_of_python_path_is_refused(gateway: &Gateway) {
    python_path_refused(gateway, r#"["/etc"]"#);
}

fn an_unknown_entry_beside_the_known_one_is_refused(gateway: &Gateway) {
    python_path_refused(gateway, r#"["python_lib.zip", "other.zip"]"#);
}

const FILE_REFUSED: &str = r#"{"error":"Only allowed name for uploaded file is 'python_lib.zip'"}"#;

fn an_unknown_uploaded_file_is_refused(gateway: &Gateway) {
    let payload = r#"{"code": "", "globals_dict": {}}"#;
    gateway
        .payload_with(payload, "/tmp/test.txt", b"x")
        .assert(400, FILE_REFUSED);
}

fn an_unknown_file_beside_the_known_one_is_refused(gateway: &Gateway) {
    let part = |name: &str| {
        format!(
            "--B\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"f\"\r\n\r\nx\r\n"
        )
    };
    let payload = "--B\r\nContent-Disposition: form-data; name=\"payload\"\r\n\r\n\
                   {\"code\": \"\", \"globals_dict\": {}}\r\n";
    let body = format!(
        "{payload}{}{}--B--\r\n",
        part("python_lib.zip"),
        part("other.zip")
    );
    let reply = gateway.post("multipart/form-data; boundary=B", body.as_bytes());
    reply.assert(400, FILE_REFUSED);
}

fn an_exception_is_a_200_with_emsg_and_the_globals_of_the_request(gateway: &Gateway) {
    let answer = gateway.run("x = 2\n1/0", &json!({ "x": 1 }));
    assert_eq!(answer["globals_dict"], json!({ "x": 1 }));
    let emsg = answer["emsg"].as_str().expect("words");
    assert!(
        emsg.contains("ZeroDivisionError: division by zero"),
        "{emsg}"
    );
    assert!(emsg.ends_with("with status code: 1"), "{emsg}");
}

fn any_limit_override_may_be_passed(gateway: &Gateway) {
    for context in ["\"anything at all\"", "\"large\"", "\"\"", "null"] {
        let payload = format!(
            "{{\"code\": \"x = 1\", \"globals_dict\": {{}}, \"limit_overrides_context\": {context}}}"
        );
        gateway
            .payload(&payload)
            .assert(200, r#"{"globals_dict":{"x":1}}"#);
    }
}

fn nan_and_the_infinities_come_in_and_go_out(gateway: &Gateway) {
    let payload = r#"{"code": "d = -b\nf = float('nan')", "globals_dict": {"a": NaN, "b": Infinity, "c": [-Infinity]}}"#;
    gateway.payload(payload).assert(
        200,
        r#"{"globals_dict":{"a":NaN,"b":Infinity,"c":[-Infinity],"d":-Infinity,"f":NaN}}"#,
    );
}

fn health_is_ok_and_json(gateway: &Gateway) {
    gateway.get("/health/").assert(200, r#"{"status": "OK"}"#);
    let moved = gateway.get("/health");
    assert_eq!(
        (moved.status, moved.header("location")),
        (301, Some("/health/"))
    );
}

fn another_method_is_a_405(gateway: &Gateway) {
    let reply = gateway.get("/api/v0/code-exec");
    reply.assert(405, r#"{"detail":"Method \"GET\" not allowed."}"#);
    assert_eq!(reply.header("allow"), Some("POST"));
}

fn json_is_no_form(gateway: &Gateway) {
    let reply = gateway.post("application/json", b"{\"payload\": {}}");
    let expected = r#"{"detail":"Unsupported media type \"application/json\" in request."}"#;
    reply.assert(415, expected);
}

fn a_path_that_is_not_there_is_a_404(gateway: &Gateway) {
    for path in ["/api/v0/code-exec/", "/", "/metrics", "/api/v1/jobs"] {
        assert_eq!(gateway.get(path).status, 404, "{path}");
    }
}

fn globals_keep_order_size_and_halves_of_pairs(gateway: &Gateway) {
    let payload = r#"{"code": "del gone\nz.append('\\ud800')\nnew = big + 1\nk = {1: (2, b'x')}", "globals_dict": {"z": ["\u00e9\u2028\ud83d\ude00"], "gone": 1, "big": 123456789012345678901234567890, "a": 1.5e+300}}"#;
    gateway.payload(payload).assert(
        200,
        "{\"globals_dict\":{\"z\":[\"é\\u2028😀\",\"\\ud800\"],\"gone\":1,\
         \"big\":123456789012345678901234567890,\"a\":1.5e+300,\
         \"new\":123456789012345678901234567891,\"k\":{\"1\":[2,\"x\"]}}}",
    );
}

fn a_large_payload_is_taken_in_both_encodings(gateway: &Gateway) {
    // More than Django takes in a form with a file.
    let code = format!("x = 1\n{}", "# so long\n".repeat(300_000));
    let payload = json!({ "code": code, "globals_dict": {} }).to_string();
    let expected = r#"{"globals_dict":{"x":1}}"#;
    gateway.payload(&payload).assert(200, expected);
    gateway
        .payload_with(&payload, "python_lib.zip", &library())
        .assert(200, expected);
}

/// The service tells its telemetry how each request ended; the gateway its metrics.
pub(crate) fn each_end_of_a_request_was_counted(gateway: &Gateway) {
    let metrics = gateway.metrics();
    for end in [
        "invalid.payload.missing",
        "invalid.payload.bad_json",
        "invalid.payload.schema_mismatch",
        "invalid.python_path",
        "invalid.files",
        "invalid.unsafely",
        "executed.success",
        "executed.error",
        "refused.method",
        "invalid.form",
    ] {
        let series = format!("jailfleet_gateway_requests_total{{end=\"{end}\"}} ");
        let (_, count) = metrics.split_once(&series).expect("it is exported");
        assert!(!count.starts_with("0\n"), "{end}: {metrics}");
    }
    assert!(
        metrics.contains("jailfleet_gateway_jobs_waiting 0\n"),
        "{metrics}"
    );
}
