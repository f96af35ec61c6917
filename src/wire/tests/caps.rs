//! Caps on what a body may hold, kept before it can cost anything.

use super::super::*;
use super::refusals::with;
use crate::rejection::RejectionCode::*;

#[test]
fn caps_are_kept() {
    let caps = WireCaps {
        body_bytes: 400,
        depth: 4,
        files: 1,
        argv: 2,
        env: 1,
        python_path: 1,
        artifacts: 1,
        globals_bytes: 11,
        argument_bytes: 40,
    };
    let code = |body: &str| {
        let refused = decode_job(body.as_bytes(), &DecodeHint::default(), &caps);
        refused.expect_err("over a cap").rejection.code
    };
    assert_eq!(
        code(&with(&format!(r#""slug":"{}""#, "x".repeat(400)))),
        TooLarge
    );
    assert_eq!(
        code(&format!("{}{}", "[".repeat(5), "]".repeat(5))),
        TooDeep
    );
    assert_eq!(code(&with(r#""argv":["a","b","c"]"#)), TooLarge);
    assert_eq!(code(&with(r#""env":{"A":"","B":""}"#)), TooLarge);
    assert_eq!(code(&with(r#""python_path":["A","B"]"#)), TooLarge);
    assert_eq!(code(&with(r#""minor":1,"artifacts":["A","B"]"#)), TooLarge);
    assert_eq!(code(&with(r#""globals":"{\"a\": 12345}""#)), TooLarge);
    let two = r#""files":[{"path":"a","content":""},{"path":"b","content":""}]"#;
    assert_eq!(code(&with(two)), TooLarge);
    assert_eq!(
        code(&with(&format!(r#""argv":["{}"]"#, "x".repeat(40)))),
        BadArgv
    );
    let shared = format!(r#""argv":["{0}"],"env":{{"A":"{0}"}}"#, "x".repeat(20));
    assert_eq!(code(&with(&shared)), BadEnv);
    // Three bytes an entry: refused before a string is made of each.
    let wide = WireCaps {
        body_bytes: usize::MAX,
        ..caps
    };
    for field in ["argv", "magic", "id"] {
        let body = with(&format!(r#""{field}":[{}""]"#, "\"\",".repeat(20_000)));
        let refused = decode_job(body.as_bytes(), &DecodeHint::default(), &wide);
        let rejection = refused.expect_err("too many entries").rejection;
        assert!(
            rejection.message.contains("the body has 2000"),
            "{field}: {rejection}"
        );
    }
    // The parser's own stack is safe whatever the configuration says.
    let deep = WireCaps {
        depth: usize::MAX,
        body_bytes: usize::MAX,
        ..caps
    };
    let body = "[".repeat(100_000);
    let refused = decode_job(body.as_bytes(), &DecodeHint::default(), &deep);
    assert_eq!(refused.expect_err("too deep").rejection.code, TooDeep);
}
