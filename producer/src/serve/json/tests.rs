//! What Python's reader said of the same texts.

use super::*;
use proptest::prelude::*;

/// What CPython 3.11 said, each seen there.
const WRONG: &[(&str, &str)] = &[
    ("Not JSON", "Expecting value: line 1 column 1 (char 0)"),
    ("", "Expecting value: line 1 column 1 (char 0)"),
    ("  ", "Expecting value: line 1 column 3 (char 2)"),
    (
        "{\"a\":1,}",
        "Expecting property name enclosed in double quotes: line 1 column 8 (char 7)",
    ),
    ("[1,]", "Expecting value: line 1 column 4 (char 3)"),
    ("[1 2]", "Expecting ',' delimiter: line 1 column 4 (char 3)"),
    (
        "{\"a\" 1}",
        "Expecting ':' delimiter: line 1 column 6 (char 5)",
    ),
    ("{\"a\":}", "Expecting value: line 1 column 6 (char 5)"),
    (
        "{a:1}",
        "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
    ),
    (
        "{\"a\":\"\n\"}",
        "Invalid control character at: line 1 column 7 (char 6)",
    ),
    (
        "{\"a\":\"\\x\"}",
        "Invalid \\escape: line 1 column 7 (char 6)",
    ),
    (
        "{\"a\":\"\\u12\"}",
        "Invalid \\uXXXX escape: line 1 column 8 (char 7)",
    ),
    (
        "{\"a\":\"\\u12g4\"}",
        "Invalid \\uXXXX escape: line 1 column 8 (char 7)",
    ),
    (
        "{\"a\":\"\\ud800\\u12g4\"}",
        "Invalid \\uXXXX escape: line 1 column 14 (char 13)",
    ),
    (
        "{\"a\":\"",
        "Unterminated string starting at: line 1 column 6 (char 5)",
    ),
    (
        "{\"a\":\"\\",
        "Unterminated string starting at: line 1 column 6 (char 5)",
    ),
    (
        "{\"a\":\"\\u1234",
        "Invalid \\uXXXX escape: line 1 column 8 (char 7)",
    ),
    (
        "{\"a\":\"\\u12345",
        "Unterminated string starting at: line 1 column 6 (char 5)",
    ),
    (
        "{",
        "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
    ),
    ("[", "Expecting value: line 1 column 2 (char 1)"),
    (
        "{\"a\"",
        "Expecting ':' delimiter: line 1 column 5 (char 4)",
    ),
    (
        "{\"a\":1 ",
        "Expecting ',' delimiter: line 1 column 8 (char 7)",
    ),
    ("tru", "Expecting value: line 1 column 1 (char 0)"),
    ("-", "Expecting value: line 1 column 1 (char 0)"),
    ("-Infinit", "Expecting value: line 1 column 1 (char 0)"),
    ("01", "Extra data: line 1 column 2 (char 1)"),
    ("1.", "Extra data: line 1 column 2 (char 1)"),
    ("{}\n\n  x", "Extra data: line 3 column 3 (char 6)"),
    (
        "[1,\n\n 2,, 3]",
        "Expecting value: line 3 column 4 (char 8)",
    ),
    (
        "\u{feff}{}",
        "Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)",
    ),
    ("\"é\" x", "Extra data: line 1 column 5 (char 4)"),
    (
        "{\"é😀\":\n  x}",
        "Expecting value: line 2 column 3 (char 9)",
    ),
    ("\u{a0}{}", "Expecting value: line 1 column 1 (char 0)"),
];

#[test]
fn what_is_wrong_is_told_in_pythons_words_and_counted_in_characters() {
    for (text, words) in WRONG {
        assert_eq!(read(text).expect_err(text), *words, "{text:?}");
    }
    let long = read(&"1".repeat(4301)).expect_err("too many digits");
    assert!(long.starts_with("Exceeds the limit (4300 digits)") && long.contains("4301"));
}

#[test]
fn what_python_takes_is_taken_and_known_for_what_it_is() {
    for (text, kind) in [
        (" null ", Kind::Null),
        ("true", Kind::Bool(true)),
        ("-0", Kind::Int),
        ("1e5", Kind::Float),
        ("NaN", Kind::Float),
        ("-Infinity", Kind::Float),
        ("\"\\ud800\"", Kind::Text),
        ("[]", Kind::List),
        ("\n{}\t", Kind::Object),
    ] {
        let value = read(text).expect(text);
        assert_eq!((value.kind, value.raw), (kind, text.trim()), "{text}");
    }
}

#[test]
fn members_and_elements_come_in_their_order_with_their_own_text() {
    let value =
        read("{ \"a\" : [1, \"x\" ,{}] , \"\\u0062\": NaN, \"a\": null }").expect("it reads");
    let members = value.members();
    let raw: Vec<_> = members
        .iter()
        .map(|(name, value)| (*name, value.raw))
        .collect();
    assert_eq!(
        raw,
        [
            ("\"a\"", "[1, \"x\" ,{}]"),
            ("\"\\u0062\"", "NaN"),
            ("\"a\"", "null")
        ]
    );
    let list = members.first().expect("three").1;
    let raw: Vec<_> = list.elements().iter().map(|value| value.raw).collect();
    assert_eq!(raw, ["1", "\"x\"", "{}"]);
}

#[test]
fn a_half_of_a_pair_is_kept_and_two_that_belong_together_are_one() {
    let bytes = |text| read(text).expect("it reads").bytes();
    assert_eq!(bytes("\"\\ud83d\\ude00\\u00e9\""), "😀é".as_bytes());
    assert_eq!(bytes("\"\\ud800x\""), b"\xed\xa0\x80x");
    assert_eq!(bytes("\"\\udc00\\ud800\""), b"\xed\xb0\x80\xed\xa0\x80");
    assert_eq!(read("\"\\udfff\"").expect("it reads").text(), None);
}

#[test]
fn a_value_is_written_without_white_space_and_with_its_text_as_it_is() {
    let mut out = String::new();
    let raw = "{ \"\\u00e9\" : [1.0, 1e5,\n NaN, -Infinity, \"\\u2028\\u007f\\/\\ud800\\n\\u0001\"] , \"b c\": {} }";
    write(raw, &mut out);
    assert_eq!(
        out,
        "{\"é\":[1.0,1e5,NaN,-Infinity,\"\\u2028\u{7f}/\\ud800\\n\\u0001\"],\"b c\":{}}"
    );
}

#[test]
fn no_depth_ends_the_process() {
    assert!(read(&format!("{}{}", "[".repeat(901), "]".repeat(901))).is_ok());
    for text in ["[".repeat(1_000_000), "{\"a\":".repeat(1_000_000)] {
        let words = read(&text).expect_err("too deep");
        assert_eq!(words, "Lists and objects are nested too deep");
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_as_the_same_json(
        pairs in proptest::collection::vec((".*", any::<i64>(), any::<f64>(), ".*"), 0..5)
    ) {
        let object: serde_json::Map<_, _> = pairs
            .into_iter()
            .map(|(name, whole, float, text)| (name, serde_json::json!([whole, float, {"x": text}])))
            .collect();
        let object = serde_json::Value::Object(object);
        let mut out = String::new();
        let pretty = serde_json::to_string_pretty(&object).expect("it is JSON");
        write(read(&pretty).expect("it reads").raw, &mut out);
        // Both by the same reader, which rounds.
        let same = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        prop_assert_eq!(same(&out), same(&pretty));
    }

    #[test]
    fn no_text_makes_the_reader_fail_otherwise_than_in_words(text in "[\\[\\]{}\",:\\\\0-9eE+.\\-unlt \n]*") {
        if let Ok(value) = read(&text) {
            let mut out = String::new();
            write(value.raw, &mut out);
            prop_assert!(read(&out).is_ok(), "{}", out);
        }
    }
}
